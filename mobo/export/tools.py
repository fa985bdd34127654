"""The optional packages of this folder, imported at the moment of use and named when they are missing."""

from importlib import import_module
from types import ModuleType

from mobo.export.errors import MissingToolError

INSTALL = 'pip install "tinyml-mobo-rl[export]"'
_SCHEMAS = (
    "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
    "ai_edge_litert.schema_py_generated",
)


def tflite_schema() -> ModuleType:
    """Return the flatbuffer schema of tflite files; both packages bring the same one.

    Raises:
        MissingToolError: Neither package is installed.
    """
    for name in _SCHEMAS:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise MissingToolError("neither tflite-micro nor ai-edge-litert", install=INSTALL)


def required_module(name: str, package: str) -> ModuleType:
    """Return a module of an optional package.

    Raises:
        MissingToolError: It cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingToolError(package, install=INSTALL) from error
