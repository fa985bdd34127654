"""Weights that TFLM's operator DECODE unpacks, read as the constants that they become.

Source: tflite-micro 90b983c2b3f1, ``tensorflow/lite/micro/kernels/decode_state.h`` (the head of what DECODE is told)
and ``decode_state_lut.cc``.
"""

from collections.abc import Mapping
from dataclasses import replace

from hw_models.graph.tflite_tables import TfliteError, TfliteFile, TfliteOperator, TfliteTensor

DECODE = "CUSTOM 'TFLM_DECODE'"
"""The operator's name in a file."""

_KIND, _VERSION, _WIDTH = 0, 4, 5
_LOOKUP_TABLE, _KNOWN_VERSION = 0, 1
_HEAD_BYTES = 16
_MOST_BITS = 7


def with_decoded_weights(file: TfliteFile) -> tuple[TfliteFile, Mapping[int, int]]:
    """Return a file with what DECODE writes as constants in the place of the operator, and their stored widths.

    Returns:
        The file, and tensor -> bits of an index into its table of values.

    Raises:
        TfliteError: Weights that are packed in another way than by a lookup table, or a damaged operator.
    """
    decodes = [operator for operator in file.operators if operator.code == DECODE]
    widths: dict[int, int] = {}
    tensors = list(file.tensors)
    for operator in decodes:
        for packed, told, output in _triples(file, operator):
            widths[output] = _width(tensors[packed], tensors[told], tensors[output])
            tensors[output] = replace(
                tensors[output], constant_bytes=tensors[output].elements, buffer=tensors[packed].buffer
            )
    others = tuple(operator for operator in file.operators if operator.code != DECODE)
    return replace(file, tensors=tuple(tensors), operators=others), widths


def _triples(file: TfliteFile, operator: TfliteOperator) -> list[tuple[int, int, int]]:
    """Return what an operator unpacks: packed weights, what is told of them, the tensor they become."""
    if len(operator.inputs) != 2 * len(operator.outputs) or min((*operator.inputs, *operator.outputs), default=0) < 0:
        raise TfliteError(
            f"{DECODE} has {len(operator.inputs)} inputs and {len(operator.outputs)} outputs; two for each can be read"
        )
    return list(zip(operator.inputs[::2], operator.inputs[1::2], operator.outputs, strict=True))


def _width(packed: TfliteTensor, told: TfliteTensor, output: TfliteTensor) -> int:
    head = told.stored.data[told.stored.start : told.stored.start + told.stored.length]
    if len(head) < _HEAD_BYTES or head[_KIND] != _LOOKUP_TABLE or head[_VERSION] != _KNOWN_VERSION:
        seen = f"kind {head[_KIND]}, version {head[_VERSION]}" if len(head) >= _HEAD_BYTES else f"{len(head)} bytes"
        raise TfliteError(
            f"{DECODE} (output {output.name!r}) unpacks in a way that has no cost model ({seen}); lookup tables "
            f"(kind {_LOOKUP_TABLE}, version {_KNOWN_VERSION}) can be costed"
        )
    bits = head[_WIDTH] & 0x0F
    if (
        not 1 <= bits <= _MOST_BITS
        or output.dtype != "int8"
        or packed.constant_bytes != -(-output.elements * bits // 8)
    ):
        raise TfliteError(
            f"{DECODE} (output {output.name!r}) makes {output.elements} {output.dtype} weights of "
            f"{packed.constant_bytes} bytes with {bits} bits each; int8 weights of 1 to {_MOST_BITS} bits can be read"
        )
    return bits
