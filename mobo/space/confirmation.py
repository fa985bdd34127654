"""What is made of a front's models once it stands: repeats with other seeds, and a last training on more samples.

A search keeps the models whose one measurement is low, so those measurements are low by luck, too. The repeats of a
model were not chosen for anything: their mean is an honest estimate, as long as the original measurement stays out.
The last training is for what is delivered: it uses the samples that the search held back to choose by.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import hypot

from hw_models.files import FileModel
from mobo.base.statistics import mean_distance_interval, mean_error_interval


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """A model made once more with another seed and measured.

    Attributes:
        trial: Number of the model's trial.
        repeat: Which repeat of it, from 0.
        seed: Everything random in the repeat came from this.
        trained_folds: 0 where the trained network was kept, and only compressed and fine-tuned anew; 1 where it was
            trained anew, too; more where it was trained on all but one of so many folds and measured on that one.
        samples: Independent samples that the error is worth, see
            :class:`envs.compression.float_network.purpose.Measured`.
        error: Error on the validation split, or on the fold; None if the repeat failed.
        message: Why it failed; else empty.
    """

    trial: int
    repeat: int
    seed: int
    trained_folds: int
    samples: int
    error: float | None
    message: str = ""


@dataclass(frozen=True)
class Confirmation:
    """What the repeats of one model say.

    Attributes:
        error: Mean validation error of the repeats. The original measurement is *not* in it: the model is on the front
            because that one was low, and a mean with it would keep a part of the luck. Whoever chooses by this figure
            among many models adds luck again, but less of it: that of a mean.
        low: Lower end of the 80 % interval of the error that the model has on average over seeds and samples
            (:func:`mobo.base.statistics.mean_error_interval`, of a regression :func:`mean_distance_interval` there);
            None with a single repeat.
        high: Upper end: one true figure in ten lies above.
        repeats: How many succeeded; at least one.
    """

    error: float
    low: float | None
    high: float | None
    repeats: int


def confirmations(repeats: Iterable[Repeat], *, are_shares: bool) -> Mapping[int, Confirmation]:
    """Return the confirmation of every trial of which a repeat succeeded, by number.

    Args:
        repeats: All there are.
        are_shares: Whether errors are shares; else they are distances in the unit of the labels.
    """
    measured: dict[int, list[tuple[float, int]]] = {}
    for entry in repeats:
        if entry.error is not None:
            measured.setdefault(entry.trial, []).append((entry.error, entry.samples))
    return {trial: _confirmation(entries, are_shares=are_shares) for trial, entries in measured.items()}


def _confirmation(measured: list[tuple[float, int]], *, are_shares: bool) -> Confirmation:
    errors = [error for error, _ in measured]
    mean = sum(errors) / len(errors)
    if len(errors) == 1:
        return Confirmation(mean, None, None, 1)
    interval = (mean_error_interval if are_shares else mean_distance_interval)(
        errors, min(samples for _, samples in measured)
    )
    return Confirmation(mean, interval.low, interval.high, len(errors))


DESCRIBED = "described.json"
"""The file beside a model that was trained again: a Retrained."""


class Retrained(FileModel):
    """A model of the front that was trained once more, on more samples, and what came out.

    Attributes:
        trial: Number of its trial.
        splits: The splits that it was trained on.
        samples: How many samples those have.
        validation_error: Error on the validation split; None where that is among them.
        validation_standard_error: Its standard error; None where that is not known.
        test_error: Error on the test split; None if the training failed.
        download_bytes: Length of its coded network file; None likewise.
        message: Why it failed; else empty.
    """

    trial: int
    splits: tuple[str, ...]
    samples: int
    validation_error: float | None = None
    validation_standard_error: float | None = None
    test_error: float | None = None
    download_bytes: int | None = None
    message: str = ""

    @property
    def is_there(self) -> bool:
        """Whether there is a model; without one that of the search is delivered."""
        return self.test_error is not None

    def holds_against(self, searched_error: float, searched_standard_error: float) -> bool:
        """Return whether the validation split does not speak against it: the rule of one standard error.

        It learnt from more samples, so it is expected to be better; and the figure of the search was chosen among many
        as a low one, so it is low by luck, too. So the split has to show by more than the standard error of the
        difference that it is worse. Both models are measured on the same samples, so that the true one is smaller than
        the one for independent samples, which is taken. Where noise is not known, any difference counts.

        Source: the rule of Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984, section 3.4.3.

        Args:
            searched_error: Validation error of the model of the search.
            searched_standard_error: Its standard error, 0 where it is not known.
        """
        if self.validation_error is None:
            return True
        noise = hypot(self.validation_standard_error or 0.0, searched_standard_error)
        return self.validation_error - searched_error <= noise
