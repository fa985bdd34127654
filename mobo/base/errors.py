"""The one base class of every error this package raises on purpose, and its kinds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


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


class MachineError(MoboError):
    """The machine or the files around the work let it down, not what was worked on: no space, a file that is gone.

    Nothing is concluded from it: a trial stays pending, and is run again when the search is resumed.
    """


@contextmanager
def machine_errors() -> Iterator[None]:
    """Turn what the operating system refuses within into :class:`MachineError`.

    A reader who has gone away (``mobo front | head``) is no failure, and an OSError without a number is not the
    system's: both stay what they are.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        place = "" if error.filename is None else f" ({error.filename})"
        raise MachineError(
            f"the machine refused: {os.strerror(error.errno)}{place}; what is finished is kept: mend that and give the "
            "command again, a search with --resume"
        ) from error


class StoreError(MoboError):
    """A study file cannot be created, read or written."""


class StudyError(MoboError):
    """The search was stopped because going on would be pointless or wrong."""


class SamplerError(MoboError):
    """A sampler was configured with, or shown, something it cannot use."""
