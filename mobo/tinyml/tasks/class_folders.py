"""A folder with one subfolder per class: which files there are, their labels and their groups."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from rich.console import Console
from rich.progress import track

from envs.array_files import LARGEST_ARRAYS_BYTES
from hw_models.files import MIB
from mobo.tinyml.tasks.data import FloatArray, Labels, TaskError
from mobo.tinyml.tasks.data_files import find_data_file
from mobo.tinyml.tasks.folder_cache import PartWriter, kept
from mobo.tinyml.tasks.labels_file import LABELS_FILE, read_labels
from mobo.tinyml.tasks.parts import Array, Part, RawTask, Told
from mobo.tinyml.tasks.settings import FolderSettings, RecordingSettings, SplitSettings

KEPT_FROM_FILES, KEPT_FROM_BYTES = 500, 4 * MIB
"""So many files, or so much in them, are worth keeping once they were prepared: less is read again in a second."""

# The folder itself in the place of a subfolder.
_NO_CLASSES = ("",)


@dataclass(frozen=True)
class ClassFile:
    """One file of a class folder.

    Attributes:
        path: Where it is.
        label: Position of its class among the sorted class names; of a regression its labels.
        group: What it belongs to: the match of the group pattern in its name, else the file itself.
    """

    path: Path
    label: int | tuple[float, ...]
    group: str


class FileReader(Protocol):
    """Turns the files of a folder into samples.

    Attributes:
        suffixes: Endings of the files that count, in lower case; others are refused.
        kept_as: What the values of large folders are kept as on disk, exactly; None where they are read every time.
    """

    suffixes: ClassVar[tuple[str, ...]]
    kept_as: ClassVar["np.dtype[Any] | None"]

    def __call__(self, path: Path) -> FloatArray:
        """Return the samples ``(n, H, W, C)`` in one file, all of one shape; none where it is left out."""
        ...

    def told(self) -> Told:
        """Return what all files together tell; raises TaskError where they do not go together."""
        ...


def load_class_folders(settings: FolderSettings, reader: FileReader) -> RawTask:
    """Return the samples of a folder, and of the test folder where the settings name one.

    Those of large folders come from the cache, after they were put there. Of a regression the files may lie anywhere in
    the folder, and their labels are in its ``labels.csv``.

    Args:
        settings: Folders and group pattern.
        reader: Reads the files.

    Raises:
        TaskError: A folder or file that is missing, foreign or unreadable, or classes or labels that differ.
        MachineError: The cache cannot be written.
    """
    folder = find_data_file(settings.folder)
    names = _NO_CLASSES if settings.is_regression else class_names(folder)
    source, parts, told = _read(settings, reader, names, in_table=settings.is_regression)
    return RawTask(
        source,
        () if settings.is_regression else names,
        parts["train"],
        parts.get("test"),
        notes=told.notes,
        sensor=told.sensor,
        label_names=read_labels(folder).names if settings.is_regression else (),
    )


def load_labelled_folder(settings: FolderSettings, reader: FileReader, label_names: Sequence[str]) -> RawTask:
    """Return the samples of a folder, wherever in it the files are, that have labels of their own.

    Args:
        settings: Folders and group pattern.
        reader: Reads the files; the last channels of the samples are their labels, which stand in the last column.
        label_names: What the labels are called.

    Raises:
        TaskError: As :func:`load_class_folders`.
    """
    folder, parts, told = _read(settings, reader, _NO_CLASSES)
    labelled = {name: _labelled(part, len(label_names)) for name, part in parts.items()}
    return RawTask(
        folder,
        (),
        labelled["train"],
        labelled.get("test"),
        notes=told.notes,
        sensor=told.sensor,
        label_names=tuple(label_names),
    )


def _labelled(part: Part, labels: int) -> Part:
    values = part.raw
    return replace(part, x=np.ascontiguousarray(values[..., :-labels]), y=values[:, 0, -1, -labels:])


def training_files(settings: FolderSettings, suffixes: tuple[str, ...]) -> tuple[ClassFile, ...]:
    """Return the files of the folder that is not the test split, in a fixed order; raises as :func:`class_files`."""
    folder = find_data_file(settings.folder)
    if settings.is_regression:
        return _files_of_table(folder, suffixes, settings.group_pattern)
    return class_files(folder, class_names(folder), suffixes, settings.group_pattern)


def _files_of_table(folder: Path, suffixes: tuple[str, ...], group_pattern: str | None) -> tuple[ClassFile, ...]:
    """Return the files of a folder with the labels that its table gives them."""
    table = read_labels(folder)
    files = class_files(folder, _NO_CLASSES, suffixes, group_pattern, apart=table.path)
    labels = table.of([file.path for file in files])
    return tuple(replace(file, label=label) for file, label in zip(files, labels, strict=True))


def _check_same_labels(folder: Path, other: Path) -> None:
    names, others = read_labels(folder).names, read_labels(other).names
    if names != others:
        raise TaskError(
            f"{other / LABELS_FILE} has the labels {', '.join(others)}, {folder / LABELS_FILE} has "
            f"{', '.join(names)}; they must be equal"
        )


def _read(
    settings: FolderSettings, reader: FileReader, names: tuple[str, ...], *, in_table: bool = False
) -> tuple[str, dict[str, Part], Told]:
    """Return where the samples are, those of every part, and what all files together tell.

    Args:
        settings: Folders and group pattern.
        reader: Reads the files.
        names: Of the classes.
        in_table: Whether labels are in a table beside the files.
    """

    def found(folder: Path) -> tuple[ClassFile, ...]:
        if in_table:
            return _files_of_table(folder, reader.suffixes, settings.group_pattern)
        return class_files(folder, names, reader.suffixes, settings.group_pattern)

    folder = find_data_file(settings.folder)
    files, folders = {"train": found(folder)}, {"train": folder}
    if settings.test_folder is not None:
        test_folder = find_data_file(settings.test_folder)
        if names != _NO_CLASSES and class_names(test_folder) != names:
            raise TaskError(
                f"{test_folder} has the classes {', '.join(class_names(test_folder))}, {folder} has "
                f"{', '.join(names)}; they must be equal"
            )
        if in_table:
            _check_same_labels(folder, test_folder)
        files["test"] = found(test_folder)
        folders["test"] = test_folder
    parts, told = _parts(files, reader, settings)
    for name, part in parts.items():
        _check_classes(part, names, folders[name])
    return str(folder), parts, told


def _parts(
    files: Mapping[str, tuple[ClassFile, ...]], reader: FileReader, settings: FolderSettings
) -> tuple[dict[str, Part], Told]:
    facts = {name: [(file.path, file.path.stat()) for file in part] for name, part in files.items()}
    size_bytes = sum(stat.st_size for part in facts.values() for _, stat in part)
    is_large = sum(len(part) for part in files.values()) >= KEPT_FROM_FILES or size_bytes >= KEPT_FROM_BYTES
    if reader.kept_as is None or not is_large:
        return {name: _part(part, reader, settings) for name, part in files.items()}, reader.told()
    origin = {
        "settings": settings.model_dump(mode="json", exclude=set(SplitSettings.model_fields)),
        "files": {
            name: [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in part] for name, part in facts.items()
        },
        **({"labels": [file.label for part in files.values() for file in part]} if settings.is_regression else {}),
    }
    writings = {name: partial(_written, part, reader, settings) for name, part in files.items()}
    return kept(origin, writings, reader.told, reader.kept_as)


def class_files(
    folder: Path,
    class_names: Iterable[str],
    suffixes: tuple[str, ...],
    group_pattern: str | None,
    *,
    apart: Path | None = None,
) -> tuple[ClassFile, ...]:
    """Return the files of every class in a fixed order; hidden files do not count, nor the one that is ``apart``.

    Raises:
        TaskError: An empty class, a file of another kind, or a name in which the group pattern finds nothing.
    """
    found: list[ClassFile] = []
    for label, name in enumerate(class_names):
        files = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.is_file() and not path.name.startswith(".") and path != apart
        )
        if not files:
            whose = "it" if not name else "every class"
            raise TaskError(f"{folder / name} holds no files; {whose} needs some {' or '.join(suffixes)} files")
        for path in files:
            if path.suffix.lower() not in suffixes:
                raise TaskError(f"{path} is no {' or '.join(suffixes)} file; move it out of {folder}")
            found.append(ClassFile(path, label, _group(path, group_pattern)))
    return tuple(found)


def short_note(short: Sequence[Path], length: str, settings: RecordingSettings) -> tuple[str, ...]:
    """Return what is said of recordings that were too short, if there were any.

    Args:
        short: Their files.
        length: What they are shorter than.
        settings: Say what became of them.
    """
    if not short:
        return ()
    done = "padded" if settings.short == "pad" else "skipped"
    files = f"{short[0]} and {len(short) - 1} more" if len(short) > 1 else str(short[0])
    return (f"{len(short)} recordings are shorter than {length} and were {done} (task.short): {files}",)


def _check_classes(part: Part, names: Sequence[str], folder: Path) -> None:
    """Refuse recordings of which a class has nothing left."""
    for label, name in enumerate(names):
        if not ((part.y == label).any() if name else len(part.y)):
            of_class = f" of class {name!r}" if name else ""
            raise TaskError(f'{folder}: no recording{of_class} is long enough; task.short = "pad" takes short ones')


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names of the subfolders, sorted.

    Raises:
        TaskError: It is a file, or there are fewer than two.
    """
    if not folder.is_dir():
        raise TaskError(f"{folder} is a file; a folder with one subfolder per class is needed")
    names = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if len(names) < 2:
        raise TaskError(f"{folder} has {len(names)} subfolders; it needs one for each of at least two classes")
    return names


def _group(path: Path, pattern: str | None) -> str:
    if pattern is None:
        return str(path)
    match = re.search(pattern, path.name)
    if match is None or not match.groups():
        raise TaskError(
            f"the group_pattern {pattern!r} finds no group in the file name {path.name!r}; it must match every name "
            "and have one pair of parentheses around the group id"
        )
    return match.group(1)


def _part(files: tuple[ClassFile, ...], read: FileReader, settings: FolderSettings) -> Part:
    samples: list[FloatArray] = []
    total_bytes = 0
    for file, sample in _samples(files, read, settings):
        samples.append(sample)
        total_bytes += sample.nbytes
        if total_bytes > LARGEST_ARRAYS_BYTES:
            raise TaskError(
                f"the files up to {file.path} give {total_bytes:,} bytes of samples; at most {LARGEST_ARRAYS_BYTES:,} "
                "are held: take fewer or smaller files"
            )
    return Part(np.concatenate(samples), *_labels(files, [len(sample) for sample in samples], settings))


def _written(
    files: tuple[ClassFile, ...], read: FileReader, settings: FolderSettings, writer: PartWriter
) -> tuple[Labels, Array | None]:
    """Hand the samples of files to the cache, one file after another; return labels and groups."""
    counts = []
    for file, sample in track(
        _samples(files, read, settings),
        f"reading {settings.folder} once",
        len(files),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    ):
        if not np.isfinite(sample).all():
            raise TaskError(f"{file.path} holds NaN or infinite values (in float32); clean or drop it")
        writer.add(sample)
        counts.append(len(sample))
    return _labels(files, counts, settings)


def _samples(
    files: tuple[ClassFile, ...], read: FileReader, settings: FolderSettings
) -> Iterator[tuple[ClassFile, FloatArray]]:
    """Yield files and their samples, which are of one shape."""
    first: tuple[int, ...] | None = None
    for file in files:
        sample = read(file.path)
        first = first or sample.shape[1:]
        if sample.shape[1:] != first:
            raise TaskError(
                f"{file.path} gives samples of shape {sample.shape[1:]}, {files[0].path} of {first} (height, width, "
                f"channels); they must be equal. {settings.remedy}"
            )
        yield file, sample


def _labels(
    files: tuple[ClassFile, ...], counts: Sequence[int], settings: FolderSettings
) -> tuple[Labels, Array | None]:
    # Files of one sample each hang together only by a pattern.
    labels = np.repeat([file.label for file in files], counts, axis=0)
    has_groups = settings.group_pattern is not None or max(counts) > 1
    return (
        labels.astype(np.float32) if isinstance(files[0].label, tuple) else labels.astype(np.int64),
        np.repeat(np.array([file.group for file in files]), counts) if has_groups else None,
    )
