"""The user's own recordings: one folder of wav files per class, turned into MFCC maps."""

import warnings
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from math import gcd
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile
from scipy.signal import resample_poly

from hw_models.files import FileError, read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders, short_note
from mobo.tinyml.tasks.data import FloatArray, Sensor, TaskError
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.parts import RawTask, Told
from mobo.tinyml.tasks.settings import WavFolderSettings

_HIGHEST_RATE_HZ = 1_000_000


def load_wav_folder(settings: WavFolderSettings) -> RawTask:
    """Return the MFCC map of every clip; a long recording gives several, a short one is padded with zeros or left out.

    Raises:
        TaskError: A file is no mono wav file, files differ in their sample rate, or a class has nothing left.
    """
    return load_class_folders(settings, _Reader(settings))


def wav_features(settings: WavFolderSettings, recorded_hz: int) -> Mfcc:
    """Return the features of a folder whose recordings have so many samples per second.

    Raises:
        TaskError: The settings make no sense at that rate.
    """
    rate_hz = settings.rate_hz or recorded_hz
    if rate_hz > recorded_hz:
        raise TaskError(f"rate_hz = {rate_hz} is more than the recordings have, {recorded_hz}; lower it")
    return Mfcc(
        rate_hz,
        round(settings.clip_s * rate_hz),
        settings.coefficients,
        settings.highest_hz,
        settings.frame_ms,
        settings.step_ms,
        settings.fft_length,
    )


def cut_clips(
    samples: npt.NDArray[np.generic], settings: WavFolderSettings, recorded_hz: int
) -> list[npt.NDArray[np.generic]]:
    """Return the clips of a recording at the rate of the settings: of every span the last part, of a short one all."""
    span, clip = (round(seconds * recorded_hz) for seconds in (settings.span_s or settings.clip_s, settings.clip_s))
    starts = range(0, max(1, len(samples) - span + 1), span)
    spans = [samples[start : start + span] for start in starts]
    return [_resampled(part[max(0, len(part) - clip) :], settings.rate_hz, recorded_hz) for part in spans]


def _resampled(samples: npt.NDArray[np.generic], rate_hz: int | None, recorded_hz: int) -> npt.NDArray[np.generic]:
    if rate_hz is None or rate_hz == recorded_hz:
        return samples
    shared = gcd(rate_hz, recorded_hz)
    resampled: npt.NDArray[np.generic] = resample_poly(
        samples.astype(np.float64), rate_hz // shared, recorded_hz // shared
    )
    return resampled[: round(len(samples) * rate_hz / recorded_hz)]


def read_wav(content: bytes, name: str) -> tuple[int, npt.NDArray[np.generic]]:
    """Return sample rate and samples of a mono wav file.

    Args:
        content: The file.
        name: Names it in messages.

    Raises:
        TaskError: It is no wav file of plain samples, is empty, has several channels, or an impossible rate.
    """
    try:
        with warnings.catch_warnings():
            # Chunks of other programs around the samples are no fault.
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            rate_hz, samples = wavfile.read(BytesIO(content))
    except Exception as error:  # the reader believes a damaged head, and raises whatever that leads to
        raise TaskError(f"{name} is no readable wav file: {error}") from error
    if not 1 <= rate_hz <= _HIGHEST_RATE_HZ:
        raise TaskError(f"{name} says it has {rate_hz} samples per second; read are 1 to {_HIGHEST_RATE_HZ:,}")
    if samples.ndim != 1:
        raise TaskError(f"{name} has {samples.shape[1]} channels; wav files must be mono")
    if len(samples) == 0:
        raise TaskError(f"{name} holds no samples")
    # Samples of eight bits are stored without a sign.
    return int(rate_hz), samples.astype(np.int16) - 128 if samples.dtype == np.uint8 else samples


@dataclass
class _Reader:
    """Turns files into maps; remembers their rates, the first of which counts, and which were short."""

    suffixes: ClassVar[tuple[str, ...]] = (".wav",)
    kept_as: ClassVar["np.dtype[Any] | None"] = np.dtype(np.float32)
    settings: WavFolderSettings
    features: Mfcc | None = None
    rates_hz: dict[Path, int] = field(default_factory=dict)
    short: list[Path] = field(default_factory=list)

    def __call__(self, path: Path) -> FloatArray:
        try:
            rate_hz, samples = read_wav(read_bytes(path), str(path))
        except FileError as error:
            raise TaskError(str(error)) from error
        self.rates_hz[path] = rate_hz
        if self.features is None:
            self.features = wav_features(self.settings, rate_hz)
        features = self.features
        is_short = len(samples) < round((self.settings.span_s or self.settings.clip_s) * self.rate_hz)
        self.short += [path] if is_short else []
        clips = cut_clips(samples, self.settings, self.rate_hz)
        maps: FloatArray = np.stack([features(clip[: features.clip_samples]) for clip in clips])[..., None]
        return maps[:0] if is_short and self.settings.short == "skip" else maps

    @property
    def rate_hz(self) -> int:
        """Samples per second of the first file."""
        return next(iter(self.rates_hz.values()))

    def told(self) -> Told:
        """Refuse rates that differ, all of them in one message; say which recordings were short."""
        self._check_rates()
        settings = self.settings
        what = f"a clip of {settings.clip_s:g} s" if settings.span_s is None else f"a span of {settings.span_s:g} s"
        return Told(short_note(self.short, what, settings), Sensor(1, rate_hz=self.rate_hz))

    def _check_rates(self) -> None:
        counts = Counter(self.rates_hz.values())
        if len(counts) < 2:
            return
        first, first_hz = next(iter(self.rates_hz.items()))
        path, rate_hz = next((path, rate) for path, rate in self.rates_hz.items() if rate != first_hz)
        found = ", ".join(f"{rate} in {count} files" for rate, count in sorted(counts.items()))
        raise TaskError(
            f"{path} has {rate_hz} samples per second, {first} has {first_hz}; all files must have one rate: resample "
            f"them first. There are {found}"
        )
