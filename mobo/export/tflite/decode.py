"""Weights with a stored width as what TFLM's operator DECODE unpacks: an index for every weight, and one lookup table.

The weights of a stored width lie on one small grid in all channels, so one table serves them all. DECODE writes them as
int8 into the arena right before the layer runs.

Source: tflite-micro 90b983c2b3f1, ``tensorflow/lite/micro/kernels/decode_state_lut.cc`` and
``tensorflow/lite/micro/compression/lut.py``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from envs.compression.integer.weight_grid import weight_limit
from hw_models.graph.layer_graph import WeightLayer

OPERATOR = "TFLM_DECODE"
"""The name of the custom operator."""

_LOOKUP_TABLE, _VERSION, _WHOLE_TENSOR = 0, 1, 15
_RESERVED_BYTES = 9
# Operator, two tensors and the table of one layer: 214 to 248 were seen.
_OVERHEAD_BYTES = 256


def pays(layer: WeightLayer, weights: int) -> bool:
    """Return whether a layer with so many weights is smaller in the file with them decoded: int8, stored with fewer."""
    if layer.weight_bits != 8 or layer.stored_bits is None:
        return False
    return weights * (8 - layer.stored_bits) // 8 > _OVERHEAD_BYTES


def encoded(layer: WeightLayer, values: npt.NDArray[np.signedinteger[Any]]) -> bytes:
    """Return the indices of weights, ``stored_bits`` each, the highest bit first.

    Args:
        layer: The layer.
        values: Its weights, on the grid of its stored width.
    """
    bits = _bits(layer)
    indices = values.reshape(-1).astype(np.int64) + weight_limit(8, bits)
    return np.packbits((indices[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)).tobytes()


def ancillary(layer: WeightLayer) -> bytes:
    """Return what DECODE is told of a layer's weights: kind, widths, and the number that every index stands for."""
    bits = _bits(layer)
    limit = weight_limit(8, bits)
    # The distance between the tables of two channels: they share one.
    head = bytes((_LOOKUP_TABLE, 1, 0, 0, _VERSION, _WHOLE_TENSOR << 4 | bits, 0, *bytes(_RESERVED_BYTES)))
    return head + np.arange(-limit, limit + 1, dtype=np.int8).tobytes() + b"\0"


def _bits(layer: WeightLayer) -> int:
    assert layer.stored_bits is not None
    return layer.stored_bits
