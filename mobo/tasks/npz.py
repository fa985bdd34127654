"""The user's own arrays: an .npz file with x_train, y_train, optional x_test, y_test, class_names and group ids."""

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hw_models.errors import unknown_name
from mobo.tasks.data import FloatArray, IntArray, Standardisation, TaskData, TaskError, to_samples
from mobo.tasks.settings import NpzSettings
from mobo.tasks.splits import cut

Array = npt.NDArray[np.generic]

DATA_DIRECTORY_VARIABLE = "MOBO_DATA_DIR"


@dataclass(frozen=True)
class _Part:
    """Samples ``(N, H, W, C)``, labels ``(N,)`` and, where given, group ids ``(N,)``."""

    x: FloatArray
    y: IntArray
    groups: Array | None


def load_npz_task(settings: NpzSettings) -> TaskData:
    """Load, check and split the arrays.

    Raises:
        TaskError: The file is missing or unreadable, an array is missing, shapes disagree, values are not finite, or
        there are fewer
            than two classes.
    """
    path = find_data_file(settings.file)
    arrays = _read(path)
    known = _part(arrays, "train", settings, settings.group_key, path)
    class_count = _class_count(known.y, arrays, path)
    has_test = "x_test" in arrays
    if has_test:
        test = _part(arrays, "test", settings, settings.test_group_key, path)
        _check_test(known, test, class_count, path)
    else:
        chosen, rest = cut(known.y, [settings.test_fraction], groups=known.groups, seed=settings.split_seed)
        test, known = _select(known, chosen), _select(known, rest)
    fractions = [settings.reward_fraction, settings.validation_fraction]
    reward, validation, train = (
        _select(known, part) for part in cut(known.y, fractions, groups=known.groups, seed=settings.split_seed)
    )
    standardisation = Standardisation.of(train.x, settings.standardise)
    height, width, channels = train.x.shape[1:]
    return TaskData(
        input_shape=(height, width, channels),
        class_names=_class_names(arrays, class_count),
        train=to_samples(train.x, train.y, standardisation),
        reward=to_samples(reward.x, reward.y, standardisation),
        validation=to_samples(validation.x, validation.y, standardisation),
        load_test=lambda: to_samples(test.x, test.y, standardisation),
        standardisation=standardisation,
    )


def find_data_file(file: Path) -> Path:
    """Return where a data file is: as given, or in the folder that ``MOBO_DATA_DIR`` names.

    Raises:
        TaskError: It is in none of these places.
    """
    folder = os.environ.get(DATA_DIRECTORY_VARIABLE)
    places = [file] if folder is None or file.is_absolute() else [file, Path(folder) / file]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(str(place) for place in places)
    hint = "" if folder else f"; set {DATA_DIRECTORY_VARIABLE} to the folder that holds it, or give a path"
    raise TaskError(f"the data file {str(file)!r} does not exist (looked at: {looked}){hint}")


def _read(path: Path) -> dict[str, Array]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise TaskError(f"{path} is not a readable .npz file of plain arrays: {error}") from error


def _array(arrays: dict[str, Array], key: str, path: Path) -> Array:
    if key not in arrays:
        raise TaskError(f"{path}: {unknown_name('array', key, arrays)}")
    return arrays[key]


def _part(arrays: dict[str, Array], part: str, settings: NpzSettings, group_key: str | None, path: Path) -> _Part:
    x = _to_maps(_array(arrays, f"x_{part}", path), settings, f"{path}: x_{part}")
    y = _array(arrays, f"y_{part}", path)
    if y.shape != (len(x),):
        raise TaskError(
            f"{path}: y_{part} has shape {y.shape}; x_{part} has {len(x)} samples, so it must be ({len(x)},)"
        )
    if not np.issubdtype(y.dtype, np.integer):
        raise TaskError(f"{path}: y_{part} has type {y.dtype}; labels must be integers 0, 1, 2, …")
    groups = None if group_key is None else _array(arrays, group_key, path)
    if groups is not None and groups.shape != y.shape:
        raise TaskError(f"{path}: {group_key} has shape {groups.shape}; it needs one id per sample, {y.shape}")
    return _Part(x, y.astype(np.int64), groups)


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
    values = x.astype(np.float32)
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        raise TaskError(
            f"{what} holds NaN or infinite values in {bad} of {len(values)} samples; clean or drop them first"
        )
    if layout == "hw":
        return values[..., None]
    if layout == "length":
        return values[:, None, :, None]
    return values[:, None, :, :] if layout == "length_channels" else values


def _class_count(y: IntArray, arrays: dict[str, Array], path: Path) -> int:
    if y.min() < 0:
        raise TaskError(f"{path}: y_train holds the label {y.min()}; labels must be 0, 1, 2, …")
    classes = len(np.unique(y))
    if classes < 2:
        raise TaskError(
            f"{path}: y_train holds only class {int(y[0])}; a classification task needs at least two classes"
        )
    count = len(arrays["class_names"]) if "class_names" in arrays else int(y.max()) + 1
    if y.max() >= count:
        raise TaskError(f"{path}: y_train holds the label {y.max()}, but class_names has only {count} names")
    return count


def _check_test(train: _Part, test: _Part, class_count: int, path: Path) -> None:
    if test.x.shape[1:] != train.x.shape[1:]:
        raise TaskError(
            f"{path}: x_test has samples of shape {test.x.shape[1:]}, x_train of {train.x.shape[1:]}; "
            "they must be equal"
        )
    if test.y.min() < 0 or test.y.max() >= class_count:
        raise TaskError(
            f"{path}: y_test holds labels {test.y.min()} to {test.y.max()}; allowed are 0 to {class_count - 1}"
        )
    if train.groups is not None and test.groups is not None:
        both = np.intersect1d(train.groups, test.groups)
        if len(both):
            raise TaskError(
                f"{path}: {len(both)} groups are in both train and test, e.g. {both[0]}; "
                "the test error would be too good"
            )


def _class_names(arrays: dict[str, Array], class_count: int) -> tuple[str, ...]:
    if "class_names" in arrays:
        return tuple(str(name) for name in arrays["class_names"])
    return tuple(str(label) for label in range(class_count))


def _select(part: _Part, indices: npt.NDArray[np.intp]) -> _Part:
    return _Part(part.x[indices], part.y[indices], None if part.groups is None else part.groups[indices])
