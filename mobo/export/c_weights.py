"""Weights in the order the C kernels read them, and the output stage of every channel."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.compression.quantised import INT8_MAX, INT8_MIN, QuantisedNetwork
from hw_models.generated_c import GROUP_BYTES, round_up
from hw_models.graph import DepthwiseConv2D, WeightLayer
from mobo.export.errors import ExportError

Bytes = npt.NDArray[np.uint8]

_OFFSET_W4 = 8
_NARROW_BOUND = 2**30
_NARROW_SHIFTS = range(1, 23)
# Sums of 4-bit depthwise products are kept 4096 times too large, in 32 bits.
_MOST_TAPS_W4 = 2**31 // (4096 * 8 * 128) - 1


@dataclass(frozen=True, eq=False)
class OutputStage:
    """What turns a layer's accumulators into int8.

    Attributes:
        biases: With the input's zero point folded in, one per channel.
        mantissas: Of the multipliers.
        shifts: Right shifts of the multipliers.
        wide: Whether a channel is beyond the bounds of the fast output stage.
    """

    biases: npt.NDArray[np.int64]
    mantissas: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    wide: bool


def output_stage(network: QuantisedNetwork, layer: WeightLayer) -> OutputStage:
    """Return the output stage of a layer.

    Raises:
        ExportError: An accumulator could exceed 32 bits.
    """
    weights = network.weights[layer.name]
    rows = _rows(layer, weights.values).astype(np.int64)
    biases = weights.bias.astype(np.int64) - network.tensors[layer.inputs[0]].zero_point * rows.sum(axis=1)
    bound = np.abs(biases) + np.abs(rows).sum(axis=1) * 128
    if bound.max() >= 2**31:
        raise ExportError(
            f"layer {layer.name!r} can reach an accumulator of {bound.max()}, beyond 32 bits; "
            "its biases are too large for its weights: train it longer or with weight decay"
        )
    mantissas, left_shifts = network.multipliers(layer.name)
    shifts = -left_shifts
    narrow = bool(
        bound.max() < _NARROW_BOUND
        and shifts.min() in _NARROW_SHIFTS
        and shifts.max() in _NARROW_SHIFTS
        and network.activation_range(layer.name) == (INT8_MIN, INT8_MAX)
    )
    return OutputStage(biases, mantissas, shifts, not narrow)


def _rows(layer: WeightLayer, values: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return the weights as one row per output channel."""
    if isinstance(layer, DepthwiseConv2D):
        return values.reshape(-1, values.shape[-1]).T
    return values.reshape(len(values), -1)


def arranged(layer: WeightLayer, values: npt.NDArray[np.int8]) -> Bytes:
    """Return a layer's weights as the bytes of its C array.

    Raises:
        ExportError: A 4-bit depthwise kernel with too many taps for 32-bit sums.
    """
    rows = _rows(layer, values)
    if isinstance(layer, DepthwiseConv2D):
        return _depthwise(layer, rows)
    return _pairs_w4(rows) if layer.weight_bits == 4 else _pairs_w8(rows)


def _padded(rows: npt.NDArray[np.int8], row_multiple: int, column_multiple: int) -> npt.NDArray[np.int8]:
    height, width = round_up(rows.shape[0], row_multiple), round_up(rows.shape[1], column_multiple)
    return np.pad(rows, ((0, height - rows.shape[0]), (0, width - rows.shape[1])))


def _pairs_w8(rows: npt.NDArray[np.int8]) -> Bytes:
    """Per pair of rows and group: the four of the first row, the four of the second."""
    padded = _padded(rows, 2, GROUP_BYTES)
    pairs = padded.reshape(len(padded) // 2, 2, -1, GROUP_BYTES).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(pairs).reshape(-1).view(np.uint8)


def _pairs_w4(rows: npt.NDArray[np.int8]) -> Bytes:
    """Per pair of rows one byte per element, plus 8: the first row low, the second high; padding counts nothing."""
    offset = _padded((rows + _OFFSET_W4).astype(np.int8), 2, GROUP_BYTES).astype(np.uint8)
    packed: Bytes = (offset[0::2] | (offset[1::2] << 4)).astype(np.uint8)
    return packed.reshape(-1)


def _depthwise(layer: DepthwiseConv2D, rows: npt.NDArray[np.int8]) -> Bytes:
    if layer.weight_bits == 8:
        padded = _padded(rows, GROUP_BYTES, 1)
        by_tap = padded.reshape(len(padded) // GROUP_BYTES, GROUP_BYTES, -1).transpose(0, 2, 1)
        return np.ascontiguousarray(by_tap).reshape(-1).view(np.uint8)
    if rows.shape[1] > _MOST_TAPS_W4:
        raise ExportError(
            f"layer {layer.name!r} has {rows.shape[1]} taps of 4 bits; the kernel adds up at most {_MOST_TAPS_W4}: "
            "use 8 bits there"
        )
    nibbles = _padded(rows, GROUP_BYTES, 2).view(np.uint8) & 15
    # channel 0..3, pair of taps, tap of the pair
    blocks = nibbles.reshape(len(nibbles) // GROUP_BYTES, GROUP_BYTES, -1, 2)
    high_low = (blocks[:, 0::2] << 4) | blocks[:, 1::2]
    # block, pair of taps, channels 01 or 23, second tap first
    return np.ascontiguousarray(high_low.transpose(0, 2, 1, 3)[..., ::-1]).reshape(-1)
