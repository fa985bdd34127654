"""The user's own recordings: one folder of wav files per class, turned into MFCC maps."""

import warnings
from collections import Counter
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile

from hw_models.files import FileError, read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders, short_note
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import WavFolderSettings

_HIGHEST_RATE_HZ = 1_000_000


def load_wav_folder(settings: WavFolderSettings) -> RawTask:
    """Return the MFCC map of every clip; a long recording gives several, a short one is padded with zeros or left out.

    Raises:
        TaskError: A file is no mono wav file, files differ in their sample rate, or a class has nothing left.
    """
    reader = _Reader(settings)
    raw = load_class_folders(settings, (".wav",), reader)
    reader.check_rates()
    return replace(raw, notes=short_note(reader.short, f"a clip of {settings.clip_s:g} s", settings))


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

    settings: WavFolderSettings
    features: Mfcc | None = None
    rates_hz: dict[Path, int] = field(default_factory=dict)
    short: list[Path] = field(default_factory=list)

    def __call__(self, path: Path) -> FloatArray:
        try:
            rate_hz, samples = read_wav(read_bytes(path), str(path))
        except FileError as error:
            raise TaskError(str(error)) from error
        if self.features is None:
            clip_samples = round(self.settings.clip_s * rate_hz)
            self.features = Mfcc(rate_hz, clip_samples, self.settings.coefficients, self.settings.highest_hz)
        self.rates_hz[path] = rate_hz
        features = self.features
        is_short = len(samples) < features.clip_samples
        self.short += [path] if is_short else []
        starts = range(0, max(1, len(samples) - features.clip_samples + 1), features.clip_samples)
        clips = [samples[start : start + features.clip_samples] for start in starts]
        maps: FloatArray = np.stack([features(clip) for clip in clips])[..., None]
        return maps[:0] if is_short and self.settings.short == "skip" else maps

    def check_rates(self) -> None:
        """Refuse rates that differ, all of them in one message."""
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
