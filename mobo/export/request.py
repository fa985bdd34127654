"""What a format is given of one finished trial, and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from envs.compression.integer.network import QuantisedNetwork
from envs.compression.policy import CompressionPolicy
from hw_models.device import Core
from hw_models.files import FileModel

Integers = npt.NDArray[np.signedinteger[Any]]
"""Values of a tensor: int8 or, where the layer that makes it computes with 16-bit activations, int16."""

PurposeName = Literal["classes", "reconstruction", "regression"]
"""What a model's outputs are for: a score per class; the input again, which fails where it is anomalous; an estimate
of every label."""


EngineName = Literal["mobo-c", "tflm"]
"""What runs the network in a firmware: the C that is written for it, or TensorFlow Lite Micro with the tflite file."""


class Board(FileModel):
    """The board that a firmware is for.

    Attributes:
        name: As in ``devices.toml``, or one of QEMU's machines.
        core: Its core.
        sram_kib: Its SRAM, KiB.
        zephyr: Its name in Zephyr; empty where that has none.
        platformio: Its platform and name in PlatformIO; empty where that has none with Arduino's framework.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)
    core: Core
    sram_kib: float = Field(gt=0, le=2**22)
    zephyr: str = Field(default="", pattern=r"^[a-z0-9_]*(/[a-z0-9_]+)*$", max_length=80)
    platformio: str = Field(default="", pattern=r"^([a-z0-9_]+/[a-z0-9_]+)?$", max_length=80)


_LARGEST_FLOAT = float(np.finfo(np.float32).max)
_Finite = Annotated[float, Field(ge=-_LARGEST_FLOAT, le=_LARGEST_FLOAT)]

Raw = npt.NDArray[np.integer[Any]]

TEST_INPUTS, TEST_BYTES = 4, 2**20
"""How many raw inputs go into an export at most, one at least; more than one only within these bytes."""

MOST_SAMPLES = 2**20
"""Of one raw input; a front end of more is not written."""


class _Int16FrontEnd(FileModel, ABC):
    """What reads samples of 16 bits."""

    @property
    @abstractmethod
    def samples(self) -> int:
        """Samples of one input."""

    @property
    def dtype(self) -> str:
        """Type of a sample."""
        return "int16"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one raw input."""
        return 2 * self.samples


class MfccFrontEnd(_Int16FrontEnd):
    """MFCC of one clip of int16 samples; ``transform`` is the FFT's length, None for the next that holds a frame."""

    kind: Literal["mfcc"] = "mfcc"
    sample_rate_hz: int = Field(ge=1000, le=2**17)
    clip_samples: int = Field(ge=1, le=MOST_SAMPLES)
    coefficients: int = Field(ge=1, le=40)
    highest_hz: float = Field(gt=20)
    frame_ms: float = Field(default=30.0, gt=0, le=1000)
    step_ms: float = Field(default=20.0, gt=0, le=1000)
    transform: int | None = Field(default=None, ge=8, le=2**16)

    @property
    def samples(self) -> int:
        """Samples of one input."""
        return self.clip_samples


class WindowFrontEnd(_Int16FrontEnd):
    """A window of int16 rows; a sample of channel c is the raw value times ``2 ** fraction_bits[c]``, rounded."""

    kind: Literal["window"] = "window"
    length: int = Field(ge=1, le=MOST_SAMPLES)
    fraction_bits: tuple[Annotated[int, Field(ge=-64, le=64)], ...] = Field(min_length=1, max_length=2**10)

    @property
    def samples(self) -> int:
        """Samples of one input: rows times channels."""
        return self.length * len(self.fraction_bits)


class ImageFrontEnd(FileModel):
    """One image of a camera: 8-bit pixels, grey or red, green, blue."""

    kind: Literal["image"] = "image"
    height: int = Field(ge=1, le=2**12)
    width: int = Field(ge=1, le=2**12)
    channels: Literal[1, 3]

    @property
    def samples(self) -> int:
        """Values of one image."""
        return self.height * self.width * self.channels

    @property
    def dtype(self) -> str:
        """Type of a value."""
        return "uint8"

    @property
    def sample_bytes(self) -> int:
        """Bytes of one image."""
        return self.samples


class Distance(FileModel):
    """How far the integers are from the front end of training, in steps of the network's int8 input.

    Attributes:
        inputs: How many raw inputs were compared.
        values: How many values of the network's input these are.
        equal: How many of them are equal.
        largest: The largest difference.
        source: What the raw inputs are.
    """

    inputs: int = Field(ge=1)
    values: int = Field(ge=1)
    equal: int = Field(ge=0)
    largest: int = Field(ge=0, le=255)
    source: Literal["data", "made-up signals"]


Form = MfccFrontEnd | WindowFrontEnd | ImageFrontEnd


class FrontEnd(FileModel):
    """What stands between the sensor and the network of an export.

    Attributes:
        form: What it computes.
        distance: How far that is from training's.
    """

    form: Annotated[Form, Field(discriminator="kind")]
    distance: Distance


class AnomalyThreshold(FileModel):
    """From which reconstruction error on an input is anomalous.

    Attributes:
        score: The largest integer score of a normal input.
        normal, anomalous: Samples of the validation split.
        false_alarms: How many of the normal ones lie above it; ``detected`` of the anomalous ones.
    """

    score: int = Field(ge=0, lt=2**63)
    normal: int = Field(ge=1)
    anomalous: int = Field(ge=1)
    false_alarms: int = Field(ge=0)
    detected: int = Field(ge=0)


class LabelScale(FileModel):
    """What the outputs of a regression stand for: ``label = mean + deviation * output``.

    Attributes:
        names: Of the labels, one per output.
        unit: Of all of them.
        mean: Of every label in the training split.
        deviation: Of all labels together.
        worst: The error there of what says of all samples the same.
    """

    names: tuple[str, ...] = Field(min_length=1, max_length=2**16)
    unit: str
    mean: tuple[_Finite, ...] = Field(min_length=1, max_length=2**16)
    deviation: float = Field(gt=0, le=_LARGEST_FLOAT)
    worst: float = Field(gt=0, le=_LARGEST_FLOAT)


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportRequest:
    """Everything a format may use of one finished trial.

    Attributes:
        network: The integer network: graph, weights, scales. What is exported is this and nothing else.
        policy: What was done to the trained network.
        costs: What the network is predicted to cost on the run's board under the run's runtime, by name.
        name: A name for the model, ``"<run>-<trial>"``.
        run: Name of the run's folder.
        trial: Number of the trial.
        purpose: What the outputs are for.
        class_names: One per class, in label order; none where labels are real numbers.
        mean, deviation: How raw inputs become real ones: ``(raw - mean) / deviation``, broadcast over ``(H, W, C)``.
        test_inputs: int8, N x H x W x C: a few dozen samples as a test vector.
        test_labels: Their labels: int64, N, or of a regression float32, N x outputs.
        test_outputs: int8 or int16, N x outputs: what the integer interpreter computes for them.
        board: The board a firmware is for; None where none is written.
        engine: What runs the network in a firmware.
        front_end: What stands between the sensor and the input; None where no C is written for that.
        anomaly: The threshold of a reconstruction; None for classes, or where no C is written.
        labels: What the outputs of a regression stand for; None where they are for something else.
        raw_inputs: int16 or uint8, N x samples: a few raw inputs as a test vector of the front end.
    """

    network: QuantisedNetwork
    policy: CompressionPolicy
    costs: Mapping[str, float | None]
    name: str
    run: str
    trial: int
    purpose: PurposeName
    class_names: tuple[str, ...]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    test_inputs: npt.NDArray[np.int8]
    test_labels: npt.NDArray[Any]
    test_outputs: Integers
    board: Board | None = None
    engine: EngineName = "mobo-c"
    front_end: FrontEnd | None = None
    raw_inputs: Raw | None = None
    anomaly: AnomalyThreshold | None = None
    labels: LabelScale | None = None


Files = Mapping[str, bytes]
"""Content by path, relative to the format's own folder, with forward slashes."""

Exporter = Callable[[ExportRequest], Files]
