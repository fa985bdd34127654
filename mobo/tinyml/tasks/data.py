"""A task's data as the rest of the program sees it: four splits, standardised, in the network's layout."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.float_network.purpose import CLASSIFICATION, Purpose
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import StoredInputs
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Labels = IntArray | FloatArray
"""Classes ``(N,)``, or ``(N, labels)`` where labels are real numbers."""

Groups = npt.NDArray[np.generic] | None


class TaskError(MoboError):
    """The data of a task cannot be used; the message says what was found and what is needed."""


@dataclass(frozen=True)
class Standardisation:
    """How raw values became network inputs: ``(raw - mean) / deviation``, broadcast over ``(H, W, C)``.

    Attributes:
        mean: Shape broadcastable to ``(H, W, C)``.
        deviation: The same shape, positive.
    """

    mean: FloatArray
    deviation: FloatArray

    @classmethod
    def of(cls, x: FloatArray | StoredInputs, kind: str) -> "Standardisation":
        """Compute it from training samples ``(N, H, W, C)``; ``kind`` as in ``NpzSettings.standardise``."""
        axes = {"channel": (0, 1, 2), "column": (0, 1)}.get(kind)
        if axes is None:
            return cls(np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
        # float64: the mean of many large float32 values loses digits otherwise.
        if isinstance(x, StoredInputs):
            mean, deviation = (values[0] for values in x.moments(axes))
        else:
            mean = x.mean(axis=axes, keepdims=True, dtype=np.float64)[0]
            deviation = x.std(axis=axes, keepdims=True, dtype=np.float64)[0]
        # A constant column carries nothing; dividing by 1 leaves it at zero instead of NaN.
        deviation = np.where(deviation > 0, deviation, 1.0)
        return cls(mean.astype(np.float32), deviation.astype(np.float32))

    @classmethod
    def given(cls, mean: Sequence[float], deviation: Sequence[float]) -> "Standardisation":
        """Return one that is known already: one number each, or one per channel."""
        both = (np.array(values, np.float32).reshape(1, 1, -1) for values in (mean, deviation))
        return cls(*both)

    def apply(self, x: FloatArray) -> FloatArray:
        """Return standardised samples of shape ``(N, H, W, C)``."""
        standardised: FloatArray = ((x - self.mean) / self.deviation).astype(np.float32)
        return standardised


@dataclass(frozen=True)
class Sensor:
    """What gives a task its raw samples, whatever is made of them.

    Attributes:
        channels: Values that it gives at a time: axes, colours.
        rate_hz: Samples per second of sound; None for anything else.
        size: Height and width of its images; None for anything else, and where they differ, which those of one camera
            do not.
    """

    channels: int
    rate_hz: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class SplitCount:
    """How much there is of one split.

    Attributes:
        name: ``train``, ``reward``, ``validation`` or ``test``.
        samples: Number of samples.
        groups: Number of groups; None where samples are independent.
        by_class: Number of samples of every class of the data, by name.
        by_label: Smallest, mean and largest value of every label that is a real number, by name.
    """

    name: str
    samples: int
    groups: int | None
    by_class: Mapping[str, int]
    by_label: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskData:
    """The splits of one task.

    Attributes:
        input_shape: ``(height, width, channels)`` of one sample.
        class_names: One name per class, in label order; ``normal`` and ``anomalous`` where anomalies are detected; none
            where labels are real numbers.
        train: What weights are trained on.
        reward: What the agent's reward is computed on; fixed, never trained on.
        validation: What designs are judged on.
        load_test: Returns the test split; called once, when the finished front is scored.
        standardisation: What was done to the raw values; needed again on the device.
        validation_groups: Group id (speaker, subject, device) of every validation sample; None where samples are
            independent.
        test_groups: The same of the test split.
        counts: How much there is of every split.
        notes: What the user should know of the data and the splits, one sentence each.
        sensor: What gave the raw samples; None where nothing is known of it.
        label_names: One name per label that is a real number.
    """

    input_shape: Shape
    class_names: tuple[str, ...]
    train: LabelledSamples
    reward: LabelledSamples
    validation: LabelledSamples
    load_test: Callable[[], LabelledSamples]
    standardisation: Standardisation
    validation_groups: Groups = None
    test_groups: Groups = None
    counts: tuple[SplitCount, ...] = ()
    notes: tuple[str, ...] = ()
    sensor: Sensor | None = None
    label_names: tuple[str, ...] = ()
    source: str = ""

    @property
    def labels_text(self) -> str:
        """What the labels are, in words."""
        if self.label_names:
            kind = "label" if len(self.label_names) == 1 else "labels"
            return f"{len(self.label_names)} {kind} ({', '.join(self.label_names)})"
        return f"{len(self.class_names)} classes"

    def output_count(self, shape: Shape) -> int:
        """Return how many outputs a network of an input needs: one per class, label, or input value to reconstruct."""
        return self.train.purpose.output_count(len(self.class_names), prod(shape))


def to_samples(
    x: FloatArray | StoredInputs, y: Labels, standardisation: Standardisation, purpose: Purpose = CLASSIFICATION
) -> LabelledSamples:
    """Return samples ``N x C x H x W``, channels last in memory, from raw values ``(N, H, W, C)`` and labels."""
    labels = torch.from_numpy(np.array(y))
    if isinstance(x, StoredInputs):
        return LabelledSamples(x.standardised(standardisation.mean, standardisation.deviation), labels, purpose)
    values = torch.from_numpy(np.ascontiguousarray(standardisation.apply(x)))
    return LabelledSamples(values.permute(0, 3, 1, 2), labels, purpose)
