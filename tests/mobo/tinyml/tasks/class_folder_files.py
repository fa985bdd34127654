"""Small class folders of images, recordings and tables."""

from pathlib import Path

import numpy as np
from scipy.io import wavfile

CLASSES = ("high", "low")


def write_wavs(folder: Path, *, files: int = 20, seconds: float = 0.25, rate_hz: int = 16000) -> None:
    """Write tones of two pitches in noise; names begin with one of ten speakers."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        time_s = np.arange(round(seconds * rate_hz)) / rate_hz
        for number in range(files):
            tone = np.sin(2 * np.pi * (2000 - 1500 * label) * time_s) + generator.normal(0, 0.1, len(time_s))
            path = folder / name / f"speaker{number % 10}_{number}.wav"
            wavfile.write(path, rate_hz, (8000 * tone).astype(np.int16))


def write_images(folder: Path, *, files: int = 20, size: tuple[int, int] = (6, 5)) -> None:
    """Write noisy images of two colours, height and width as given."""
    from PIL import Image

    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            pixels = generator.integers(0, 120, (*size, 3)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")


def write_tables(folder: Path, *, files: int = 20, rows: int = 35) -> None:
    """Write recordings with a time column and two channels."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(files):
            values = np.column_stack([np.arange(rows) / 50, generator.normal(label, 1.0, (rows, 2))])
            path = folder / name / f"{number}.csv"
            np.savetxt(path, values, delimiter=",", header="time_s,x,y", comments="")
