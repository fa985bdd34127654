"""Which networks are no worse than the baseline, and which of them is chosen: a pure function of mistakes.

The difference of two errors is paired sample by sample, and its interval comes from resampling the groups of the
validation split: it says what another validation split might have said of these very networks, not what another
training of them would. It is not corrected for how many networks are judged; the difference on the test split, which
chose nothing, shows what that costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mobo.base.statistics import error_difference

TrialVerdict = Literal["met", "not met", "undecided"]
GoalVerdict = Literal["met", "not met", "undecidable"]

POINTS = 100
"""Percentage points in a share."""


@dataclass(frozen=True)
class Judged:
    """One network as it stands to the baseline; the differences are shares of the samples.

    Attributes:
        trial: Its trial.
        minimised: What it has of the outcome that is minimised.
        difference: Its error minus the baseline's.
        low: Lower end of the interval.
        high: Upper end.
        verdict: ``met``: the whole interval is within the tolerance; ``not met``: none of it is; else ``undecided``.
    """

    trial: int
    minimised: float
    difference: float
    low: float
    high: float
    verdict: TrialVerdict

    @property
    def half_width(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class Decision:
    """What became of a goal.

    Attributes:
        verdict: ``met``: there is a network that keeps to the tolerance; ``undecidable``: there is none, but one whose
            interval is so wide that it would not keep to it if it erred exactly as often as the baseline; else
            ``not met``.
        chosen: The network that meets the goal with the least of what is minimised; of equal ones that with the lower
            error, then the earlier one. None where none meets it.
        judged: Every network that was judged, by trial.
    """

    verdict: GoalVerdict
    chosen: Judged | None
    judged: tuple[Judged, ...]


def decide(
    baseline_wrong: NDArray[np.bool_],
    wrong: Mapping[int, NDArray[np.bool_]],
    minimised: Mapping[int, float],
    groups: NDArray[np.generic] | None,
    *,
    tolerance: float,
    confidence: float,
) -> Decision:
    """Return which networks meet a goal and which of them is chosen.

    Args:
        baseline_wrong: Which samples the baseline gets wrong.
        wrong: The same of every network, by trial.
        minimised: What every network has of the outcome that is minimised, by trial.
        groups: Group of every sample; None where every sample is its own.
        tolerance: How much higher an error may be than the baseline's, as a share of the samples.
        confidence: Of the intervals.

    Raises:
        ValueError: The arrays have different lengths.
    """
    every_group = np.arange(len(baseline_wrong)) if groups is None else groups
    judged = tuple(
        _judged(trial, minimised[trial], wrong[trial], baseline_wrong, every_group, tolerance, confidence)
        for trial in sorted(wrong)
    )
    met = [entry for entry in judged if entry.verdict == "met"]
    chosen = min(met, key=lambda entry: (entry.minimised, entry.difference, entry.trial), default=None)
    return Decision(_verdict(judged, chosen, tolerance), chosen, judged)


def _judged(
    trial: int,
    minimised: float,
    wrong: NDArray[np.bool_],
    baseline_wrong: NDArray[np.bool_],
    groups: NDArray[np.generic],
    tolerance: float,
    confidence: float,
) -> Judged:
    points, low, high = error_difference(wrong[None], baseline_wrong[None], groups, confidence=confidence)
    allowed = POINTS * tolerance
    verdict: TrialVerdict = "met" if high <= allowed else "not met" if low > allowed else "undecided"
    return Judged(trial, minimised, points / POINTS, low / POINTS, high / POINTS, verdict)


def _verdict(judged: tuple[Judged, ...], chosen: Judged | None, tolerance: float) -> GoalVerdict:
    if chosen is not None:
        return "met"
    too_wide = [entry for entry in judged if entry.verdict == "undecided" and entry.half_width > tolerance]
    return "undecidable" if too_wide else "not met"
