"""Where the time of a search went, stage by stage."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mobo.space.trial import Trial


@dataclass(frozen=True)
class StageTime:
    """One stage over all trials.

    Attributes:
        stage: Name of the stage, e.g. ``"train"``.
        median_s: Median over the trials that had the stage.
        total_s: Sum over all trials.
        share: Part of the sum over all stages.
    """

    stage: str
    median_s: float
    total_s: float
    share: float


def trial_seconds(trial: Trial) -> float:
    """Return the seconds one trial took, all stages together."""
    return sum(trial.times_s.values())


def time_split(trials: Sequence[Trial]) -> tuple[StageTime, ...]:
    """Return the stages of all trials, the longest total first; empty if no trial has times."""
    stages: dict[str, list[float]] = {}
    for trial in trials:
        for stage, seconds in trial.times_s.items():
            stages.setdefault(stage, []).append(seconds)
    everything = sum(sum(seconds) for seconds in stages.values())
    split = [
        StageTime(stage, median(seconds), sum(seconds), sum(seconds) / everything if everything else 0.0)
        for stage, seconds in stages.items()
    ]
    return tuple(sorted(split, key=lambda entry: (-entry.total_s, entry.stage)))
