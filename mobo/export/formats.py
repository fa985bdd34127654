"""The formats a model can be exported to, by name, and where the code of each lies."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from hw_models.errors import unknown_name
from mobo.export.errors import ExportError

if TYPE_CHECKING:
    from mobo.export.request import Exporter

FIRMWARE = "firmware"
"""The one format that is written for a board."""

# Name -> "module:function". A format's files go to a folder of its name; its module is imported only when asked for.
FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "tflite": "mobo.export.tflite.writer:export_tflite",
        "tflite-decode": "mobo.export.tflite.writer:export_tflite_decode",
        "c": "mobo.export.c.project:export_c",
        "onnx": "mobo.export.onnx.writer:export_onnx",
        FIRMWARE: "mobo.export.firmware.project:export_firmware",
        "download": "mobo.export.download.writer:export_download",
    }
)


def load_format(name: str) -> "Exporter":
    """Return what writes a format.

    Raises:
        ExportError: No format has that name.
    """
    if name not in FORMATS:
        raise ExportError(unknown_name("export format", name, FORMATS))
    module, _, function = FORMATS[name].partition(":")
    exporter: Exporter = getattr(import_module(module), function)
    return exporter
