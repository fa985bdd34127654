import pytest

from mobo.samplers.trust_regions.region import Region, RegionRules, replayed_regions
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import random_designs

RULES = RegionRules(largest=1.6, smallest=0.2, successes=2, failures=3)
DESIGN = random_designs(1)[0]


def trials(count: int, *unfinished: int) -> list[Trial]:
    states = [TrialState.RUNNING if number in unfinished else TrialState.DONE for number in range(count)]
    return [Trial(number=number, design=DESIGN, seed=0, state=state) for number, state in enumerate(states)]


def replayed(story: str, *unfinished: int) -> tuple[Region, ...]:
    """Replay a story: a letter for each trial, s(uccess), f(ailure) or - (does not count)."""

    def tells(region: Region, place: int) -> bool | None:
        return {"s": True, "f": False, "-": None}[story[place]]

    return replayed_regions(trials(len(story), *unfinished), RULES, initial_length=lambda place: 0.8, succeeds=tells)


@pytest.mark.parametrize(
    ("story", "length"),
    [
        ("", 0.8),
        ("s", 0.8),
        ("ss", 1.6),
        ("ssss", 1.6),  # never beyond the largest
        ("sfs", 0.8),  # in a row means in a row
        ("ff", 0.8),
        ("fff", 0.4),
        ("ffsff", 0.8),
        ("f-ff", 0.4),
        ("ffffff", 0.2),  # 0.2 is not below the smallest
    ],
)
def test_the_edge_follows_successes_and_failures_in_a_row(story: str, length: float) -> None:
    (region,) = replayed(story)
    assert region.length == pytest.approx(length)


def test_counters_begin_anew_when_the_edge_changes() -> None:
    (region,) = replayed("sss")
    assert (region.successes, region.failures) == (1, 0)


def test_a_region_too_small_has_ended_and_the_next_begins_with_the_next_trial() -> None:
    first, second = replayed("fffffffff" + "f")
    assert (first.index, first.start) == (0, 0)
    assert first.length == pytest.approx(0.1)
    assert (second.index, second.start, second.length, second.failures) == (1, 9, 0.8, 1)


def test_what_is_pending_counts_neither_way_but_takes_its_place() -> None:
    (region,) = replayed("fff", 1)
    assert (region.length, region.failures) == (0.8, 2)
    assert replayed("ffffffffff", 3)[1].start == 10
