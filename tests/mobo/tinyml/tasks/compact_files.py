"""Small files of the shape that the compact copies of public data sets have."""

from pathlib import Path

import numpy as np

CLASSES = 4


def write_compact(path: Path, shape: tuple[int, ...], dtype: str, group_keys: tuple[str, ...] = ()) -> None:
    """Write 400 training and 80 test samples whose groups of five samples do not overlap."""
    arrays: dict[str, np.ndarray] = {"class_names": np.array([f"class {label}" for label in range(CLASSES)])}
    for part, count, first_group in (("train", 400, 0), ("test", 80, 1000)):
        generator = np.random.default_rng(first_group)
        y = np.arange(count) % CLASSES
        x = generator.normal(50, 10, size=(count, *shape)) + 5 * y.reshape(-1, *[1] * len(shape))
        arrays |= {f"x_{part}": x.astype(dtype), f"y_{part}": y.astype(np.uint8)}
        arrays |= {f"{key}_{part}": first_group + np.arange(count) // 5 for key in group_keys}
    np.savez(path, **arrays)
