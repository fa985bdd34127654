"""The edge length of a trust region: grown by successes, halved by failures, begun anew when it is too small.

A region's state is not kept but replayed from the trials by number, so that it is a function of them alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from mobo.space.trial import Trial


@dataclass(frozen=True, kw_only=True)
class RegionRules:
    """When a region grows, shrinks and ends.

    Attributes:
        largest: The edge never grows beyond this; the unit cube has edge 1.
        smallest: A region whose edge falls below this has ended.
        successes: Successes in a row that double the edge.
        failures: Failures in a row that halve it.
    """

    largest: float
    smallest: float
    successes: int
    failures: int


@dataclass(frozen=True, kw_only=True)
class Region:
    """A trust region as it stands after some trials.

    Attributes:
        index: How many regions came before it.
        start: How many trials came before it.
        length: Its edge length.
        successes: Successes in a row.
        failures: Failures in a row.
    """

    index: int
    start: int
    length: float
    successes: int = 0
    failures: int = 0

    def after(self, success: bool, rules: RegionRules) -> "Region":
        """Return the region after one more trial."""
        successes = self.successes + 1 if success else 0
        failures = 0 if success else self.failures + 1
        if successes >= rules.successes:
            return replace(self, length=min(2.0 * self.length, rules.largest), successes=0, failures=0)
        if failures >= rules.failures:
            return replace(self, length=self.length / 2.0, successes=0, failures=0)
        return replace(self, successes=successes, failures=failures)


def replayed_regions(
    trials: Sequence[Trial],
    rules: RegionRules,
    *,
    initial_length: Callable[[int], float],
    succeeds: Callable[[Region, int], bool | None],
) -> tuple[Region, ...]:
    """Return every region that the trials went through; the last is the one they are in.

    Unfinished trials take their places but are neither successes nor failures.

    Args:
        trials: Every trial by number.
        rules: When a region grows, shrinks and ends.
        initial_length: The edge length of a region that begins after so many trials.
        succeeds: Whether the trial at a place improved on those before it, seen from a region; None if it does not
            count.
    """
    ended: list[Region] = []
    region = Region(index=0, start=0, length=initial_length(0))
    for place, trial in enumerate(trials):
        success = succeeds(region, place) if trial.state.is_finished else None
        if success is None:
            continue
        region = region.after(success, rules)
        if region.length < rules.smallest:
            ended.append(region)
            region = Region(index=region.index + 1, start=place + 1, length=initial_length(place + 1))
    return (*ended, region)
