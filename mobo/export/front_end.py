"""The front end of an exported model: which one a task has, what is kept of it, how far it is from training's.

What is kept in the manifest is a few numbers; tables, C and integers are made from them and from the model's own
standardisation and scales.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from hw_models.files import FileModel, read_bytes
from hw_models.graph.layer_graph import INPUT
from mobo.export.errors import ExportError
from mobo.export.fixed_front_end import FixedFrontEnd, FixedMfcc, FixedWindow, Stage
from mobo.tinyml.tasks import load_raw
from mobo.tinyml.tasks.class_folders import class_files, class_names
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.data_files import find_data_file
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.settings import (
    AnomalySettings,
    CsvFolderSettings,
    DaliacSettings,
    DigitsSettings,
    KeywordsSettings,
    SpeechCommandsSettings,
    SplitSettings,
    WavFolderSettings,
    WisdmSettings,
)
from mobo.tinyml.tasks.wav_folder import read_wav

Raw = npt.NDArray[np.integer[Any]]

TEST_INPUTS = 4
"""How many raw inputs go into an export at most."""

_COMPARED_CLIPS, _COMPARED_WINDOWS = 64, 256
_SPEECH_HZ = 16000
_MOST_SAMPLES = 2**20
_INT16_MAX = 2**15 - 1


class MfccFrontEnd(FileModel):
    """MFCC of one clip of int16 samples."""

    kind: Literal["mfcc"] = "mfcc"
    sample_rate_hz: int = Field(ge=1000, le=2**17)
    clip_samples: int = Field(ge=1, le=_MOST_SAMPLES)
    coefficients: int = Field(ge=1, le=40)
    highest_hz: float = Field(gt=20)

    @property
    def samples(self) -> int:
        """Samples of one input."""
        return self.clip_samples

    @property
    def dtype(self) -> str:
        """Type of a sample."""
        return "int16"

    @property
    def features(self) -> Mfcc:
        """The features as training computes them."""
        return Mfcc(self.sample_rate_hz, self.clip_samples, self.coefficients, self.highest_hz)


class WindowFrontEnd(FileModel):
    """A window of int16 rows; a sample of channel c is the raw value times ``2 ** fraction_bits[c]``, rounded."""

    kind: Literal["window"] = "window"
    length: int = Field(ge=1, le=_MOST_SAMPLES)
    fraction_bits: tuple[Annotated[int, Field(ge=-64, le=64)], ...] = Field(min_length=1, max_length=2**10)

    @property
    def samples(self) -> int:
        """Samples of one input: rows times channels."""
        return self.length * len(self.fraction_bits)

    @property
    def dtype(self) -> str:
        """Type of a sample."""
        return "int16"


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


class FrontEnd(FileModel):
    """What stands between the sensor and the network of an export.

    Attributes:
        form: What it computes.
        distance: How far that is from training's.
    """

    form: Annotated[MfccFrontEnd | WindowFrontEnd, Field(discriminator="kind")]
    distance: Distance


Form = MfccFrontEnd | WindowFrontEnd


@dataclass(frozen=True, eq=False)
class RawInputs:
    """Raw inputs and what training makes of them.

    Attributes:
        form: What the front end computes.
        raw: int16, N x samples.
        features: N x H x W x C, not standardised, as the task's loader gives them.
        source: As in :class:`Distance`.
    """

    form: Form
    raw: Raw
    features: FloatArray
    source: Literal["data", "made-up signals"] = "data"


def fixed_front_end(
    form: Form, network: QuantisedNetwork, mean: npt.NDArray[np.float32], deviation: npt.NDArray[np.float32]
) -> FixedFrontEnd:
    """Return the integers that the C computes.

    Raises:
        ExportError: It does not give what the network reads, or is beyond what the C computes.
    """
    quantisation: TensorQuantisation = network.tensors[INPUT]
    if isinstance(form, WindowFrontEnd):
        shape: tuple[int, ...] = (1, form.length, len(form.fraction_bits))
        _check_shape(shape, network)
        unit = 2.0 ** -np.array(form.fraction_bits, np.float64)
        return FixedWindow(Stage.of(unit, mean, deviation, quantisation), form.length, len(form.fraction_bits))
    try:
        features = form.features
    except TaskError as error:
        raise ExportError(f"the front end: {error}") from error
    _check_shape((features.frames, form.coefficients, 1), network)
    if mean.size not in (1, form.coefficients):
        raise ExportError(f"the front end has {form.coefficients} coefficients and {mean.size} means")
    return FixedMfcc(features, Stage.of(FixedMfcc.unit(), mean, deviation, quantisation))


def _check_shape(found: tuple[int, ...], network: QuantisedNetwork) -> None:
    if found != tuple(network.graph.input_shape):
        raise ExportError(f"the front end gives {found} values, the network reads {network.graph.input_shape}")


def distance(raw: RawInputs, fixed: FixedFrontEnd, expected: npt.NDArray[np.int8]) -> Distance:
    """Return how far the integers are from the inputs that training computes of the same samples."""
    differences = np.abs(fixed(raw.raw).astype(np.int64) - expected)
    return Distance(
        inputs=len(raw.raw),
        values=differences.size,
        equal=int(np.count_nonzero(differences == 0)),
        largest=int(differences.max()),
        source=raw.source,
    )


def raw_inputs(settings: SplitSettings) -> RawInputs | str:
    """Return raw inputs for a task's front end, or in a few words why C for it cannot be written; nothing to say is "".

    Raises:
        TaskError: The data cannot be read.
    """
    if isinstance(settings, AnomalySettings):
        settings = settings.of
    found = _FRONT_ENDS.get(type(settings))
    if found is None:
        # Their samples come as the network reads them.
        return "" if isinstance(settings, DigitsSettings) else "the device's own code computes its inputs"
    return found(settings)


def _wav_folder(settings: WavFolderSettings) -> RawInputs | str:
    folder = find_data_file(settings.folder)
    files = class_files(folder, class_names(folder), (".wav",), settings.group_pattern)
    step = max(1, len(files) // _COMPARED_CLIPS)
    clips = []
    for file in files[::step][:_COMPARED_CLIPS]:
        rate_hz, samples = read_wav(read_bytes(file.path), str(file.path))
        clips.append(samples[: round(settings.clip_s * rate_hz)])
    length = round(settings.clip_s * rate_hz)
    if not 1000 <= rate_hz <= 2**17 or length > _MOST_SAMPLES:
        return f"{length} samples of {rate_hz} Hz are beyond it"
    form = MfccFrontEnd(
        sample_rate_hz=rate_hz,
        clip_samples=length,
        coefficients=settings.coefficients,
        highest_hz=settings.highest_hz,
    )
    features = form.features
    return RawInputs(
        form,
        np.stack([np.pad(_int16(clip), (0, length - len(clip))) for clip in clips]),
        np.stack([features(clip) for clip in clips])[..., None],
    )


def _int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Return what an ADC of 16 bits would have given for a recording of any format."""
    if samples.dtype.kind == "f":
        samples = np.rint(np.clip(samples, -1.0, 1.0) * _INT16_MAX)
    else:
        samples = samples >> 8 * max(0, samples.dtype.itemsize - 2)
    return samples.astype(np.int16)


def _keywords(settings: SplitSettings) -> RawInputs:
    """The clips are not at hand, so signals are made up: tones and noise of differing loudness, and silence."""
    form = MfccFrontEnd(sample_rate_hz=_SPEECH_HZ, clip_samples=_SPEECH_HZ, coefficients=10, highest_hz=4000.0)
    random, seconds = np.random.default_rng(0), np.arange(_SPEECH_HZ) / _SPEECH_HZ
    clips = []
    for loudness in (12000.0, 3000.0, 600.0, 100.0):
        pitch = 90.0 + 150.0 * random.random()
        voice = sum(np.sin(2 * np.pi * pitch * k * seconds) / k for k in range(1, 20))
        envelope = np.exp(-(((seconds - 0.3 - 0.4 * random.random()) / 0.12) ** 2))
        clips.append(loudness * (voice * envelope + 0.02 * random.standard_normal(_SPEECH_HZ)))
    raw = np.stack([*clips, np.zeros(_SPEECH_HZ)]).clip(-_INT16_MAX, _INT16_MAX).astype(np.int16)
    return RawInputs(form, raw, np.stack([form.features(clip) for clip in raw])[..., None], "made-up signals")


def _windows(settings: SplitSettings) -> RawInputs | str:
    values = load_raw(settings).known.x
    _, _, length, channels = values.shape
    if length * channels > _MOST_SAMPLES or channels > 2**10:
        return f"windows of {length} x {channels} samples are beyond it"
    bits = tuple(fraction_bits(values[..., channel]) for channel in range(channels))
    some = values[:: max(1, len(values) // _COMPARED_WINDOWS)][:_COMPARED_WINDOWS]
    counts = np.rint(some.astype(np.float64) * 2.0 ** np.array(bits)).clip(-_INT16_MAX, _INT16_MAX)
    form = WindowFrontEnd(length=length, fraction_bits=bits)
    return RawInputs(form, counts.astype(np.int16).reshape(len(some), -1), some)


def fraction_bits(values: FloatArray) -> int:
    """Return 0 for whole numbers that an int16 holds, else as many bits as leave room for twice the largest value."""
    largest = float(np.abs(values).max())
    if largest <= _INT16_MAX and not np.any(values % 1):
        return 0
    return int(np.clip(14 - frexp(largest)[1], -64, 64))


_FRONT_ENDS: dict[type[SplitSettings], Callable[[Any], RawInputs | str]] = {
    WavFolderSettings: _wav_folder,
    SpeechCommandsSettings: _keywords,
    KeywordsSettings: _keywords,
    CsvFolderSettings: _windows,
    WisdmSettings: _windows,
    DaliacSettings: _windows,
}
