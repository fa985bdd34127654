"""Compression by predicted error: what is asked of it by the greedy search and by the agent's model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.episode.choices import Assignment, LayerChoice
from envs.search.greedy import Sensitivities, compress, neighbours, refined
from envs.search.random_policies import random_assignment
from tests.envs.search.test_registry import problem


def test_neighbours_differ_in_one_choice_of_one_layer() -> None:
    space = problem().space
    whole = space.uncompressed
    for step in neighbours(space, whole, -1):
        changed = [(old, new) for old, new in zip(whole, step, strict=True) if old != new]
        assert len(changed) == 1
        old, new = changed[0]
        assert (old.channels == new.channels) != (old.weight_bits == new.weight_bits)
    # Nothing lies above the uncompressed network.
    assert not list(neighbours(space, whole, +1))


@pytest.mark.parametrize("levels", [1, 2, 3, 8])
def test_levels_bound_the_steps_from_the_most_to_the_fewest_channels(levels: int) -> None:
    space = problem(width=64).space
    index, options = max(enumerate(space.channel_options), key=lambda pair: len(pair[1]))
    current, steps = space.uncompressed, 0
    while current[index].channels != options[0]:
        current = next(
            step
            for step in neighbours(space, current, -1, levels=levels)
            if step[index].channels != current[index].channels
        )
        steps += 1
    # The stride is rounded, so that there can be up to twice as many.
    assert steps <= 2 * levels


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 2, 8]))
def test_what_is_compressed_fits_and_has_no_room_left(seed: int, levels: int | None) -> None:
    task = problem(width=32)
    rng = np.random.default_rng(seed)
    start = tuple(
        task.space.choices(index)[int(rng.integers(len(task.space.choices(index))))]
        for index in range(len(task.space.layers))
    )
    found = compress(task, Sensitivities(task.space), start, levels=levels)
    assert task.walls.inside(found)
    assert not any(task.walls.inside(step) for step in neighbours(task.space, found, +1, levels=levels))


class Prejudice:
    """Thinks of every choice of every layer what chance told it."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._thoughts: dict[tuple[int, LayerChoice], float] = {}

    def added_error(self, assignment: Assignment) -> float:
        for pair in enumerate(assignment):
            self._thoughts.setdefault(pair, self._rng.random())
        return sum(self._thoughts[pair] for pair in enumerate(assignment))


def test_refined_policies_are_sorted_by_what_is_predicted() -> None:
    task, predictor = problem(width=32), Prejudice(0)
    rng = np.random.default_rng(0)
    found = refined(task, predictor, [random_assignment(task, rng) for _ in range(20)])
    predicted = [predictor.added_error(assignment) for assignment in found]
    assert len(found) == len(set(found)) > 1
    assert predicted == sorted(predicted)
    assert all(task.walls.inside(assignment) for assignment in found)
