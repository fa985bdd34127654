"""The front end of an exported model: which one a task has, what is kept of it, how far it is from training's.

Its form is a few numbers in the manifest; tables, C and integers are made from them and from the model's own
standardisation and scales.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import frexp
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from hw_models.files import read_bytes
from hw_models.graph.layer_graph import INPUT
from mobo.export.errors import ExportError
from mobo.export.fixed_front_end import FixedFrontEnd, FixedImage, FixedMfcc, FixedWindow, Stage
from mobo.export.request import MOST_SAMPLES, Distance, Form, ImageFrontEnd, MfccFrontEnd, Raw, WindowFrontEnd
from mobo.tinyml.tasks import load_raw
from mobo.tinyml.tasks.class_folders import training_files
from mobo.tinyml.tasks.data import FloatArray, Standardisation, TaskError
from mobo.tinyml.tasks.image_folder import SUFFIXES, glance, read_image, read_pixels
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.settings import (
    AnomalySettings,
    CsvFolderSettings,
    DaliacSettings,
    DigitsSettings,
    ImageFolderSettings,
    KeywordsSettings,
    SpeechCommandsSettings,
    SplitSettings,
    WavFolderSettings,
    WisdmSettings,
)
from mobo.tinyml.tasks.wav_folder import cut_clips, read_wav, wav_features

_COMPARED_CLIPS, _COMPARED_WINDOWS, _COMPARED_IMAGES = 64, 256, 16
_SPEECH_HZ = 16000
_INT16_MAX = 2**15 - 1


@dataclass(frozen=True, eq=False)
class RawInputs:
    """Raw inputs and what training makes of them.

    Attributes:
        form: What the front end computes.
        raw: int16, of images uint8, N x samples.
        features: N x H x W x C, not standardised, as the task's loader gives them.
        source: As in :class:`Distance`.
    """

    form: Form
    raw: Raw
    features: FloatArray
    source: Literal["data", "made-up signals"] = "data"


def fixed_front_end(
    form: Form, network: QuantisedNetwork, mean: npt.NDArray[np.float32], deviation: npt.NDArray[np.float32]
) -> FixedMfcc | FixedWindow | FixedImage:
    """Return the integers that the C computes.

    Raises:
        ExportError: It does not give what the network reads, or is beyond what the C computes.
    """
    quantisation: TensorQuantisation = network.tensors[INPUT]
    if isinstance(form, ImageFrontEnd):
        return _fixed_image(form, network, Standardisation(mean, deviation))
    if isinstance(form, WindowFrontEnd):
        shape: tuple[int, ...] = (1, form.length, len(form.fraction_bits))
        _check_shape(shape, network)
        unit = 2.0 ** -np.array(form.fraction_bits, np.float64)
        return FixedWindow(Stage.of(unit, mean, deviation, quantisation), form.length, len(form.fraction_bits))
    try:
        features = _features(form)
    except TaskError as error:
        raise ExportError(f"the front end: {error}") from error
    _check_shape((features.frames, form.coefficients, 1), network)
    if mean.size not in (1, form.coefficients):
        raise ExportError(f"the front end has {form.coefficients} coefficients and {mean.size} means")
    return FixedMfcc(features, Stage.of(FixedMfcc.unit(), mean, deviation, quantisation))


def _fixed_image(form: ImageFrontEnd, network: QuantisedNetwork, standardisation: Standardisation) -> FixedImage:
    target = network.graph.input_shape
    if target[2] not in (1, form.channels) or standardisation.mean.size not in (1, target[2]):
        raise ExportError(
            f"images of {form.channels} channels with {standardisation.mean.size} means do not give what the network "
            f"reads, {target}; standardise = 'channel' or 'none' can be written"
        )
    # The very floats of training, of every value that a pixel has.
    values = np.repeat(np.arange(256, dtype=np.float32)[:, None, None, None], standardisation.mean.size, axis=3)
    real = torch.from_numpy(standardisation.apply(values))
    lookup = quantise_values(real, network.tensors[INPUT]).numpy().reshape(256, -1).T
    return FixedImage((form.height, form.width, form.channels), target, np.ascontiguousarray(lookup))


def _features(form: MfccFrontEnd) -> Mfcc:
    """Return the features as training computes them."""
    return Mfcc(
        form.sample_rate_hz,
        form.clip_samples,
        form.coefficients,
        form.highest_hz,
        form.frame_ms,
        form.step_ms,
        form.transform,
    )


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
    files = training_files(settings, (".wav",))
    step = max(1, len(files) // _COMPARED_CLIPS)
    clips = []
    for file in files[::step][:_COMPARED_CLIPS]:
        recorded_hz, samples = read_wav(read_bytes(file.path), str(file.path))
        # Brought to 16 bits first: resampling gives numbers of the same size.
        clips.append(cut_clips(_int16(samples), settings, recorded_hz)[0])
    features = wav_features(settings, recorded_hz)
    rate_hz, length = features.sample_rate_hz, features.clip_samples
    if not 1000 <= rate_hz <= 2**17 or length > MOST_SAMPLES:
        return f"{length} samples of {rate_hz} Hz are beyond it"
    form = MfccFrontEnd(
        sample_rate_hz=rate_hz,
        clip_samples=length,
        coefficients=settings.coefficients,
        highest_hz=settings.highest_hz,
        frame_ms=settings.frame_ms,
        step_ms=settings.step_ms,
        transform=settings.fft_length,
    )
    clips = [_rounded(clip[:length]) for clip in clips]
    return RawInputs(
        form,
        np.stack([np.pad(clip, (0, length - len(clip))) for clip in clips]),
        np.stack([features(clip) for clip in clips])[..., None],
    )


def _int16(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """Return what an ADC of 16 bits would have given for a recording of any format."""
    if samples.dtype.kind == "f":
        samples = np.rint(np.clip(samples, -1.0, 1.0) * _INT16_MAX)
    else:
        samples = samples >> 8 * max(0, samples.dtype.itemsize - 2)
    return samples.astype(np.int16)


def _rounded(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.int16]:
    return np.rint(samples.astype(np.float64)).clip(-_INT16_MAX - 1, _INT16_MAX).astype(np.int16)


def _image_folder(settings: ImageFolderSettings) -> RawInputs | str:
    files = training_files(settings, SUFFIXES)
    paths = [file.path for file in files[:: max(1, len(files) // _COMPARED_IMAGES)][:_COMPARED_IMAGES]]
    (height, width), _ = glance(paths[0])
    if any(glance(path)[0] != (height, width) for path in paths):
        return "the images are of several sizes, those of a camera are not; scale them first"
    pixels = np.stack([read_pixels(path) for path in paths])
    if settings.colour == "grey" and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if pixels[0].nbytes > MOST_SAMPLES:
        return (
            f"images of {height} x {width} pixels take {pixels[0].nbytes:,} bytes, at most {MOST_SAMPLES:,} are taken"
        )
    form = ImageFrontEnd(height=height, width=width, channels=3 if pixels.shape[3] == 3 else 1)
    features = np.concatenate([read_image(path, settings) for path in paths])
    return RawInputs(form, pixels.reshape(len(pixels), -1), features)


def _keywords(settings: KeywordsSettings | SpeechCommandsSettings) -> RawInputs:
    """The clips are not at hand, so signals are made up: tones and noise of differing loudness, and silence."""
    form = MfccFrontEnd(
        sample_rate_hz=_SPEECH_HZ,
        clip_samples=_SPEECH_HZ,
        coefficients=settings.coefficients,
        highest_hz=4000.0,
        step_ms=settings.step_ms,
    )
    random, seconds = np.random.default_rng(0), np.arange(_SPEECH_HZ) / _SPEECH_HZ
    clips = []
    for loudness in (12000.0, 3000.0, 600.0, 100.0):
        pitch = 90.0 + 150.0 * random.random()
        voice = sum(np.sin(2 * np.pi * pitch * k * seconds) / k for k in range(1, 20))
        envelope = np.exp(-(((seconds - 0.3 - 0.4 * random.random()) / 0.12) ** 2))
        clips.append(loudness * (voice * envelope + 0.02 * random.standard_normal(_SPEECH_HZ)))
    raw = np.stack([*clips, np.zeros(_SPEECH_HZ)]).clip(-_INT16_MAX, _INT16_MAX).astype(np.int16)
    return RawInputs(form, raw, np.stack([_features(form)(clip) for clip in raw])[..., None], "made-up signals")


def _windows(settings: SplitSettings) -> RawInputs | str:
    values = load_raw(settings).known.raw
    _, _, length, channels = values.shape
    if length * channels > MOST_SAMPLES or channels > 2**10:
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
    ImageFolderSettings: _image_folder,
    WavFolderSettings: _wav_folder,
    SpeechCommandsSettings: _keywords,
    KeywordsSettings: _keywords,
    CsvFolderSettings: _windows,
    WisdmSettings: _windows,
    DaliacSettings: _windows,
}
