"""A first config for a folder of data and a board: what was seen in the data, and choices that follow from it.

File names and the head of some files say what the data are; then they are loaded, so that networks and trainings are no
larger than trials of seconds allow (:mod:`mobo.tinyml.starter_size`).
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit

from hw_models.device import Device
from hw_models.files import read_bytes
from hw_models.runtime import GENERATED_C_RUNTIME, Runtime, default_runtime, load_runtime
from mobo.base.errors import MoboError
from mobo.tinyml.hyperparameters import EPOCHS, FINETUNE_STEPS, KEEP_GROWTH
from mobo.tinyml.starter_size import MOST_TRIAL_S, Size, affordable_size
from mobo.tinyml.tasks.csv_folder import read_table
from mobo.tinyml.tasks.data_files import read_arrays
from mobo.tinyml.tasks.image_folder import SUFFIXES as IMAGES
from mobo.tinyml.tasks.image_folder import glance
from mobo.tinyml.tasks.labels_file import LABELS_FILE, read_labels
from mobo.tinyml.tasks.parts import Array
from mobo.tinyml.tasks.wav_folder import read_wav

_LOOKED_AT = 24
_LEAST_MODEL_BYTES = 16 * 1024
_SIDES = (96, 64, 48, 32)
_MOST_AXES = 64
# Inputs of a perceptron: with more its first layer alone is as large as a whole CNN.
_MOST_OF_PERCEPTRON = 1024
_GROUP_PATTERNS = (r"^([^_]+)_", r"^([^-]+)-", r"^([A-Za-z]+[0-9]+)")
# A part of train, reward, validation and test each.
_FEWEST_GROUPS = 4
_SPLITS = ("train", "test")
_SAID: Mapping[str, str] = {
    EPOCHS: "some hundred steps at least, whatever the number of samples",
    FINETUNE_STEPS: "of every compressed network",
}


class StarterError(MoboError):
    """The data are of no kind that a task reads; the message says what was seen and what is read."""


@dataclass(frozen=True)
class Seen:
    """What was seen in the data, and what follows from it.

    Attributes:
        task: The keys of ``[task]``.
        families: One family of networks for it, or several to be searched together.
        lines: What was seen, for people.
        reference: The worst error worth having.
    """

    task: Mapping[str, Any]
    families: tuple[str, ...]
    lines: tuple[str, ...] = field(default=())
    reference: float = 1.0


def starter_config(data: Path, device: Device, *, place: Path) -> str:
    """Return the TOML of a study that runs as it is.

    Args:
        data: A folder of class folders, or an ``.npz`` file.
        device: The board.
        place: Folder the config will lie in: paths count from there.

    Raises:
        StarterError: The data are of no kind that a task reads.
        MoboError, HardwareModelError: A file cannot be read, or no engine covers the board.
    """
    seen, runtime = look_at(data), _runtime(device)
    counted = _document(data, seen, device, runtime, {**seen.task, **_whole(seen.task)})
    size = affordable_size(tomlkit.dumps(counted), device, runtime)
    file = _document(data, seen, device, runtime, _placed(seen.task, place))
    _fill_size(file, size)
    return tomlkit.dumps(file)


def _document(
    data: Path, seen: Seen, device: Device, runtime: Runtime, task: Mapping[str, Any]
) -> tomlkit.TOMLDocument:
    """Return the config but for the size of its networks."""
    name = re.sub(r"[^a-z0-9]+", "-", data.resolve().stem.lower()).strip("-") or "study"
    file = tomlkit.document()
    for line in (f"Written by `mobo init`. Seen in {data.name}:", *seen.lines):
        file.add(tomlkit.comment(line))
    file.add("name", tomlkit.item(name))
    file.add("seed", tomlkit.item(0))
    file.add("trials", tomlkit.item(40))
    file.add("task", tomlkit.item(dict(task)))
    several = len(seen.families) > 1
    file.add("network", tomlkit.item({"families": list(seen.families)} if several else {"family": seen.families[0]}))
    board = {"name": device.name, **({} if runtime.name != GENERATED_C_RUNTIME else {"runtime": runtime.name})}
    file.add("device", tomlkit.item(board))
    file.add("objectives", _objectives(device, runtime, seen.reference))
    file.add("constraints", _constraints(device))
    file.add("space", _space())
    return file


def _fill_size(file: tomlkit.TOMLDocument, size: Size) -> None:
    """Write how large networks are and how long they are trained, and what a trial takes with that."""
    space = file["space"]
    for name, entry in size.space.items():
        line = entry
        if isinstance(entry, Mapping):
            line = tomlkit.inline_table()
            line.update(entry)
        space[name] = line
        space[name].comment(_SAID.get(name, f"no larger: a trial shall take {MOST_TRIAL_S:.0f} s"))
    left_out = "; networks that take longer are left out" if size.is_narrowed else ""
    file["trials"].comment(
        f"or hours = 1.0; one that trains takes some {max(1.0, size.seconds):.0f} s on one core{left_out}"
    )


def look_at(data: Path) -> Seen:
    """Return what is in a folder of class folders or an ``.npz`` file, and a task for it.

    Raises:
        StarterError: Neither is there, or the files are of several kinds or of one that no task reads.
    """
    if data.is_file() and data.suffix == ".npz":
        return _arrays(data)
    if not data.is_dir():
        raise StarterError(f"{data} is neither a folder nor an .npz file; give a folder with one subfolder per class")
    inside = {path.name: path for path in sorted(data.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    folder = inside["train"] if set(inside) == set(_SPLITS) else data
    files, labels_line, reference = _labelled_files(folder)
    kinds = Counter(_kind(path) for path in files)
    if len(kinds) > 1 or None in kinds:
        said = ", ".join(f"{count} {kind or 'other'}" for kind, count in kinds.items())
        raise StarterError(
            f"{folder} holds {said} files; a task reads one kind: images ({' '.join(IMAGES)}), .wav or .csv. Move the "
            "others out"
        )
    if reference is not None and "csv" in kinds:
        raise StarterError(
            f"{folder / LABELS_FILE} is for images and .wav files; of .csv recordings labels are columns of their own: "
            'move it out and write the config by hand, with error = "mae" and label_columns'
        )
    task, families, lines = _KINDS[str(next(iter(kinds)))](files)
    test = {} if folder is data else {"test_folder": inside["test"]}
    groups, group_line = _groups(files)
    error = {} if reference is None else {"error": "mae"}
    return Seen(
        {"name": task.pop("name"), "folder": folder, **test, **task, **groups, **error},
        families,
        (labels_line, *lines, group_line, *(["test holds the test split"] if test else [])),
        1.0 if reference is None else reference,
    )


def _labelled_files(folder: Path) -> tuple[list[Path], str, float | None]:
    """Return the files of a folder, what they are about in words, and of real labels what :func:`_labels_of` does."""
    if (folder / LABELS_FILE).is_file():
        table = read_labels(folder)
        files = [folder / name for name in table.by_file]
        line, reference = _labels_of(np.array(list(table.by_file.values())), LABELS_FILE)
        return files, f"{LABELS_FILE} for {len(files)} files: {line}", reference
    classes = _classes(folder)
    return [path for found in classes.values() for path in found], _class_line(classes), None


def _classes(folder: Path) -> dict[str, list[Path]]:
    found = {
        path.name: sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }
    found = {name: files for name, files in found.items() if files}
    if len(found) < 2:
        raise StarterError(
            f"{folder} has {len(found)} subfolders with files; it needs one for each of at least two classes"
        )
    return found


def _kind(path: Path) -> str | None:
    suffix = path.suffix.lower()
    return "image" if suffix in IMAGES else suffix.removeprefix(".") if suffix in (".wav", ".csv") else None


def _some(files: Sequence[Path]) -> list[Path]:
    return list(files[:: max(1, len(files) // _LOOKED_AT)])


def _class_line(classes: Mapping[str, Sequence[Path]]) -> str:
    counts = [len(files) for files in classes.values()]
    shown = ", ".join(list(classes)[:6]) + (", ..." if len(classes) > 6 else "")
    return f"{len(classes)} classes ({shown}) of {min(counts)} to {max(counts)} files each"


def _images(files: Sequence[Path]) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    looked = [glance(path) for path in _some(files)]
    sizes, is_grey = [size for size, _ in looked], all(grey for _, grey in looked)
    task: dict[str, Any] = {"name": "image_folder"}
    smallest = min(min(size) for size in sizes)
    if len(set(sizes)) > 1 or max(sizes[0]) > _SIDES[0]:
        side = next((side for side in _SIDES if side <= smallest), smallest)
        task["size"] = [side, side]
    if is_grey:
        task["colour"] = "grey"
    low, high = min(sizes), max(sizes)
    shown = f"{low[0]} x {low[1]}" + ("" if low == high else f" to {high[0]} x {high[1]}")
    height, width = task.get("size", looked[0][0])
    families = _of_maps(height * width * (1 if is_grey else 3))
    return task, families, [f"images of {shown} pixels, {'grey' if is_grey else 'in colour'}"]


def _recordings(files: Sequence[Path]) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    rates, seconds = set(), []
    for path in _some(files):
        rate_hz, samples = read_wav(read_bytes(path), str(path))
        rates.add(rate_hz)
        seconds.append(len(samples) / rate_hz)
    clip_s = min(1.0, max(0.1, np.floor(10 * float(np.median(seconds))) / 10))
    task: dict[str, Any] = {"name": "wav_folder", "clip_s": float(clip_s)}
    if min(rates) < 8000:
        task["highest_hz"] = min(rates) / 2
    line = f"recordings of {min(seconds):.2f} to {max(seconds):.2f} s at {', '.join(map(str, sorted(rates)))} Hz"
    return task, ("ds_cnn",), [line]


def _signals(files: Sequence[Path]) -> tuple[dict[str, Any], tuple[str, ...], list[str]]:
    tables = [read_table(path) for path in _some(files)]
    names = [
        column
        for column in tables[0].columns
        if all(column in table and _is_signal(table[column].to_numpy()) for table in tables)
    ]
    if not names:
        raise StarterError(f"{files[0]} has no column of numbers that every file has, beside clocks and row numbers")
    rows = [len(table) for table in tables]
    window = next((size for size in (128, 64, 32, 16, 8, 4) if size <= min(rows)), 2)
    task: dict[str, Any] = {"name": "csv_folder", "window": window}
    left = [str(column) for column in tables[0].columns if column not in names]
    if left:
        task["columns"] = [str(name) for name in names]
    lines = [f"recordings of {min(rows)} to {max(rows)} rows, channels {', '.join(map(str, names))}"]
    return task, ("cnn1d",), lines + ([f"left out (text, or a clock): {', '.join(left)}"] if left else [])


def _is_signal(values: Array) -> bool:
    """Return whether a column holds numbers that are no clock or row number."""
    if not np.issubdtype(values.dtype, np.number):
        return False
    steps = np.diff(values.astype(np.float64))
    return not (len(steps) > 2 and bool((steps > 0).all()))


_KINDS: Mapping[str, Callable[[Sequence[Path]], tuple[dict[str, Any], tuple[str, ...], list[str]]]] = {
    "image": _images,
    "wav": _recordings,
    "csv": _signals,
}


def _groups(files: Sequence[Path]) -> tuple[dict[str, Any], str]:
    """Return a pattern for what hangs together by its name, where one fits all files."""
    for pattern in _GROUP_PATTERNS:
        found = [re.search(pattern, path.name) for path in files]
        groups = Counter(match.group(1) for match in found if match is not None)
        whole = all(match is not None for match in found)
        if whole and _FEWEST_GROUPS <= len(groups) <= 0.5 * len(files):
            shown = ", ".join(list(groups)[:4])
            line = f"{len(groups)} groups by file name ({shown}, ...), each kept on one side of a split: check that"
            return {"group_pattern": pattern}, line
    return {}, "no groups in the file names: say group_pattern if samples hang together (speaker, subject, device)"


def _arrays(path: Path) -> Seen:
    arrays = read_arrays(path)
    missing = [name for name in ("x_train", "y_train") if name not in arrays]
    if missing:
        raise StarterError(f"{path} has no array {missing[0]!r}; an .npz file needs x_train and y_train")
    x, y = arrays["x_train"], arrays["y_train"]
    task: dict[str, Any] = {"name": "npz", "file": path}
    is_signal = x.ndim == 2 or (x.ndim == 3 and x.shape[2] <= min(_MOST_AXES, x.shape[1] // 2))
    if x.ndim == 3:
        task["layout"] = "length_channels" if is_signal else "hw"
    groups = [
        name
        for name, values in arrays.items()
        if name not in ("x_train", "y_train", "x_test", "y_test", "class_names")
        and values.shape == y.shape[:1]
        and _FEWEST_GROUPS <= len(np.unique(values)) < len(y)
    ]
    if groups:
        task["group_key"] = groups[0]
    labels, reference = _labels_of(y)
    if reference is not None:
        task["error"] = "mae"
    lines = [
        f"{len(x)} samples of shape {x.shape[1:]}, {labels}",
        f"groups: {groups[0]}" if groups else "no array of group ids: say group_key if samples hang together",
    ]
    families = ("cnn1d",) if is_signal else _of_maps(x[0].size)
    return Seen(task, families, tuple(lines), 1.0 if reference is None else reference)


def _of_maps(values: int) -> tuple[str, ...]:
    """Return the families for maps of so many values: of small ones a perceptron is small, too, and the quickest."""
    return ("cnn", "mlp") if values <= _MOST_OF_PERCEPTRON else ("cnn",)


def _labels_of(y: Array, source: str = "y_train") -> tuple[str, float | None]:
    """Return what labels are, in words, and of real numbers the mean absolute error of their medians."""
    if not np.issubdtype(y.dtype, np.floating):
        return f"{len(np.unique(y))} classes", None
    values = y.astype(np.float64)
    worst = float(f"{np.abs(values - np.median(values, axis=0)).mean():.3g}")
    if not worst > 0:
        raise StarterError(f"{source} holds NaN, or {values.flat[0]:g} in all samples: there is nothing to estimate")
    count = 1 if y.ndim == 1 else y.shape[1]
    return f"{count} real labels: say their unit; medians err by {worst:g} (MAE), the worst worth having", worst


def _whole(task: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value.resolve()) for key, value in task.items() if isinstance(value, Path)}


def _placed(task: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Return the task with its paths as they count from the config's folder, as they are where that is far away."""
    placed = {}
    for key, value in task.items():
        if isinstance(value, Path):
            near = os.path.relpath(value.resolve(), place.resolve())
            value = str(value.resolve()) if near.startswith(os.pardir) else Path(near).as_posix()
        placed[key] = value
    return placed


def _runtime(device: Device) -> Runtime:
    """Return the board's default engine, or the generated C where that one leaves no flash for a model."""
    runtime, small = default_runtime(device), load_runtime(GENERATED_C_RUNTIME)
    if runtime is not None and device.flash_bytes - runtime.flash.engine_bytes >= _LEAST_MODEL_BYTES:
        return runtime
    if small.covers(device):
        return small
    raise StarterError(f"no engine leaves {device.name} flash for a model; choose another board (`mobo devices`)")


def _objectives(device: Device, runtime: Runtime, worst: float) -> Any:
    tables = tomlkit.aot()
    tables.append(tomlkit.item({"name": "validation_error", "reference": worst}))
    reference = int(max(_LEAST_MODEL_BYTES, min(device.flash_bytes - runtime.flash.engine_bytes, 256 * 1024)))
    tables.append(tomlkit.item({"name": "flash_model_bytes", "unit": "bytes", "reference": reference}))
    return tables


def _constraints(device: Device) -> Any:
    """Return half of the memory and a latency: the program around the model needs the rest."""
    tables = tomlkit.aot()
    tables.append(tomlkit.item({"name": "ram_bytes", "unit": "bytes", "upper": device.arena_bytes // 2}))
    tables.append(tomlkit.item({"name": "latency_ms", "unit": "ms", "upper": 500.0}))
    return tables


def _space() -> Any:
    """Return what is searched beside the defaults: how long to fine-tune, and where in the network channels stay."""
    table = tomlkit.table()
    for name, entry, comment in (
        (FINETUNE_STEPS, {"type": "ordinal", "values": [125, 250, 500, 1000]}, "of every compressed network"),
        (
            KEEP_GROWTH,
            {"type": "float", "low": 0.25, "high": 4.0, "log": True},
            "channels kept of the last group over those of the first",
        ),
    ):
        line = tomlkit.inline_table()
        line.update(entry)
        table.add(name, line)
        table[name].comment(comment)
    return table
