"""The small copies of public data sets in the folder that ``MOBO_DATA_DIR`` names: .npz files with known keys."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from mobo.tinyml.tasks.npz import load_npz
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import KeywordsSettings, NpzSettings, TracebaseSettings, WisdmSettings

CIFAR10_FILE = Path("cifar10_subset.npz")


def load_cifar10_subset() -> RawTask:
    """Return 12,000 images of CIFAR-10, 32x32x3, values 0 to 255."""
    return load_npz(NpzSettings(name="npz", file=CIFAR10_FILE))


def load_keywords(settings: KeywordsSettings) -> RawTask:
    """Return MFCC maps of 49x10 with speakers as groups."""
    return load_npz(
        NpzSettings(
            name="npz",
            file=Path("speech_commands_12.npz"),
            layout="hw",
            group_key="speaker_train",
            test_group_key="speaker_test",
        )
    )


def load_wisdm(settings: WisdmSettings) -> RawTask:
    """Return windows of 128 samples on three axes, in m/s2, with subjects as groups."""
    return load_npz(
        NpzSettings(
            name="npz",
            file=Path("wisdm_watch_accel.npz"),
            layout="length_channels",
            group_key="subject_train",
            test_group_key="subject_test",
        )
    )


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
    return replace(raw, known=_logarithmic(raw.known), test=None if raw.test is None else _logarithmic(raw.test))


def _logarithmic(part: Part) -> Part:
    """Appliances draw from one watt to kilowatts; the logarithm lets both be seen."""
    return replace(part, x=np.log1p(part.x))
