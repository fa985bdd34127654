"""The user's own images: one folder per class."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hw_models.files import MIB, FileError, read_bytes
from mobo.tinyml.tasks.class_folders import load_class_folders
from mobo.tinyml.tasks.data import FloatArray, Sensor, TaskError
from mobo.tinyml.tasks.parts import RawTask, Told
from mobo.tinyml.tasks.settings import ImageFolderSettings

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "BMP", "PPM")
_LARGEST_FILE_BYTES, _MOST_PIXELS = 64 * MIB, 2**26
# As 8-bit integers it would fill 4 MiB: more than any board has, and training with it takes gigabytes.
_MOST_INPUTS = 2**22
# To how many pixels a side an image is looked at, and how far its colours may lie apart and still be grey.
_GLANCE, _GREY = 16, 2
# At how many images it is looked whether a folder has colours.
_GLANCED = 16
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm")


def load_image_folder(settings: ImageFolderSettings) -> RawTask:
    """Return the images of a folder, values 0 to 255.

    Raises:
        TaskError: Pillow is not installed, or a file cannot be used.
    """
    return load_class_folders(settings, _Reader(settings))


@dataclass
class _Reader:
    """Turns images into samples and remembers their sizes, and of some whether they have colours."""

    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    # Pixels have eight bits.
    kept_as: ClassVar["np.dtype[Any] | None"] = np.dtype(np.uint8)
    settings: ImageFolderSettings
    sizes: set[tuple[int, int]] = field(default_factory=set)
    colours: list[bool] = field(default_factory=list)

    def __call__(self, path: Path) -> FloatArray:
        sample = read_image(path, self.settings, self.sizes.add)
        if len(self.colours) < _GLANCED:
            self.colours.append(not glance(path)[1])
        return sample

    def told(self) -> Told:
        """Return the camera whose images they may be; of all together there is nothing to say."""
        size = next(iter(self.sizes)) if len(self.sizes) == 1 else None
        return Told(sensor=Sensor(3 if any(self.colours) else 1, size=size))


def _check_inputs(path: Path, settings: ImageFolderSettings, found: tuple[int, int]) -> None:
    """Refuse what no network here could read, before memory is asked for."""
    height, width = settings.size or found
    channels = 3 if settings.colour == "rgb" else 1
    if height * width * channels > _MOST_INPUTS:
        raise TaskError(
            f"{path} would give a network {height} x {width} x {channels} inputs; at most {_MOST_INPUTS:,} are taken: "
            "say how small it shall be made, e.g. size = [96, 96]"
        )


def read_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """Return the pixels of a file as they are, ``(height, width, 3)``.

    Raises:
        TaskError: Pillow is not installed, or the file is no image.
    """
    return np.asarray(_opened(path, "RGB", lambda size: None), dtype=np.uint8)


def glance(path: Path) -> tuple[tuple[int, int], bool]:
    """Return height and width of an image, and whether it is grey all over.

    Raises:
        TaskError: Pillow is not installed, or the file is no image.
    """
    image = _opened(path, "RGB", lambda size: None)
    small = np.asarray(image.resize((_GLANCE, _GLANCE)), dtype=np.int64)
    return (image.height, image.width), bool(np.ptp(small, axis=2).max() <= _GREY)


def read_image(
    path: Path, settings: ImageFolderSettings, on_size: Callable[[tuple[int, int]], None] = lambda size: None
) -> FloatArray:
    """Return the one sample of a file, ``(1, H, W, C)``, values 0 to 255.

    Args:
        path: The file.
        settings: What is made of it.
        on_size: Called with the height and width that it has.

    Raises:
        TaskError: Pillow is not installed, or the file cannot be used.
    """
    mode = "RGB" if settings.colour == "rgb" else "L"

    def look(size: tuple[int, int]) -> None:
        _check_inputs(path, settings, size)
        on_size(size)

    colours = _opened(path, mode, look)
    if settings.size is not None:
        from PIL import Image

        height, width = settings.size
        colours = colours.resize((width, height), Image.Resampling.BILINEAR)
    values = np.asarray(colours, dtype=np.float32)
    return values.reshape(1, *values.shape[:2], -1)


def _opened(path: Path, mode: str, check: Callable[[tuple[int, int]], None]) -> "Image":
    """Return the pixels of a file; ``check`` is asked about height and width before they are decoded."""
    try:
        from PIL import Image
    except ImportError as error:
        raise TaskError(
            'the task image_folder needs the package pillow: pip install "tinyml-mobo-rl[tasks]"'
        ) from error
    try:
        data = read_bytes(path, at_most_bytes=_LARGEST_FILE_BYTES)
        # What Pillow thinks of odd metadata and large images is no news: the pixels are counted here.
        with (
            warnings.catch_warnings(action="ignore"),
            Image.open(BytesIO(data), formats=_FORMATS) as image,
        ):
            if image.width * image.height > _MOST_PIXELS:
                raise TaskError(f"{path} has {image.width} x {image.height} pixels; at most {_MOST_PIXELS:,} are read")
            check((image.height, image.width))
            return image.convert(mode)
    except (TaskError, FileError) as error:
        raise TaskError(str(error)) from error
    except Exception as error:  # a decoder raises whatever a damaged file leads it to
        raise TaskError(f"{path} is no readable image: {error}") from error
