"""Weights with a stored width as what TFLM's operator DECODE unpacks: an index for every weight, and one lookup table.

The weights of a stored width lie on one small grid in all channels, so one table serves them all. Which layers are
decoded is said by :mod:`hw_models.decoding`.

Source: tflite-micro 90b983c2b3f1, ``tensorflow/lite/micro/kernels/decode_state_lut.cc`` and
``tensorflow/lite/micro/compression/lut.py``.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from envs.compression.integer.weight_grid import weight_limit

OPERATOR = "TFLM_DECODE"
"""The name of the custom operator."""

_LOOKUP_TABLE, _VERSION, _WHOLE_TENSOR = 0, 1, 15
_RESERVED_BYTES = 9


def encoded(values: npt.NDArray[np.signedinteger[Any]], bits: int) -> bytes:
    """Return the indices of weights, ``bits`` each, the highest bit first.

    Args:
        values: The weights, on the grid of their stored width.
        bits: That width.
    """
    indices = values.reshape(-1).astype(np.int64) + weight_limit(8, bits)
    return np.packbits((indices[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)).tobytes()


def ancillary(bits: int) -> bytes:
    """Return what DECODE is told of weights of a stored width: kind, widths, the number that every index stands for."""
    limit = weight_limit(8, bits)
    # The distance between the tables of two channels: they share one.
    head = bytes((_LOOKUP_TABLE, 1, 0, 0, _VERSION, _WHOLE_TENSOR << 4 | bits, 0, *bytes(_RESERVED_BYTES)))
    return head + np.arange(-limit, limit + 1, dtype=np.int8).tobytes() + b"\0"
