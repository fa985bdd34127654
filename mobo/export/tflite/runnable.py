"""Reading a ``.tflite`` file: just enough to feed an interpreter and to find its tensors by name."""

import struct
from dataclasses import dataclass
from math import prod
from typing import Any

from mobo.export.errors import ExportError
from mobo.export.tools import tflite_schema

_MAGIC = slice(4, 8)


@dataclass(frozen=True)
class RunnableTflite:
    """What a file says of itself.

    Attributes:
        data: Its bytes.
        tensors: Index by name of every tensor that is computed: the input and one per operator.
        input_shape: Shape of the input, batch included.
        input_type: Type of its elements, e.g. ``"int8"``.
        operators: Name of every operator, in order.
        activation_bytes: Bytes of all computed tensors together.
    """

    data: bytes
    tensors: dict[str, int]
    input_shape: tuple[int, ...]
    input_type: str
    operators: tuple[str, ...]
    activation_bytes: int


def read_runnable(data: bytes) -> RunnableTflite:
    """Return what a file says of itself.

    Interpreters in C may crash on a damaged file, so that nothing is given to them that was not read here.

    Raises:
        ExportError: The bytes are cut off or something else.
        MissingToolError: The package with the file's schema is not installed.
    """
    schema = tflite_schema()
    try:
        if data[_MAGIC] != b"TFL3":
            raise ExportError(f"the file is no tflite file: it starts with {data[:8]!r}; export the model again")
        return _read(data, schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0)), schema)
    except (struct.error, ValueError, IndexError, TypeError, AttributeError) as error:
        if isinstance(error, ExportError):
            raise
        # What the flatbuffer reader raises where an offset leads out of the file.
        raise ExportError(f"the tflite file is cut off or damaged ({error}); export the model again") from error


def _read(data: bytes, model: Any, schema: Any) -> RunnableTflite:
    subgraph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    computed = {
        # Converters may leave names out.
        (tensor.name or b"").decode() or f"tensor {index}": index
        for index, tensor in enumerate(subgraph.tensors)
        if model.buffers[tensor.buffer].data is None
    }
    types = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    entry = subgraph.tensors[subgraph.inputs[0]]
    return RunnableTflite(
        data=data,
        tensors=computed,
        input_shape=tuple(int(size) for size in entry.shape),
        input_type=types[entry.type],
        operators=tuple(names[model.operatorCodes[call.opcodeIndex].builtinCode] for call in subgraph.operators),
        activation_bytes=sum(_tensor_bytes(subgraph.tensors[index], schema) for index in computed.values()),
    )


def _tensor_bytes(tensor: Any, schema: Any) -> int:
    width = 2 if tensor.type == schema.TensorType.INT16 else 1
    return width * prod(int(size) for size in tensor.shape)
