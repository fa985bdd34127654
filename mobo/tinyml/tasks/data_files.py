"""Where data files are, and reading the arrays of an .npz file."""

import os
from pathlib import Path

from envs import array_files
from hw_models.errors import unknown_name
from hw_models.files import FileError
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.parts import Array

DATA_DIRECTORY_VARIABLE = "MOBO_DATA_DIR"


def find_data_file(file: Path) -> Path:
    """Return where a data file or folder is: as given, or in the folder that ``MOBO_DATA_DIR`` names.

    Raises:
        TaskError: It is in none of these places.
    """
    folder = os.environ.get(DATA_DIRECTORY_VARIABLE)
    places = [file] if folder is None or file.is_absolute() else [file, Path(folder) / file]
    for place in places:
        # Unlike ``exists``, this takes a name that no file can have.
        if os.path.exists(place):  # noqa: PTH110
            return place
    looked = ", ".join(str(place) for place in places)
    hint = "" if folder else f"; set {DATA_DIRECTORY_VARIABLE} to the folder that holds it, or give a path"
    raise TaskError(f"the data file {str(file)!r} does not exist (looked at: {looked}){hint}")


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by name.

    Raises:
        TaskError: It is no .npz file of plain arrays, or more than 2 GiB once unpacked.
    """
    try:
        return array_files.read_arrays(path)
    except FileError as error:
        raise TaskError(str(error)) from error


def array_of(arrays: dict[str, Array], key: str, path: Path) -> Array:
    """Return one of the arrays; raises TaskError, with the nearest name, where it is missing."""
    if key not in arrays:
        raise TaskError(f"{path}: {unknown_name('array', key, arrays)}")
    return arrays[key]
