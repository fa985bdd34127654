"""The one base class of every error this package raises on purpose, and its kinds."""

from collections.abc import Mapping


class MoboError(ValueError):
    """A search cannot go on as asked; the message says what was seen, what is allowed and what to do."""


class SpaceError(MoboError):
    """A design or an encoded point does not belong to the search space."""


class ConfigError(MoboError):
    """The config cannot be used; the message names the key, the value and what is allowed."""


class TrialFailed(MoboError):
    """Evaluating one design failed in an expected way; the trial is recorded as failed and the search goes on."""


class TrialStopped(MoboError):
    """A training was ended early because nothing was to be expected of it; the trial is recorded as stopped.

    Attributes:
        outcome: What is known all the same, by name.
        times_s: Seconds by phase.
    """

    def __init__(self, message: str, outcome: Mapping[str, float], times_s: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.outcome, self.times_s = dict(outcome), dict(times_s or {})


class StoreError(MoboError):
    """A study file cannot be created, read or written."""


class StudyError(MoboError):
    """The search was stopped because going on would be pointless or wrong."""


class SamplerError(MoboError):
    """A sampler was configured with, or shown, something it cannot use."""
