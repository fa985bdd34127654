"""What the shipped agent learned from: policies inside their limits, gains against the better uniform one, the table."""

import numpy as np
import pandas as pd
import pytest

from envs.episode.choices import ChoiceSpace
from envs.search.agent.pretrained import HELD, shipped_agent
from experiments.compression import agent_pretraining as pretraining
from experiments.compression.agent_pretraining import (
    FIRST_JUDGED,
    Drawing,
    Level,
    as_text,
    experience,
    from_text,
    near_policies,
    random_policies,
    table,
)


@pytest.fixture(scope="module")
def space() -> ChoiceSpace:
    """Choices of the first residual network."""
    return Drawing()(0).choices()


def test_a_network_is_decided_by_its_number_alone() -> None:
    first, again = Drawing()(3), Drawing()(3)
    assert first.values == again.values
    assert first.levels == again.levels
    assert first.setup.family == "residual"
    assert Drawing()(1).setup.family == "ds_cnn"


def test_judged_networks_have_every_tight_cost_as_often() -> None:
    draw = Drawing()
    kinds = [level.tight for number in range(3) for level in draw(FIRST_JUDGED + 1 + 3 * number).levels]
    assert sorted(kinds) == sorted([*HELD, *HELD])


@pytest.mark.parametrize("tight", HELD)
def test_all_policies_are_inside_and_differ(space: ChoiceSpace, tight: str) -> None:
    level = Level(0.6, 8, tight)
    problem, uniform = level.problem(space), level.uniform(space)
    generator = np.random.default_rng(0)
    near = near_policies(problem, uniform[0], uniform, 2, generator)
    found = [*uniform, *near, *random_policies(problem, uniform, 3, generator)]
    assert len(set(found)) == len(found) == len(uniform) + 5
    found.append(shipped_agent().policy(space, pretraining.cost_of, uniform[0], tight=tight))
    assert all(problem.walls.inside(assignment) for assignment in found)
    own = problem.walls.record(uniform[0]).values[tight]
    assert own == problem.targets.limits[tight]


def test_an_assignment_survives_its_cell(space: ChoiceSpace) -> None:
    for assignment in (space.uncompressed, space.uniform(0.4, 4)):
        assert from_text(as_text(assignment)) == assignment


def rows(space: ChoiceSpace) -> pd.DataFrame:
    """Return rows of one network: uniform ones of 0.4 and 0.2, one of 0.1."""
    level = Level(0.6, 8, HELD[0])
    uniform = level.uniform(space)
    other = random_policies(level.problem(space), uniform, 1, np.random.default_rng(1))
    kinds = [("uniform", uniform[0], 0.4), ("uniform", uniform[1], 0.2), ("random", other[0], 0.1)]
    return pd.DataFrame(
        [
            {
                "network": "0",
                "level": "0.6/8",
                "tight": HELD[0],
                "policy": place,
                "repeat": "0",
                "kind": kind,
                "choices": as_text(assignment),
                "cross_entropy": str(loss),
                "error": str(loss / 2),
                **dict.fromkeys(HELD, "1.0"),
            }
            for place, (kind, assignment, loss) in enumerate(kinds)
        ]
    )


def test_a_policy_gains_what_it_is_better_than_the_better_uniform_one(space: ChoiceSpace) -> None:
    episodes, gains, spaces = experience(pretraining.numbers_of(rows(space)))
    by_assignment = dict(zip((episode.assignment for episode in episodes), gains, strict=True))
    uniform = Level(0.6, 8, HELD[0]).uniform(spaces[0])
    assert by_assignment.pop(uniform[1]) == pytest.approx(0)
    assert by_assignment.pop(uniform[0]) == pytest.approx(np.log(0.2 / 0.4))
    assert list(by_assignment.values()) == pytest.approx([np.log(0.2 / 0.1)])
    assert all(len(episode.actions) == len(spaces[0].layers) for episode in episodes)


def test_the_table_compares_with_the_better_uniform_one() -> None:
    frame = pd.DataFrame(
        [
            {
                "network": network,
                "level": "0.6/8",
                "tight": tight,
                "policy": place,
                "repeat": repeat,
                "kind": kind,
                "choices": f"{place}:8",
                "cross_entropy": loss,
                "error": loss / 10,
                **dict.fromkeys(HELD, 1.0),
            }
            for network in (FIRST_JUDGED, FIRST_JUDGED + 1)
            for tight in HELD
            for place, (kind, loss) in enumerate(
                [("uniform", 40.0), ("uniform", 20.0), ("agent", 10.0), ("greedy", 20.0), ("random", 80.0)]
            )
            for repeat in (0, 1)
        ]
    )
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(frame).splitlines()[2:]]
    assert len(lines) == 4 * 4
    assert ["ram_bytes", "agent", "2", "0.500 [0.500, 0.500]", "0.500 [0.500, 0.500]", "100 %"] in lines
    assert lines[-1] == ["all", "random", "2", "4.000 [4.000, 4.000]", "3.999 [3.999, 3.999]", "0 %"]
    assert lines[-2][3] == "1.000 [1.000, 1.000]"
    assert lines[-3][1:4] == ["asked", "2", "2.000 [2.000, 2.000]"]
