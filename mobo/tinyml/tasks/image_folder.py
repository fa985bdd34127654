"""The user's own images: one folder per class."""

from pathlib import Path

import numpy as np

from mobo.tinyml.tasks.class_folders import load_class_folders
from mobo.tinyml.tasks.data import FloatArray, TaskError
from mobo.tinyml.tasks.parts import RawTask
from mobo.tinyml.tasks.settings import ImageFolderSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm")


def load_image_folder(settings: ImageFolderSettings) -> RawTask:
    """Return the images of a folder, values 0 to 255.

    Raises:
        TaskError: Pillow is not installed, or a file cannot be used.
    """
    return load_class_folders(settings, SUFFIXES, lambda path: _read(path, settings))


def _read(path: Path, settings: ImageFolderSettings) -> FloatArray:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise TaskError('the task image_folder needs the package pillow: pip install -e ".[tasks]"') from error
    try:
        with Image.open(path) as image:
            colours = image.convert("RGB" if settings.colour == "rgb" else "L")
    except (UnidentifiedImageError, OSError) as error:
        raise TaskError(f"{path} is no readable image: {error}") from error
    if settings.size is not None:
        height, width = settings.size
        colours = colours.resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(colours, dtype=np.float32)
    return values.reshape(1, *values.shape[:2], -1)
