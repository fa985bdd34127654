"""What every loader returns, before it is split: raw samples with labels and, where known, group ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from envs.compression.float_network.purpose import RECONSTRUCTION
from envs.compression.float_network.samples import LabelledSamples
from mobo.tinyml.tasks.data import FloatArray, IntArray, Standardisation, TaskData, TaskError, to_samples
from mobo.tinyml.tasks.settings import SplitSettings
from mobo.tinyml.tasks.splits import Indices, cut

Array = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Part:
    """Samples of one part of a data set.

    Attributes:
        x: Raw values ``(N, H, W, C)``.
        y: Labels ``(N,)``.
        groups: Group ids ``(N,)`` (speaker, subject, device), or None where samples are independent.
    """

    x: FloatArray
    y: IntArray
    groups: Array | None = None

    def at(self, indices: Indices) -> "Part":
        """Return the samples at some positions."""
        return Part(self.x[indices], self.y[indices], None if self.groups is None else self.groups[indices])


@dataclass(frozen=True)
class RawTask:
    """A data set as its loader found it.

    Attributes:
        source: Names it in messages, e.g. the path of its file.
        class_names: One name per class, in label order.
        known: What training, reward and validation splits are cut from.
        test: The test split; None where it has to be cut off as well.
        normal: Labels of the normal classes, where the others are anomalies to detect: only normal samples are trained
            on. None where classes are told apart.

    Raises:
        TaskError: Fewer than two classes, labels without a name, values that are not finite, or a test part that
            does not fit.
    """

    source: str
    class_names: tuple[str, ...]
    known: Part
    test: Part | None = None
    normal: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            self._check_values(f"{self.source}: x_{name}", part.x)
            self._check_labels(f"{self.source}: y_{name}", part.y)
        classes = np.unique(self.known.y)
        if len(classes) < 2:
            raise TaskError(
                f"{self.source}: y_train holds only class {int(classes[0])}; "
                "a classification task needs at least two classes"
            )
        if self.test is not None:
            self._check_test(self.test)

    @property
    def parts(self) -> Mapping[str, Part]:
        """The parts there are, by name."""
        return {"train": self.known} if self.test is None else {"train": self.known, "test": self.test}

    def _check_values(self, what: str, x: FloatArray) -> None:
        if not np.isfinite(x).all():
            bad = int((~np.isfinite(x)).reshape(len(x), -1).any(axis=1).sum())
            raise TaskError(
                f"{what} holds NaN or infinite values in {bad} of {len(x)} samples (in float32); clean or drop them"
            )

    def _check_labels(self, what: str, y: IntArray) -> None:
        count = len(self.class_names)
        if y.min() < 0 or y.max() >= count:
            raise TaskError(
                f"{what} holds labels {y.min()} to {y.max()}; with {count} classes allowed are 0 to {count - 1}"
            )

    def _check_test(self, test: Part) -> None:
        if test.x.shape[1:] != self.known.x.shape[1:]:
            raise TaskError(
                f"{self.source}: x_test has samples of shape {test.x.shape[1:]}, x_train of {self.known.x.shape[1:]}; "
                "they must be equal"
            )
        if self.known.groups is not None and test.groups is not None:
            both = np.intersect1d(self.known.groups, test.groups)
            if len(both):
                raise TaskError(
                    f"{self.source}: {len(both)} groups are in both train and test, e.g. {both[0]}; "
                    "the test error would be too good"
                )


def split_task(raw: RawTask, settings: SplitSettings) -> TaskData:
    """Cut a data set into its four splits and standardise it by its training split.

    Raises:
        TaskError: A class or the number of groups is too small to be cut.
    """
    if raw.test is None:
        chosen, rest = cut(raw.known.y, [settings.test_fraction], groups=raw.known.groups, seed=settings.split_seed)
        raw = replace(raw, known=raw.known.at(rest), test=raw.known.at(chosen))
    test = raw.parts["test"]
    fractions = [settings.reward_fraction, settings.validation_fraction]
    reward, validation, train = (
        raw.known.at(part) for part in cut(raw.known.y, fractions, groups=raw.known.groups, seed=settings.split_seed)
    )
    if raw.normal is not None:
        train = train.at(np.flatnonzero(np.isin(train.y, raw.normal)))
    standardisation = Standardisation.of(train.x, settings.standardise)
    height, width, channels = train.x.shape[1:]
    return TaskData(
        input_shape=(height, width, channels),
        class_names=raw.class_names if raw.normal is None else ("normal", "anomalous"),
        train=_samples(train, standardisation, raw.normal),
        reward=_samples(reward, standardisation, raw.normal),
        validation=_samples(validation, standardisation, raw.normal),
        load_test=lambda: _samples(test, standardisation, raw.normal),
        standardisation=standardisation,
        validation_groups=validation.groups,
        test_groups=test.groups,
    )


def _samples(part: Part, standardisation: Standardisation, normal: Sequence[int] | None) -> LabelledSamples:
    if normal is None:
        return to_samples(part.x, part.y, standardisation)
    is_anomalous = (~np.isin(part.y, normal)).astype(np.int64)
    return to_samples(part.x, is_anomalous, standardisation, RECONSTRUCTION)
