"""The contract every search method fulfils, and what each is worth."""

import numpy as np
import pytest

from envs.compression.policy import CompressionPolicy
from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.targets import BudgetError, Targets
from envs.errors import EnvError
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.registry import METHODS, WARM_METHODS, find_policy, method_names
from envs.search.uniform_policies import uniform_assignments
from tests.envs.networks_by_hand import ConvexError, chain_graph, hand_cost, residual_graph


def problem(*, seed: int = 0, level: float = 0.4, width: int = 16) -> CompressionProblem:
    graph, groups = residual_graph(width)
    highest = hand_cost(graph).totals
    limits = {name: level * value for name, value in highest.items()} | {"latency_ms": 0.8 * highest["latency_ms"]}
    draft = CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets(limits),
        evaluate=lambda policy: 0.0,
        baseline_error=0.03,
    )
    return CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets(limits),
        evaluate=ConvexError(draft.space, seed=seed),
        baseline_error=0.03,
    )


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        pytest.param(method, count, marks=pytest.mark.slow if count == 12 and method in WARM_METHODS else ())
        for method in method_names()
        for count in (1, 2, 5, 12)
    ],
)
def test_every_method_returns_the_best_feasible_policy_it_evaluated(method: str, evaluations: int) -> None:
    task = problem()
    seen: dict[CompressionPolicy, float] = {}

    def evaluate(policy: CompressionPolicy) -> float:
        assert policy not in seen, "one policy was paid for twice"
        seen[policy] = error_of(policy)
        return seen[policy]

    error_of = task.evaluate
    counted = CompressionProblem(
        space=task.space,
        cost_of=task.cost_of,
        targets=task.targets,
        evaluate=evaluate,
        baseline_error=task.baseline_error,
    )
    result = find_policy(method, counted, evaluations=evaluations, seed=0)
    assert result.evaluations == len(seen) == len(result.history) <= evaluations
    assert result.feasible
    assert all(result.cost[name] <= limit for name, limit in task.targets.limits.items())
    inside = [error for policy, error in seen.items() if task.walls.inside(task.space.assignment(policy))]
    assert result.error == seen[result.policy] == min(inside) == result.history[-1]
    known = [error for error in result.history if error is not None]
    assert known == sorted(known, reverse=True)


@pytest.mark.parametrize("method", method_names())
def test_one_seed_gives_one_result_and_touches_no_global_generator(method: str) -> None:
    import torch

    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    first = find_policy(method, problem(), evaluations=5, seed=3)
    assert (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before  # noqa: NPY002
    torch.manual_seed(6)
    np.random.seed(6)  # noqa: NPY002
    assert find_policy(method, problem(), evaluations=5, seed=3) == first


@pytest.mark.parametrize("method", method_names())
def test_a_space_smaller_than_the_budget_is_searched_and_left(method: str) -> None:
    # One group of 8 channels (4 or 8 kept), two bit widths in two layers: 8 policies, of which some fit.
    graph, groups = chain_graph([8], kernels=[3], size=4, classes=3)
    space_size = 8
    task = CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups),
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 150.0}),
        evaluate=lambda policy: 0.1 + 0.01 * sum(policy.weight_bits.values()) / 16,
        baseline_error=0.1,
    )
    result = find_policy(method, task, evaluations=40, seed=0)
    assert result.evaluations <= space_size
    assert result.feasible


def test_bad_requests_are_named() -> None:
    with pytest.raises(EnvError, match="unknown policy search 'sacc'; did you mean 'sac'"):
        find_policy("sacc", problem(), evaluations=3, seed=0)
    with pytest.raises(EnvError, match="evaluations is 0; a search needs at least 1"):
        find_policy("random", problem(), evaluations=0, seed=0)
    with pytest.raises(BudgetError, match="no policy meets the targets: flash_model_bytes at least"):
        find_policy("random", problem(level=0.001), evaluations=3, seed=0)
    assert set(method_names()) == set(METHODS) == {"sac", "td3", "ppo", "uniform", "random", "greedy", "evolution"}


def test_equal_errors_go_to_the_cheaper_policy() -> None:
    task = problem(level=1.5)
    flat = CompressionProblem(
        space=task.space,
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 1e6}),
        evaluate=lambda policy: 0.2,
        baseline_error=0.1,
    )
    judge = PolicyJudge(flat, 3)
    cheap: Assignment = flat.space.uniform(0.25, 4)
    for assignment in (flat.space.uncompressed, cheap, flat.space.uniform(0.5, 8)):
        judge.error(assignment)
    assert judge.best == cheap


def test_a_judge_refuses_more_than_its_budget_and_bad_errors() -> None:
    task = problem()
    judge = PolicyJudge(task, 1)
    judge.error(task.space.uncompressed)
    assert judge.error(task.space.uncompressed) == judge.error(task.space.uncompressed)
    with pytest.raises(EnvError, match="all 1 evaluations are used"):
        judge.error(task.space.uniform(0.5, 4))
    with pytest.raises(EnvError, match="no feasible policy was evaluated"):
        judge.result()


def test_uniform_starts_with_the_largest_ratio_that_fits() -> None:
    task = problem(level=0.5)
    first = next(uniform_assignments(task))
    larger = [task.space.uniform(keep, first[0].weight_bits) for keep in np.linspace(0.25, 1, 200)]
    stems = [assignment[0].channels for assignment in larger if task.walls.inside(assignment)]
    assert first[0].channels == max(stems, key=lambda count: count or 0)


def test_greedy_spares_the_layer_that_matters() -> None:
    # Two equal groups of 16; only the channels of the first matter. A third of the flash must go.
    graph, groups = chain_graph([16, 16, 16], kernels=[3, 3, 3], size=4, classes=3)

    def error(policy: CompressionPolicy) -> float:
        return 0.05 + 0.5 * (1 - policy.keep_ratios["conv1"]) ** 2 + 0.01 * (1 - policy.keep_ratios["conv2"]) ** 2

    task = CompressionProblem(
        space=ChoiceSpace(graph=graph, groups=groups, weight_bits=(8,)),
        cost_of=hand_cost,
        targets=Targets({"flash_model_bytes": 0.6 * hand_cost(graph).totals["flash_model_bytes"]}),
        evaluate=error,
        baseline_error=0.05,
    )
    ratios = find_policy("greedy", task, evaluations=12, seed=0).policy.keep_ratios
    assert ratios["conv1"] > ratios["conv2"]
