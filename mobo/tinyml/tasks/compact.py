"""The small copies of public data sets in the folder that ``MOBO_DATA_DIR`` names: .npz files with known keys."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from mobo.tinyml.tasks.data import FloatArray, Sensor
from mobo.tinyml.tasks.npz import load_npz
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import KeywordsSettings, NpzSettings, TracebaseSettings, WisdmSettings
from mobo.tinyml.tasks.windows import last_rows

SPEECH_HZ, _FRAME_EVERY_MS = 16000, 20
CIFAR10_FILE = Path("cifar10_subset.npz")


def load_cifar10_subset() -> RawTask:
    """Return 12,000 images of CIFAR-10, 32x32x3, values 0 to 255."""
    return load_npz(NpzSettings(name="npz", file=CIFAR10_FILE))


def load_keywords(settings: KeywordsSettings) -> RawTask:
    """Return MFCC maps of 49x10, or as many of their rows and columns as asked for, with speakers as groups."""
    raw = load_npz(
        NpzSettings(
            name="npz",
            file=Path("speech_commands_12.npz"),
            layout="hw",
            group_key="speaker_train",
            test_group_key="speaker_test",
        )
    )
    # A coefficient does not depend on how many there are, nor a frame on how many stand between it and the next.
    step = settings.step_ms // _FRAME_EVERY_MS
    raw = _changed(raw, lambda x: x[:, ::step, : settings.coefficients])
    return replace(raw, sensor=Sensor(1, rate_hz=SPEECH_HZ))


def load_wisdm(settings: WisdmSettings) -> RawTask:
    """Return windows of 128 samples on three axes, or of less, in m/s2, with subjects as groups."""
    raw = load_npz(
        NpzSettings(
            name="npz",
            file=Path("wisdm_watch_accel.npz"),
            layout="length_channels",
            group_key="subject_train",
            test_group_key="subject_test",
        )
    )
    raw = _changed(raw, lambda x: last_rows(x, settings.window, settings.every))
    return replace(raw, sensor=Sensor(raw.known.x.shape[3]))


def load_tracebase(settings: TracebaseSettings) -> RawTask:
    """Return windows of 512 seconds of power as ``ln(1 + watt)``, with trace files or devices as groups."""
    # Day-wise splits have the same devices on both sides; trace files are never on both.
    are_apart = settings.group == "trace" or settings.split == "windows"
    raw = load_npz(
        NpzSettings(
            name="npz",
            file=Path(f"tracebase_{settings.split}.npz"),
            layout="length",
            group_key=f"{settings.group}_train",
            test_group_key=f"{settings.group}_test" if are_apart else None,
        )
    )
    # Appliances draw from one watt to kilowatts; the logarithm lets both be seen.
    return _changed(raw, np.log1p)


def _changed(raw: RawTask, change: Callable[[FloatArray], FloatArray]) -> RawTask:
    """Return the data with other values in the place of those of every part."""
    known, test = (None if part is None else replace(part, x=change(part.raw)) for part in (raw.known, raw.test))
    assert known is not None
    return replace(raw, known=known, test=test)
