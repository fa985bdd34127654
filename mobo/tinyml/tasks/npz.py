"""The user's own arrays: an .npz file with x_train, y_train, optional x_test, y_test, class_names and group ids."""

from pathlib import Path

import numpy as np

from mobo.tinyml.tasks.data import FloatArray, IntArray, TaskError
from mobo.tinyml.tasks.data_files import array_of, find_data_file, read_arrays
from mobo.tinyml.tasks.parts import Array, Part, RawTask
from mobo.tinyml.tasks.settings import NpzSettings

_MOST_CLASSES = 10_000


def load_npz(settings: NpzSettings) -> RawTask:
    """Load and check the arrays.

    Raises:
        TaskError: The file is missing or unreadable, an array is missing, shapes disagree, values are not finite,
            there are fewer than two classes, or labels are classes where real numbers are asked for.
    """
    path = find_data_file(settings.file)
    arrays = read_arrays(path)
    if settings.is_regression and "class_names" in arrays:
        raise TaskError(
            f'{path} has class_names, so its labels are classes, and task.error = "{settings.error}" is of real '
            'numbers; take "share", "balanced" or "macro_f1", or drop class_names from the file'
        )
    known = _part(arrays, "train", settings, settings.group_key, path)
    test = _part(arrays, "test", settings, settings.test_group_key, path) if "x_test" in arrays else None
    if settings.is_regression:
        if test is not None and test.y.shape[1] != known.y.shape[1]:
            raise TaskError(f"{path}: y_test has {test.y.shape[1]} labels a sample, y_train {known.y.shape[1]}")
        return RawTask(str(path), (), known, test, label_names=_label_names(known.y.shape[1]))
    return RawTask(str(path), _class_names(arrays, int(known.y.max()) + 1, path), known, test)


def _part(arrays: dict[str, Array], part: str, settings: NpzSettings, group_key: str | None, path: Path) -> Part:
    x = _to_maps(array_of(arrays, f"x_{part}", path), settings, f"{path}: x_{part}")
    y = array_of(arrays, f"y_{part}", path)
    groups = None if group_key is None else array_of(arrays, group_key, path)
    if groups is not None and groups.shape != y.shape[:1]:
        raise TaskError(f"{path}: {group_key} has shape {groups.shape}; it needs one id per sample, {y.shape[:1]}")
    return Part(x, (_numbers if settings.is_regression else _classes)(y, len(x), f"{path}: y_{part}", part), groups)


def _numbers(y: Array, count: int, what: str, part: str) -> FloatArray:
    if len(y) != count or y.ndim not in (1, 2) or y.size == 0:
        raise TaskError(
            f"{what} has shape {y.shape}; x_{part} has {count} samples, so it must be ({count},) or ({count}, labels)"
        )
    if not np.issubdtype(y.dtype, np.number) or np.issubdtype(y.dtype, np.complexfloating):
        raise TaskError(f"{what} has type {y.dtype}; the labels of a regression must be real numbers")
    # What is too large for float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        return y.reshape(count, -1).astype(np.float32)


def _label_names(count: int) -> tuple[str, ...]:
    return ("y",) if count == 1 else tuple(f"y{index}" for index in range(count))


def _classes(y: Array, count: int, what: str, part: str) -> IntArray:
    if y.shape != (count,):
        raise TaskError(f"{what} has shape {y.shape}; x_{part} has {count} samples, so it must be ({count},)")
    if not np.issubdtype(y.dtype, np.integer):
        raise TaskError(
            f"{what} has type {y.dtype}; labels must be integers 0, 1, 2, …; for real numbers set task.error to "
            '"mae" or "rmse"'
        )
    if int(y.max()) >= _MOST_CLASSES:
        raise TaskError(f"{what} holds the label {int(y.max())}; labels count from 0, up to {_MOST_CLASSES:,} classes")
    return y.astype(np.int64)


def _to_maps(x: Array, settings: NpzSettings, what: str) -> FloatArray:
    """Return ``(N, H, W, C)`` float32 from the file's layout."""
    layout = settings.layout or {2: "length", 4: "hwc"}.get(x.ndim)
    if layout is None:
        raise TaskError(
            f'{what} has shape {x.shape}; say what its axes mean: layout = "hw" (a map) or "length_channels" (a signal)'
        )
    axes = {"length": 2, "hw": 3, "length_channels": 3, "hwc": 4}[layout]
    if x.ndim != axes:
        raise TaskError(f"{what} has shape {x.shape}; layout {layout!r} needs {axes} axes, samples first")
    if len(x) == 0 or min(x.shape) == 0:
        raise TaskError(f"{what} is empty: shape {x.shape}")
    if not np.issubdtype(x.dtype, np.number) or np.issubdtype(x.dtype, np.complexfloating):
        raise TaskError(f"{what} has type {x.dtype}; it needs real numbers")
    # What is too large for float32 becomes infinite, and is refused as that.
    with np.errstate(over="ignore"):
        values = x.astype(np.float32)
    if layout == "hw":
        return values[..., None]
    if layout == "length":
        return values[:, None, :, None]
    return values[:, None, :, :] if layout == "length_channels" else values


def _class_names(arrays: dict[str, Array], label_count: int, path: Path) -> tuple[str, ...]:
    if "class_names" in arrays:
        names = arrays["class_names"]
        if names.ndim != 1 or len(names) > _MOST_CLASSES:
            raise TaskError(f"{path}: class_names has shape {names.shape}; it needs one name per class")
        return tuple(str(name) for name in names)
    return tuple(str(label) for label in range(label_count))
