"""The features against the expected ones of real clips, and against the definition, term by term."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.mfcc import Mfcc


@pytest.mark.skipif("MOBO_DATA_DIR" not in os.environ, reason="MOBO_DATA_DIR is not set")
def test_real_clips_give_the_expected_maps() -> None:
    with np.load(Path(os.environ["MOBO_DATA_DIR"]) / "speech_commands_wav_samples.npz") as samples:
        features = Mfcc(int(samples["sample_rate"]), samples["audio"].shape[1])
        found = np.stack([features(clip) for clip in samples["audio"]])
        np.testing.assert_allclose(found, samples["mfcc"], atol=1e-4)


def slow_frame(samples: np.ndarray, rate_hz: int) -> list[float]:
    """Return the first three coefficients of one window of 30 ms by the definition, without any library."""
    length, fft = len(samples), 512

    def mel(hz: float) -> float:
        return 1127 * math.log(1 + hz / 700)

    windowed = [value * (0.5 - 0.5 * math.cos(2 * math.pi * n / length)) for n, value in enumerate(samples)]
    spectrum = []
    for k in range(fft // 2 + 1):
        real = sum(value * math.cos(2 * math.pi * k * n / fft) for n, value in enumerate(windowed))
        imaginary = sum(value * math.sin(2 * math.pi * k * n / fft) for n, value in enumerate(windowed))
        spectrum.append(math.hypot(real, imaginary))
    step = (mel(4000) - mel(20)) / 41
    logarithms = []
    for band in range(40):
        centre = mel(20) + (band + 1) * step
        weights = [max(0.0, 1 - abs(mel(k * rate_hz / fft) - centre) / step) for k in range(1, fft // 2 + 1)]
        logarithms.append(math.log(sum(w * m for w, m in zip(weights, spectrum[1:], strict=True)) + 1e-6))
    return [
        2 * math.sqrt(1 / 80) * sum(value * math.cos(math.pi * k * (2 * n + 1) / 80) for n, value in enumerate(logarithms))
        for k in range(3)
    ]  # fmt: skip


def test_a_window_equals_its_definition() -> None:
    samples = np.random.default_rng(0).normal(size=480)
    expected = slow_frame(samples / samples.max(), 16000)
    np.testing.assert_allclose(Mfcc(16000, 480)(samples)[0, :3], expected, rtol=1e-5)


def test_loudness_does_not_matter_and_silence_is_finite() -> None:
    features = Mfcc(16000, 1600)
    clip = np.random.default_rng(0).normal(size=1600)
    np.testing.assert_allclose(features(clip), features(1000 * clip), rtol=1e-4, atol=1e-5)
    assert np.isfinite(features(np.zeros(1600))).all()


def test_a_short_clip_is_padded_with_zeros() -> None:
    features = Mfcc(16000, 1600)
    clip = np.random.default_rng(0).normal(size=900)
    np.testing.assert_array_equal(features(clip), features(np.concatenate([clip, np.zeros(700)])))


@pytest.mark.parametrize(("rate_hz", "clip", "frames"), [(16000, 16000, 49), (8000, 8000, 49), (16000, 480, 1)])
def test_frames_are_30_ms_every_20_ms(rate_hz: int, clip: int, frames: int) -> None:
    features = Mfcc(rate_hz, clip)
    assert features(np.ones(clip)).shape == (features.frames, 10) == (frames, 10)


@pytest.mark.parametrize("step_ms", [40, 60, 480])
def test_frames_further_apart_and_fewer_coefficients_are_those_of_the_whole_map(step_ms: int) -> None:
    clip = np.random.default_rng(0).normal(size=16000)
    part = Mfcc(16000, 16000, 4, step_ms=step_ms)(clip)
    np.testing.assert_allclose(part, Mfcc(16000, 16000)(clip)[:: step_ms // 20, :4], rtol=1e-5)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(TaskError, match="frames of 30 ms are 480 samples at 16000 Hz, a transform of 256 is shorter"):
        Mfcc(16000, 16000, transform=256)
    with pytest.raises(TaskError, match=r"at 1000 Hz 0.1 ms are less than a sample; raise frame_ms and step_ms"):
        Mfcc(1000, 1000, highest_hz=500.0, step_ms=0.1)
    with pytest.raises(TaskError, match="160 samples are shorter than a window of 480"):
        Mfcc(16000, 160)
    with pytest.raises(TaskError, match="at least 8000 Hz, not 4000; lower highest_hz"):
        Mfcc(4000, 4000)
