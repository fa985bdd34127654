"""The optional packages of this folder, imported at the moment of use and named when they are missing."""

from importlib import import_module
from types import ModuleType

from mobo.export.errors import MissingToolError

LITERT, TFLM, ONNX, ONNXRUNTIME = "ai-edge-litert", "tflite-micro", "onnx", "onnxruntime"
PYSERIAL = "pyserial"

INSTALL = {
    LITERT: "pip install 'ai-edge-litert>=2.3,<3'",
    TFLM: "pip install tflite-micro==0.dev20261023182759",
    ONNX: "pip install 'onnx>=1.23,<2'",
    ONNXRUNTIME: "pip install 'onnxruntime>=1.31,<2'",
    PYSERIAL: "pip install 'pyserial>=3.5,<4'",
}
"""The command that installs each package; the versions are those of the extras ``export``, ``onnx`` and ``board``."""

# Both packages bring the same schema; the first that is there is taken.
_SCHEMAS = {
    TFLM: "tflite_micro.tensorflow.lite.micro.python.schema_py_generated",
    LITERT: "ai_edge_litert.schema_py_generated",
}


def tflite_schema() -> ModuleType:
    """Return the flatbuffer schema of tflite files.

    Raises:
        MissingToolError: No package that brings it is installed.
    """
    for module in _SCHEMAS.values():
        try:
            return import_module(module)
        except ImportError:
            continue
    raise MissingToolError(f"the schema of tflite files (from {TFLM} or {LITERT})", install=INSTALL[TFLM])


def flatbuffer_builder() -> ModuleType:
    """Return the package that writes flatbuffers, which comes with each of the others.

    Raises:
        MissingToolError: It is not installed.
    """
    try:
        return import_module("flatbuffers")
    except ImportError as error:
        raise MissingToolError("flatbuffers", install=INSTALL[TFLM]) from error


def required_module(name: str, package: str) -> ModuleType:
    """Return a module of an optional package.

    Raises:
        MissingToolError: It cannot be imported.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingToolError(package, install=INSTALL[package]) from error
