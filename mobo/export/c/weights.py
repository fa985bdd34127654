"""Weights in the order the C kernels read them, and the output stage of every channel."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from envs.compression.integer.fixed_point import reduced_mantissas
from envs.compression.integer.network import INT8_MAX, INT8_MIN, INT16_MAX, QuantisedNetwork
from hw_models.generated_c import BLOCK_WEIGHTS, GROUP_ELEMENTS, Packing, round_up
from hw_models.graph.layer_graph import DepthwiseConv2D, Pool2D, Reshape, WeightLayer
from mobo.export.errors import ExportError

Bytes = npt.NDArray[np.uint8]

_OFFSET_W4 = 8
_NARROW_BOUND = 2**30
_NARROW_SHIFTS = range(1, 23)
_NARROW_BOUND_INT16 = 2**31
_NARROW_SHIFTS_INT16 = range(1, 31)
# The output stage of int16 drops so many bits of a product at once.
_DROPPED_BITS = 16
_GROUP_ORDER_INT16 = (0, 2, 1, 3)
_LARGE_BIASES = "its biases are too large for its weights: train it longer or with weight decay"
# Sums of 4-bit depthwise products are kept 4096 times too large, in 32 bits.
_MOST_TAPS_W4 = 2**31 // (4096 * 8 * 128) - 1


@dataclass(frozen=True, eq=False)
class OutputStage:
    """What turns a layer's accumulators into its outputs.

    Attributes:
        biases: With the input's zero point folded in, one per channel.
        mantissas: Of the multipliers; for int16 those of 16 bits.
        shifts: Right shifts of the multipliers; for int16 what is left of them after 16 bits of a product were dropped.
        wide: Whether a channel is beyond the bounds of the fast output stage, for int16 also: of 32-bit accumulators.
    """

    biases: npt.NDArray[np.int64]
    mantissas: npt.NDArray[np.int64]
    shifts: npt.NDArray[np.int64]
    wide: bool


def output_stage(network: QuantisedNetwork, layer: WeightLayer) -> OutputStage:
    """Return the output stage of a layer.

    Raises:
        ExportError: An accumulator could exceed what the kernels hold.
    """
    return _stage_int16(network, layer) if layer.output_bits == 16 else _stage_int8(network, layer)


def _stage_int8(network: QuantisedNetwork, layer: WeightLayer) -> OutputStage:
    weights = network.weights[layer.name]
    rows = _rows(layer, weights.values).astype(np.int64)
    biases = weights.bias.astype(np.int64) - network.tensors[layer.inputs[0]].zero_point * rows.sum(axis=1)
    bound = np.abs(biases) + np.abs(rows).sum(axis=1) * 128
    _check_bound(layer, int(bound.max()), 31, _LARGE_BIASES)
    mantissas, left_shifts = network.multipliers(layer.name)
    shifts = -left_shifts
    narrow = bool(
        bound.max() < _NARROW_BOUND
        and shifts.min() in _NARROW_SHIFTS
        and shifts.max() in _NARROW_SHIFTS
        and network.activation_range(layer.name) == (INT8_MIN, INT8_MAX)
    )
    return OutputStage(biases, mantissas, shifts, not narrow)


def _stage_int16(network: QuantisedNetwork, layer: WeightLayer) -> OutputStage:
    weights = network.weights[layer.name]
    products = _largest_sums(_rows(layer, weights.values).astype(np.int64), *_range(network, layer.inputs[0]))
    if isinstance(layer, DepthwiseConv2D):
        # Its kernel adds up products in 32 bits whatever the bias.
        _check_bound(layer, int(products.max()), 31, "its window is too large for 16 bits: give it 8-bit activations")
    bound = products + np.abs(weights.bias)
    _check_bound(layer, int(bound.max()), 47, _LARGE_BIASES)
    mantissas, left_shifts = network.multipliers(layer.name)
    shifts = 15 - left_shifts - _DROPPED_BITS
    narrow = bool(
        bound.max() < _NARROW_BOUND_INT16
        and shifts.min() in _NARROW_SHIFTS_INT16
        and shifts.max() in _NARROW_SHIFTS_INT16
        and network.activation_range(layer.name)[1] == INT16_MAX
    )
    return OutputStage(weights.bias, reduced_mantissas(mantissas), shifts, not narrow)


def _range(network: QuantisedNetwork, tensor: str) -> tuple[int, int]:
    """Return the least and largest value an int16 tensor can hold: none below 0 behind a ReLU."""
    layer = network.graph.layer(tensor)
    if isinstance(layer, Pool2D | Reshape):
        return _range(network, layer.inputs[0])
    return network.activation_range(tensor)


def _largest_sums(rows: npt.NDArray[np.int64], low: int, high: int) -> npt.NDArray[np.int64]:
    """Return a bound on the magnitude of each row's sum of products, and of every part of it, for inputs in a range."""
    positive, negative = np.maximum(rows, 0).sum(axis=1), np.maximum(-rows, 0).sum(axis=1)
    bound: npt.NDArray[np.int64] = np.maximum(positive * high - negative * low, negative * high - positive * low)
    return bound


def _check_bound(layer: WeightLayer, bound: int, bits: int, reason: str) -> None:
    if bound >= 2**bits:
        raise ExportError(f"layer {layer.name!r} can reach an accumulator of {bound}, beyond {bits + 1} bits; {reason}")


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
    if layer.weight_bits == 4:
        return _pairs_w4(rows)
    return _pairs_w8(rows, _GROUP_ORDER_INT16 if layer.output_bits == 16 else range(GROUP_ELEMENTS))


def packed(layer: WeightLayer, values: npt.NDArray[np.int8], packing: Packing) -> Bytes:
    """Return a layer's weights as the bytes of its C array, packed at the width they are stored with.

    Every part of the weights that is unpacked at once lies in blocks of its own, as ``mobo_unpack.c`` reads them: the
    bytes of :func:`arranged` with fewer bits.

    Raises:
        ExportError: A weight is beyond the stored width, or as :func:`arranged`.
    """
    half = 1 << packing.bits - 1
    if np.abs(values).max(initial=0) >= half:
        raise ExportError(
            f"layer {layer.name!r} holds the weight {np.abs(values).max()}; of {packing.bits} stored bits the largest "
            f"is {half - 1}"
        )
    axis = values.ndim - 1 if isinstance(layer, DepthwiseConv2D) else 0
    tiles = np.split(values, range(packing.channels, values.shape[axis], packing.channels), axis)
    return np.concatenate([_blocks(_fields(layer, tile), layer.weight_bits, packing.bits) for tile in tiles])


def _fields(layer: WeightLayer, values: npt.NDArray[np.int8]) -> npt.NDArray[np.int64]:
    """Return the weights of some channels one by one in the order of the arranged bytes, the low half of each first."""
    if layer.weight_bits == 8:
        return arranged(layer, values).view(np.int8).astype(np.int64)
    if isinstance(layer, DepthwiseConv2D):
        halves = _halves(arranged(layer, values))
        return np.where(halves < 8, halves, halves - 16)
    # Padding is a weight of 0 here, stored plus 8 like all others.
    padded = _padded(values.reshape(len(values), -1), 2, GROUP_ELEMENTS)
    return np.stack([padded[0::2], padded[1::2]], axis=-1).reshape(-1).astype(np.int64)


def _halves(found: Bytes) -> npt.NDArray[np.int64]:
    return np.stack([found & 15, found >> 4], axis=-1).reshape(-1).astype(np.int64)


def _blocks(weights: npt.NDArray[np.int64], field: int, bits: int) -> Bytes:
    """Return weights in blocks: words of the low bits of all, four or two each, then words of the top ones."""
    codes = np.pad(weights, (0, -len(weights) % BLOCK_WEIGHTS)) + (1 << bits - 1)
    # Block, word of fields, field of the word.
    words = codes.reshape(-1, field, BLOCK_WEIGHTS // field).astype(np.uint32)
    low = 4 if bits > 4 else 2
    planes = [_plane(words & np.uint32((1 << low) - 1), field, low)]
    if bits > low:
        planes.append(_plane(words >> np.uint32(low), field, bits - low))
    return np.ascontiguousarray(np.concatenate(planes, axis=1).astype("<u4")).view(np.uint8).reshape(-1)


def _plane(parts: npt.NDArray[np.uint32], field: int, width: int) -> npt.NDArray[np.uint32]:
    """Return some bits of every field: ``field // width`` words of fields share a word, one above the other."""
    by_word = parts.reshape(len(parts), width, field // width, -1).astype(np.uint64)
    above = (width * np.arange(field // width, dtype=np.uint64))[:, None]
    beside = field * np.arange(by_word.shape[-1], dtype=np.uint64)
    summed: npt.NDArray[np.uint32] = (by_word << (above + beside)).sum(axis=(2, 3)).astype(np.uint32)
    return summed


def _padded(rows: npt.NDArray[np.int8], row_multiple: int, column_multiple: int) -> npt.NDArray[np.int8]:
    height, width = round_up(rows.shape[0], row_multiple), round_up(rows.shape[1], column_multiple)
    return np.pad(rows, ((0, height - rows.shape[0]), (0, width - rows.shape[1])))


def _pairs_w8(rows: npt.NDArray[np.int8], order: Sequence[int]) -> Bytes:
    """Per pair of rows and group: the four of the first row in some order, the four of the second."""
    padded = _padded(rows, 2, GROUP_ELEMENTS)
    pairs = padded.reshape(len(padded) // 2, 2, -1, GROUP_ELEMENTS).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(pairs[..., list(order)]).reshape(-1).view(np.uint8)


def _pairs_w4(rows: npt.NDArray[np.int8]) -> Bytes:
    """Per pair of rows one byte per element, plus 8: the first row low, the second high; padding counts nothing."""
    offset = _padded((rows + _OFFSET_W4).astype(np.int8), 2, GROUP_ELEMENTS).astype(np.uint8)
    packed: Bytes = (offset[0::2] | (offset[1::2] << 4)).astype(np.uint8)
    return packed.reshape(-1)


def _depthwise(layer: DepthwiseConv2D, rows: npt.NDArray[np.int8]) -> Bytes:
    if layer.weight_bits == 8:
        padded = _padded(rows, GROUP_ELEMENTS, 1)
        by_tap = padded.reshape(len(padded) // GROUP_ELEMENTS, GROUP_ELEMENTS, -1).transpose(0, 2, 1)
        return np.ascontiguousarray(by_tap).reshape(-1).view(np.uint8)
    if rows.shape[1] > _MOST_TAPS_W4:
        raise ExportError(
            f"layer {layer.name!r} has {rows.shape[1]} taps of 4 bits; the kernel adds up at most {_MOST_TAPS_W4}: "
            "use 8 bits there"
        )
    nibbles = _padded(rows, GROUP_ELEMENTS, 2).view(np.uint8) & 15
    # channel 0..3, pair of taps, tap of the pair
    blocks = nibbles.reshape(len(nibbles) // GROUP_ELEMENTS, GROUP_ELEMENTS, -1, 2)
    high_low = (blocks[:, 0::2] << 4) | blocks[:, 1::2]
    # block, pair of taps, channels 01 or 23, second tap first
    return np.ascontiguousarray(high_low.transpose(0, 2, 1, 3)[..., ::-1]).reshape(-1)
