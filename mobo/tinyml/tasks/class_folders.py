"""A folder with one subfolder per class: which files there are, their labels and their groups."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from envs.array_files import LARGEST_ARRAYS_BYTES
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.data_files import find_data_file
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import FolderSettings, RecordingSettings


@dataclass(frozen=True)
class ClassFile:
    """One file of a class folder.

    Attributes:
        path: Where it is.
        label: Position of its class among the sorted class names.
        group: What it belongs to: the match of the group pattern in its name, else the file itself.
    """

    path: Path
    label: int
    group: str


def load_class_folders(
    settings: FolderSettings, suffixes: tuple[str, ...], read: Callable[[Path], FloatArray]
) -> RawTask:
    """Return the samples of a folder, and of the test folder where the settings name one.

    Args:
        settings: Folders and group pattern.
        suffixes: Endings of the files that count, in lower case; others are refused.
        read: Returns the samples ``(n, H, W, C)`` in one file, all of one shape; none where it is left out.

    Raises:
        TaskError: A folder or file that is missing, foreign or unreadable, or classes that differ.
    """
    folder = find_data_file(settings.folder)
    names = class_names(folder)
    known = _part(class_files(folder, names, suffixes, settings.group_pattern), read, settings)
    _check_classes(known, names, folder)
    test = None
    if settings.test_folder is not None:
        test_folder = find_data_file(settings.test_folder)
        if class_names(test_folder) != names:
            raise TaskError(
                f"{test_folder} has the classes {', '.join(class_names(test_folder))}, {folder} has "
                f"{', '.join(names)}; they must be equal"
            )
        test = _part(class_files(test_folder, names, suffixes, settings.group_pattern), read, settings)
        _check_classes(test, names, test_folder)
    return RawTask(str(folder), names, known, test)


def class_files(
    folder: Path, class_names: Iterable[str], suffixes: tuple[str, ...], group_pattern: str | None
) -> tuple[ClassFile, ...]:
    """Return the files of every class in a fixed order; hidden files do not count.

    Raises:
        TaskError: An empty class, a file of another kind, or a name in which the group pattern finds nothing.
    """
    found: list[ClassFile] = []
    for label, name in enumerate(class_names):
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and not path.name.startswith("."))
        if not files:
            raise TaskError(f"{folder / name} holds no files; every class needs some {' or '.join(suffixes)} files")
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
        if not (part.y == label).any():
            raise TaskError(
                f'{folder}: no recording of class {name!r} is long enough; task.short = "pad" takes short ones'
            )


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


def _part(files: tuple[ClassFile, ...], read: Callable[[Path], FloatArray], settings: FolderSettings) -> Part:
    samples: list[FloatArray] = []
    total_bytes = 0
    for file in files:
        sample = read(file.path)
        samples.append(sample)
        total_bytes += sample.nbytes
        if total_bytes > LARGEST_ARRAYS_BYTES:
            raise TaskError(
                f"the files up to {file.path} give {total_bytes:,} bytes of samples; at most {LARGEST_ARRAYS_BYTES:,} "
                "are held: take fewer or smaller files"
            )
        first = samples[0].shape[1:]
        if sample.shape[1:] != first:
            raise TaskError(
                f"{file.path} gives samples of shape {sample.shape[1:]}, {files[0].path} of {first} (height, width, "
                f"channels); they must be equal. {settings.remedy}"
            )
    counts = [len(sample) for sample in samples]
    # Files of one sample each hang together only by a pattern.
    has_groups = settings.group_pattern is not None or max(counts) > 1
    return Part(
        np.concatenate(samples),
        np.repeat([file.label for file in files], counts).astype(np.int64),
        np.repeat(np.array([file.group for file in files]), counts) if has_groups else None,
    )
