import numpy as np
import pytest

from envs.search.evolution import mutated
from envs.search.policy_model import PolicyModel
from tests.envs.networks_by_hand import ConvexError
from tests.envs.search.test_registry import problem


def drawn(count: int, seed: int) -> list:
    space = problem(width=32).space
    rng = np.random.default_rng(seed)
    found = [space.uniform(float(rng.uniform(0.3, 1)), int(rng.choice([4, 8]))) for _ in range(count)]
    for _ in range(4):
        found = [mutated(space, assignment, rng) for assignment in found]
    return found


def test_it_ranks_policies_it_has_not_seen() -> None:
    task = problem(width=32)
    error = ConvexError(task.space, seed=3, noise=0.0)
    seen, fresh = drawn(30, 0), drawn(60, 1)
    model = PolicyModel(task.space, seen, [error(task.space.policy(assignment)) for assignment in seen])
    truth = np.array([error(task.space.policy(assignment)) for assignment in fresh])
    mean, _ = model.predict(fresh)
    ranks = [np.argsort(np.argsort(values)) for values in (mean, truth)]
    assert np.corrcoef(ranks)[0, 1] > 0.7


def test_it_is_surest_about_what_it_has_seen() -> None:
    task = problem(width=32)
    error = ConvexError(task.space, seed=3, noise=0.0)
    seen = drawn(12, 0)
    model = PolicyModel(task.space, seen, [error(task.space.policy(assignment)) for assignment in seen])
    _, known = model.predict(seen)
    _, unknown = model.predict(drawn(40, 1))
    assert known.mean() < 0.7 * unknown.mean()


@pytest.mark.parametrize("curiosity", [0.0, 0.5])
def test_a_bound_is_the_mean_less_some_deviations(curiosity: float) -> None:
    task = problem(width=32)
    error = ConvexError(task.space, seed=3, noise=0.0)
    seen, fresh = drawn(12, 0), drawn(20, 1)
    model = PolicyModel(task.space, seen, [error(task.space.policy(assignment)) for assignment in seen])
    mean, deviation = model.predict(fresh)
    bound = model.bound(curiosity)
    # Asked one by one and twice, the last digits aside.
    for _ in range(2):
        assert np.allclose([bound.added_error(assignment) for assignment in fresh], mean - curiosity * deviation)


def test_its_deviation_is_that_of_a_gaussian_process_written_out() -> None:
    task = problem(width=32)
    error = ConvexError(task.space, seed=3, noise=0.0)
    seen, fresh = drawn(8, 0), drawn(3, 1)
    model = PolicyModel(task.space, seen, [error(task.space.policy(assignment)) for assignment in seen])
    scales, known, new = model._scales, model._described(seen), model._described(fresh)

    def kernel(first: np.ndarray, second: np.ndarray) -> float:
        layers = len(first) / 2
        distance = float(((first - second) ** 2).sum()) / (2 * layers)
        smooth = np.exp(-distance / (0.2 * scales.length**2))
        return float(scales.linear * (1 + 4 * (first @ second) / layers) + scales.smooth * smooth)

    within = np.array([[kernel(a, b) for b in known] for a in known]) + scales.noise * np.eye(len(seen))
    _, deviation = model.predict(fresh)
    for row, found in zip(new, deviation, strict=True):
        across = np.array([kernel(row, other) for other in known])
        assert found**2 == pytest.approx(kernel(row, row) - across @ np.linalg.solve(within, across), rel=1e-6)


@pytest.mark.parametrize("count", [2, 5])
def test_equal_errors_predict_themselves(count: int) -> None:
    space = problem().space
    model = PolicyModel(space, drawn_small(space, count), [0.1] * count)
    mean, deviation = model.predict(drawn_small(space, 4))
    assert np.allclose(mean, 0)
    assert np.all(np.isfinite(deviation))


def drawn_small(space, count: int) -> list:
    return [space.uniform(float(keep), 8) for keep in np.linspace(0.3, 1, count)]
