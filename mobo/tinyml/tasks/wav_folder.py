"""The user's own recordings: one folder of wav files per class, turned into MFCC maps."""

import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import wavfile

from hw_models.files import FileError, read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import WavFolderSettings

_HIGHEST_RATE_HZ = 1_000_000


def load_wav_folder(settings: WavFolderSettings) -> RawTask:
    """Return the MFCC map of every clip; a long recording gives several, a short one is padded with zeros.

    Raises:
        TaskError: A file is no mono wav file, or two files differ in their sample rate.
    """
    return load_class_folders(settings, (".wav",), _Reader(settings))


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
    """Turns files into maps and remembers the rate of the first one."""

    settings: WavFolderSettings
    first: Path | None = None
    features: Mfcc | None = None

    def __call__(self, path: Path) -> FloatArray:
        try:
            rate_hz, samples = read_wav(read_bytes(path), str(path))
        except FileError as error:
            raise TaskError(str(error)) from error
        if self.features is None:
            clip_samples = round(self.settings.clip_s * rate_hz)
            self.features = Mfcc(rate_hz, clip_samples, self.settings.coefficients, self.settings.highest_hz)
            self.first = path
        features = self.features
        if rate_hz != features.sample_rate_hz:
            raise TaskError(
                f"{path} has {rate_hz} samples per second, {self.first} has {features.sample_rate_hz}; all files must "
                "have one rate: resample them first"
            )
        starts = range(0, max(1, len(samples) - features.clip_samples + 1), features.clip_samples)
        clips = [samples[start : start + features.clip_samples] for start in starts]
        return np.stack([features(clip) for clip in clips])[..., None]
