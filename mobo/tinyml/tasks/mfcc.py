"""Mel-frequency cepstral coefficients of audio clips, as MLPerf Tiny's keyword spotting computes them.

Source: S. Davis, P. Mermelstein: Comparison of Parametric Representations for Monosyllabic Word Recognition (IEEE TASSP
1980); constants of the keyword spotting reference of MLPerf Tiny.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.fft import dct
from scipy.signal.windows import hann

from hw_models.front_end import BANDS, LOWEST_HZ
from mobo.tinyml.tasks.data import FloatArray, TaskError

FRAME_MS, STEP_MS = 30.0, 20.0
_MOST_SAMPLES = 2**24
# Keeps the logarithm of an empty band finite.
SMALLEST = 1e-6


@dataclass(frozen=True)
class Mfcc:
    """The features of clips of one length: Hann windows, 40 mel bands, the first coefficients.

    Attributes:
        sample_rate_hz: Samples per second.
        clip_samples: Length of a clip; shorter ones are padded with zeros.
        coefficients: How many coefficients are kept, 1 to 40.
        highest_hz: Upper end of the mel bands, at most half the sample rate.
        frame_ms: Milliseconds of a window.
        step_ms: From one window's start to the next.
        transform: Length of the transform, a power of two; None for the next one that holds a window.

    Raises:
        TaskError: A clip shorter than a window or far too long, a window longer than the transform, or bands beyond
            half the sample rate.
    """

    sample_rate_hz: int
    clip_samples: int
    coefficients: int = 10
    highest_hz: float = 4000.0
    frame_ms: float = FRAME_MS
    step_ms: float = STEP_MS
    transform: int | None = None

    def __post_init__(self) -> None:
        if self.clip_samples > _MOST_SAMPLES:
            raise TaskError(f"clips of {self.clip_samples:,} samples are too long; at most {_MOST_SAMPLES:,} are read")
        if self.clip_samples < self.window:
            raise TaskError(f"clips of {self.clip_samples} samples are shorter than a window of {self.window}")
        if min(self.window, self.hop) < 1:
            raise TaskError(
                f"at {self.sample_rate_hz} Hz {min(self.frame_ms, self.step_ms):g} ms are less than a sample; raise "
                "frame_ms and step_ms"
            )
        if self.fft_length < self.window:
            raise TaskError(
                f"frames of {self.frame_ms:g} ms are {self.window} samples at {self.sample_rate_hz} Hz, a transform of "
                f"{self.fft_length} is shorter; raise fft_length or lower frame_ms"
            )
        if self.highest_hz > self.sample_rate_hz / 2:
            raise TaskError(
                f"mel bands up to {self.highest_hz:g} Hz need a sample rate of at least {2 * self.highest_hz:g} Hz, "
                f"not {self.sample_rate_hz}; lower highest_hz"
            )

    @property
    def frames(self) -> int:
        """Number of windows in a clip: the height of the map."""
        return 1 + (self.clip_samples - self.window) // self.hop

    def __call__(self, clip: npt.NDArray[np.generic]) -> FloatArray:
        """Return the map ``frames x coefficients`` of a clip of real numbers, in any scale: loudness is divided out."""
        samples = np.zeros(self.clip_samples)
        samples[: len(clip)] = clip
        peak = samples.max()
        frames = np.lib.stride_tricks.sliding_window_view(samples / (peak if peak > 0 else 1.0), self.window)
        windowed = frames[:: self.hop] * hann(self.window, sym=False)
        magnitudes = np.abs(np.fft.rfft(windowed, self.fft_length))
        logarithms = np.log(magnitudes @ self._mel_weights + SMALLEST)
        cepstrum: FloatArray = dct(logarithms, type=2, norm=None)[:, : self.coefficients].astype(np.float32)
        # scipy's DCT-II carries the factor 2 already.
        return cepstrum * np.float32(np.sqrt(1 / (2 * BANDS)))

    @property
    def window(self) -> int:
        """Samples of a window."""
        return round(self.frame_ms * self.sample_rate_hz / 1000)

    @property
    def hop(self) -> int:
        """Samples from one window's start to the next."""
        return round(self.step_ms * self.sample_rate_hz / 1000)

    @property
    def fft_length(self) -> int:
        """Length of the transform."""
        return self.transform or 1 << (self.window - 1).bit_length()

    @cached_property
    def _mel_weights(self) -> npt.NDArray[np.float64]:
        """Triangles between equal steps on the mel scale, ``bins x bands``; the constant part has no weight."""
        edges = np.linspace(mel(LOWEST_HZ), mel(self.highest_hz), BANDS + 2)
        bins = mel(np.arange(self.fft_length // 2 + 1) * self.sample_rate_hz / self.fft_length)[:, None]
        rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
        falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
        weights: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
        weights[0] = 0.0
        return weights


def mel(hz: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return frequencies on the mel scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0))
