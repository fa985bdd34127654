"""The front end that lies beside a model, read without torch: commands that look at a run start at once."""

from pathlib import Path

from hw_models.files import read_bytes
from hw_models.front_end import FrontEndWork, work_from_json
from mobo.tinyml.model_names import FRONT_END


def load_front_end(directory: Path) -> FrontEndWork | None:
    """Return what stands before a model and is in its costs; None where it is not counted.

    Raises:
        FileError: The file is damaged.
    """
    path = directory / FRONT_END
    return work_from_json(read_bytes(path), source=str(path)) if path.is_file() else None
