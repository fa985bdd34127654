import numpy as np

from envs.search.evolution import mutated
from envs.search.registry import find_policy
from tests.envs.search.test_registry import problem


def test_a_mutation_changes_little_and_only_to_what_may_be_chosen() -> None:
    space = problem().space
    rng = np.random.default_rng(0)
    start = space.uniform(0.5, 4)
    draws = [mutated(space, start, rng) for _ in range(300)]
    assert all(choice in space.choices(index) for draw in draws for index, choice in enumerate(draw))
    changed = [sum(ours != theirs for ours, theirs in zip(draw, start, strict=True)) for draw in draws]
    # Of the layers drawn anew (1.5 on average, and at least one), some draw what they were.
    assert 0.5 < np.mean(changed) < 2.5
    assert len(set(draws)) > 20


def test_evolution_beats_random_policies_on_a_convex_error() -> None:
    tasks = [problem(seed=seed, width=32) for seed in range(4)]
    evolved = [find_policy("evolution", task, evaluations=48, seed=0).error for task in tasks]
    drawn = [find_policy("random", task, evaluations=48, seed=0).error for task in tasks]
    assert np.mean(evolved) < np.mean(drawn)
