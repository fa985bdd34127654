"""The one base class of every error this package raises on purpose, and its kinds."""


class MoboError(ValueError):
    """A search cannot go on as asked; the message says what was seen, what is allowed and what to do."""


class SpaceError(MoboError):
    """A design or an encoded point does not belong to the search space."""


class ConfigError(MoboError):
    """The config cannot be used; the message names the key, the value and what is allowed."""


class TrialFailed(MoboError):
    """Evaluating one design failed in an expected way; the trial is recorded as failed and the search goes on."""


class StoreError(MoboError):
    """A study file cannot be created, read or written."""


class StudyError(MoboError):
    """The search was stopped because going on would be pointless or wrong."""


class SamplerError(MoboError):
    """A sampler was configured with, or shown, something it cannot use."""
