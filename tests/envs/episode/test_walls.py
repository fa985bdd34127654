from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from envs.episode.choices import Assignment, ChoiceSpace
from envs.episode.targets import BudgetError, Targets
from envs.episode.walls import Walls, attainable_targets, least_latency, most_compressed_cost
from tests.envs.networks_by_hand import chain_graph, hand_cost, residual_graph

INSTANCES = 120


def small_instance(rng: np.random.Generator) -> tuple[ChoiceSpace, Targets]:
    """At most 4 groups and 6 actions each: up to 3 channel counts and 2 bit widths, limits near the lowest costs."""
    count = int(rng.integers(1, 5))
    # Counts of 12 or less on a grid of 4 leave at most 3 choices.
    channels = [int(rng.integers(5, 13)) for _ in range(count)]
    kernels = [int(rng.choice([1, 3])) for _ in range(count)]
    graph, groups = chain_graph(channels, kernels=kernels, size=6, classes=int(rng.integers(2, 8)))
    space = ChoiceSpace(graph=graph, groups=groups, min_keep=0.1, channel_round=4)
    lowest = most_compressed_cost(space, hand_cost, ("flash_model_bytes", "ram_bytes", "latency_ms"))
    highest = hand_cost(graph).totals
    return space, Targets({n: low + rng.uniform(-0.02, 0.5) ** 2 * (highest[n] - low) for n, low in lowest.items()})


def everything(space: ChoiceSpace) -> Iterator[Assignment]:
    return product(*(space.choices(index) for index in range(len(space.layers))))


def some_policy_fits(space: ChoiceSpace, targets: Targets) -> bool:
    """The twin: cost every policy there is."""
    return any(targets.inside(hand_cost(space.compressed(assignment)).totals) for assignment in everything(space))


def test_episodes_end_inside_wherever_a_policy_fits() -> None:
    rng = np.random.default_rng(1)
    feasible = inside = 0
    for _ in range(INSTANCES):
        space, targets = small_instance(rng)
        walls = Walls(space, hand_cost, targets)
        assert max(len(space.choices(index)) for index in range(len(space.layers))) <= 6
        # What the walls found was verified by a cost call; only where they found nothing is the slow twin needed.
        if walls.plan is None and not some_policy_fits(space, targets):
            continue
        feasible += 1
        actions = rng.uniform(-1, 1, size=(len(space.layers), 2))
        inside += walls.inside(walls.walk(lambda index: space.decode(index, actions[index])))  # noqa: B023
    print(f"{inside} of {feasible} feasible instances ended inside ({INSTANCES} drawn)")
    assert feasible >= 40
    assert INSTANCES - feasible >= 8, "the limits must also be impossible at times, or the twin is never asked"
    assert inside >= 0.99 * feasible


def test_a_step_needs_few_cost_calls() -> None:
    graph, groups = residual_graph(32)
    space = ChoiceSpace(graph=graph, groups=groups)
    highest = hand_cost(graph).totals
    targets = Targets(
        {name: 0.3 * value for name, value in highest.items() if name != "latency_ms"} | {"latency_ms": 2.0}
    )
    rng = np.random.default_rng(0)
    calls = []
    for _ in range(20):
        walls = Walls(space, hand_cost, targets)
        chosen: Assignment = ()
        plan = walls.plan
        for index in range(len(space.layers)):
            before = walls.cost_calls
            choice, plan = walls.clip(chosen, space.decode(index, rng.uniform(-1, 1, 2)), plan)
            chosen = (*chosen, choice)
            calls.append(walls.cost_calls - before)
    assert max(calls) <= 15


def test_a_proposal_with_room_to_spare_is_not_touched() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    walls = Walls(space, hand_cost, Targets({"flash_model_bytes": 1e9}))
    rng = np.random.default_rng(0)
    proposals = [space.decode(index, rng.uniform(-1, 1, 2)) for index in range(len(space.layers))]
    assert walls.walk(proposals.__getitem__) == tuple(proposals)


def test_clipping_keeps_as_many_channels_as_the_walls_allow() -> None:
    # One group of 16 channels, then a classifier of 4. At 8 bits the flash is 9 c + 8 c + 4 c + 32 = 21 c + 32 bytes,
    # the classifier at 4 bits saves 2 c: 19 c + 32 <= 270 gives c <= 12.5, on the grid 12.
    graph, groups = chain_graph([16], kernels=[3], size=4, classes=4)
    space = ChoiceSpace(graph=graph, groups=groups)
    walls = Walls(space, hand_cost, Targets({"flash_model_bytes": 270.0}))
    choice, plan = walls.clip((), space.decode(0, [1.0, 1.0]), walls.plan)
    assert (choice.channels, choice.weight_bits) == (12, 8)
    assert plan is not None
    assert plan[1].weight_bits == 4


def test_knapsack_agrees_with_enumeration() -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        count = int(rng.integers(1, 8))
        flash = rng.integers(0, 50, size=(count, 2)).astype(float)
        latency = rng.uniform(-1, 2, size=(count, 2))
        room = float(rng.uniform(0.2, 1.0) * flash.max(axis=1).sum())
        rows = np.arange(count)
        fitting = [
            latency[rows, list(widths)].sum()
            for widths in product(range(2), repeat=count)
            if flash[rows, list(widths)].sum() <= room
        ]
        found = least_latency(flash, latency, room)
        if not fitting:
            assert found is None
            continue
        assert found is not None
        assert flash[rows, found].sum() <= room
        assert latency[rows, found].sum() == pytest.approx(min(fitting))


def test_lower_bounds_hold_for_every_policy_and_are_reached() -> None:
    graph, groups = chain_graph([8, 12], kernels=[3, 1], size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups)
    names = ("flash_model_bytes", "ram_bytes", "latency_ms")
    lowest = most_compressed_cost(space, hand_cost, names)
    totals = [hand_cost(space.compressed(assignment)).totals for assignment in everything(space)]
    for name in names:
        assert lowest[name] == pytest.approx(min(total[name] for total in totals))


def test_back_off_takes_the_smallest_step_that_is_feasible() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    lowest = most_compressed_cost(space, hand_cost, ("flash_model_bytes",))["flash_model_bytes"]
    # Moving from .8 to 1.3 of the lowest possible, .8 + s * .5 >= 1 needs s >= .4.
    result = attainable_targets(
        space,
        hand_cost,
        targets=Targets({"flash_model_bytes": 0.8 * lowest}),
        budget=Targets({"flash_model_bytes": 1.3 * lowest + 1e-6}),
    )
    assert result.relaxation == 0.4
    assert result.targets.limits["flash_model_bytes"] == pytest.approx(lowest)


def test_targets_within_reach_are_left_alone() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    targets = Targets({"flash_model_bytes": 1e6})
    result = attainable_targets(space, hand_cost, targets=targets, budget=Targets({"flash_model_bytes": 2e6}))
    assert (result.relaxation, result.targets) == (0.0, targets)


def test_an_impossible_budget_names_the_smallest_possible_cost() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    tiny = Targets({"flash_model_bytes": 10.0})
    lowest = most_compressed_cost(space, hand_cost, ("flash_model_bytes",))
    with pytest.raises(
        BudgetError, match=r"even at full compression: flash_model_bytes at least \d+ \(budget 10\)"
    ) as e:
        attainable_targets(space, hand_cost, targets=tiny, budget=tiny)
    assert e.value.lowest == lowest


def test_without_any_policy_inside_proposals_stand() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    walls = Walls(space, hand_cost, Targets({"flash_model_bytes": 10.0}))
    assert walls.plan is None
    assert walls.walk(space.uncompressed.__getitem__) == space.uncompressed
