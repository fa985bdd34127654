"""How often the kernels of the generated C do what, and what they store: the terms of the runtime ``mobo-c``.

The counts follow the loops of ``mobo/export/c``; that folder's README describes the kernels. For a window of
``kh x kw`` on ``ci`` channels producing ``oh x ow x co``:

- Convolutions compute two positions times two channels at once: ``group_pairs`` steps of four products for each of the
  four, in ``group_loops`` of two, for ``row_pairs`` pairs of channels, ``position_pairs`` times. ``stored`` outputs (an
  odd last position is computed twice). Windows larger than 1x1 are copied: ``copied_rows`` rows inside the map, of
  which ``short_bytes`` (fewer than 16 at once, or unaligned) and ``long_bytes``; ``filled_rows`` with ``filled_bytes``
  outside. A 4-bit kernel adds up its inputs once per position: ``summed_groups`` of four and ``summed_left``.
- Dense layers compute four channels at once (``quads``, ``quad_groups``, ``quad_loops``), the last ones by two.
- Depthwise layers compute four channels at once: ``full_blocks`` of four, ``part_blocks`` of the rest, whose channels
  are ``slow_stored``; ``tap_blocks`` products for all four, in loops of two or three (``tap_pairs``,
  ``tap_triples``), after ``found_taps`` pointers in ``found_rows`` rows.
- Poolings read ``elements_by_4`` and ``elements_left`` in ``pool_rows`` rows for ``pool_blocks`` and ``pool_left``
  outputs at ``positions`` positions.
- Element-wise kernels and softmax: ``elements``; padding and concatenation copy these in ``rows``.

Of a layer that runs patch by patch (``hw_models/graph/patches.py``) every patch is a call with the counts of its rows.

``call`` is 1. ``weight_bytes`` and ``channel_bytes`` are what a layer's constants take: rows of weights padded to
groups of four and to an even number; bias, multiplier and shift per channel.

Where weights are stored with fewer bits than they are computed with, and that saves flash (:func:`packing`), a kernel
unpacks as many channels as fit a small buffer (``unpack_bytes``) and computes all positions with them before the next
ones: ``tiles`` of channels, each with the work per position anew, and ``blocks_<bits>`` of 32 weights in all. A dense
layer unpacks a part of two rows at a time; its ``tiles`` are these parts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from hw_models.graph.layer_graph import (
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    WeightLayer,
)
from hw_models.graph.patches import rows_read
from hw_models.graph.windows import Shape, pad_before

GROUP_ELEMENTS = 4
"""The kernels read inputs and weights in groups of this many."""

_WORD_BYTES = 4
_ROW_COUNT_BYTES = 2
# What the loop over patches and the calls in it take as code, on the M3 and M4 by clang; on the M0 it is about three
# quarters of that.
_PATCH_CODE_BYTES, _PATCHED_LAYER_CODE_BYTES = 64, 64
_USUAL_BITS = 8
# Stand for the tensors whose zero point is known without their scale; no layer is called like that.
_RELU, _ZERO = "<relu>", "<zero>"
_SHORT_COPY_BYTES = 16

PACKED_BITS = (2, 3, 5, 6)
"""The widths that the kernels unpack."""
BLOCK_WEIGHTS = 32
"""Weights are packed and unpacked so many at a time."""
_TILE_BYTES = 1024
_DENSE_BLOCKS = 4
# What the description of a packed layer takes beside that of a plain one: a function, and a number of channels.
_PACKED_BYTES = {"conv2d": 8, "depthwise_conv2d": 8, "dense": 4}
_MOST_COLUMN = 2**16 - GROUP_ELEMENTS

Terms = Mapping[str, int]

GENERATED_C_INNER_TERMS = frozenset({"group_pairs", "group_loops", "quad_groups", "quad_loops", "tap_blocks"})
"""The terms of the innermost loops."""

_STORED = frozenset({"call", "weight_bytes", "channel_bytes"})
_COPIED = frozenset({"copied_rows", "short_bytes", "long_bytes", "filled_rows", "filled_bytes"})
_CONVOLVED = frozenset(
    {"group_pairs", "group_loops", "row_pairs", "position_pairs", "stored", "summed_groups", "summed_left"}
)
_POOLED = frozenset({"call", "elements_by_4", "elements_left", "pool_rows", "pool_blocks", "pool_left", "positions"})
_CALLED = frozenset({"call"})
GENERATED_C_PACKED_TERMS = frozenset({"tiles", "unpack_bytes", *(f"blocks_{bits}" for bits in PACKED_BITS)})
"""The terms of layers whose weights are unpacked."""

GENERATED_C_TERMS: Mapping[str, frozenset[str]] = {
    "conv_kxk": _STORED | GENERATED_C_PACKED_TERMS | _CONVOLVED | _COPIED,
    "conv_1x1": _STORED | GENERATED_C_PACKED_TERMS | _CONVOLVED,
    "depthwise": _STORED | GENERATED_C_PACKED_TERMS | {
        "full_blocks", "part_blocks", "tap_blocks", "tap_pairs", "tap_triples", "positions", "found_taps", "found_rows",
        "slow_stored",
    },
    "dense": _STORED | GENERATED_C_PACKED_TERMS | {
        "quads", "quad_groups", "quad_loops", "row_pairs", "group_pairs", "group_loops", "outputs", "summed_groups",
        "summed_left",
    },
    "average_pool": _POOLED,
    "max_pool": _POOLED,
    "add": _CALLED,
    "softmax": _CALLED,
    "reshape": _CALLED,
    "activation": _CALLED,
    "pad": _CALLED | {"rows"},
    "concatenate": _CALLED | {"rows"},
    "product": _CALLED,
    "lookup": _CALLED,
}  # fmt: skip
"""The terms each kernel has beside those of CMSIS-NN's."""


COUNTED_APART = frozenset({"pad", "concatenate", "product", "lookup"})
"""The kernels that were counted with another compiler than the others."""


def round_up(value: int, multiple: int = _WORD_BYTES) -> int:
    """Return the smallest multiple that is not below a value."""
    return -(-value // multiple) * multiple


def zero_point_bytes(graph: LayerGraph) -> int:
    """Return what the arrays of zero points take that depthwise windows read outside the map.

    Layers with the same zero point and width share one as long as the widest needs; outputs of a ReLU all have the
    same, and so have all of 16 bits.
    """
    lengths: dict[str, int] = {}
    for layer in graph.layers:
        if isinstance(layer, DepthwiseConv2D):
            source = _scaled_by(graph, layer.inputs[0]) if layer.output_bits == _USUAL_BITS else _ZERO
            elements = graph.shapes[layer.name][2] + GROUP_ELEMENTS - 1
            lengths[source] = max(lengths.get(source, 0), round_up(elements * _element_bytes(layer)))
    return sum(lengths.values())


def patch_bytes(graph: LayerGraph) -> int:
    """Return what patches add to the flash: rows of every patch per layer, exactly, and code, about."""
    if graph.patches is None:
        return 0
    code = _PATCH_CODE_BYTES + _PATCHED_LAYER_CODE_BYTES * graph.patched_count
    # Rows read, made and above, and for every input the rows left out.
    columns = (3 + len(layer.inputs) for layer in graph.layers[: graph.patched_count])
    return code + sum(round_up(_ROW_COUNT_BYTES * len(graph.patch_rows) * count) for count in columns)


def _scaled_by(graph: LayerGraph, name: str) -> str:
    """Return what tells a tensor's zero point: the tensor whose scale it keeps, or that it comes from a ReLU."""
    if name not in {layer.name for layer in graph.layers}:
        return name
    layer = graph.layer(name)
    if isinstance(layer, Pool2D | Reshape | Pad):
        return _scaled_by(graph, layer.inputs[0])
    if isinstance(layer, Quantize):
        return _RELU if _scaled_by(graph, layer.inputs[0]) == _RELU else name
    activation: str = getattr(layer, "activation", "none")
    return _RELU if activation in ("relu", "relu6", "hard_sigmoid") else name


def _element_bytes(layer: Layer) -> int:
    return layer.output_bits // 8


@dataclass(frozen=True)
class Packing:
    """How the weights of one layer lie in flash at their stored width.

    Attributes:
        bits: The stored width.
        channels: Channels that are unpacked at once; of a dense layer the two rows of which parts are.
        tiles: How often weights are unpacked.
        blocks: All blocks of weights.
        scratch_bytes: Room for what is unpacked at once.
    """

    bits: int
    channels: int
    tiles: int
    blocks: int
    scratch_bytes: int

    @property
    def flash_bytes(self) -> int:
        """What the packed weights take."""
        return self.blocks * BLOCK_WEIGHTS * self.bits // 8


def packing(layer: Layer, inputs: Sequence[Shape], output: Shape) -> Packing | None:
    """Return how a layer's weights are packed.

    Args:
        layer: The layer.
        inputs: The shapes it reads.
        output: The shape it produces.

    Returns:
        None where they lie as they are computed with: no stored width, activations of 16 bits, or no flash to save.
    """
    if not isinstance(layer, Conv2D | Dense | DepthwiseConv2D) or layer.stored_bits not in PACKED_BITS:
        return None
    if layer.output_bits != _USUAL_BITS or layer.stored_bits >= layer.weight_bits:
        return None
    found = _packing(layer, layer.stored_bits, inputs[0], output[2])
    plain = _constants(layer, output[2], _row(layer, inputs[0]))["weight_bytes"]
    saves = found.flash_bytes + _PACKED_BYTES[layer.kind] < plain
    return found if saves and _row(layer, inputs[0]) <= _MOST_COLUMN else None


def _row(layer: WeightLayer, source: Shape) -> int:
    """Return the weights of one output channel."""
    if isinstance(layer, DepthwiseConv2D):
        return prod(layer.kernel)
    return prod(layer.kernel) * source[2] if isinstance(layer, Conv2D) else prod(source)


def _packing(layer: WeightLayer, bits: int, source: Shape, channels: int) -> Packing:
    block_bytes = BLOCK_WEIGHTS * layer.weight_bits // 8
    if isinstance(layer, DepthwiseConv2D):
        together, weights = GROUP_ELEMENTS, GROUP_ELEMENTS * round_up(_row(layer, source), 8 // layer.weight_bits)
    else:
        together, weights = 2, 2 * round_up(_row(layer, source))
    units = -(-channels // together)
    if isinstance(layer, Dense):
        blocks = _blocks(weights)
        at_once = min(blocks, _DENSE_BLOCKS)
        return Packing(bits, 2, units * -(-blocks // _DENSE_BLOCKS), units * blocks, at_once * block_bytes)
    most = max(1, _TILE_BYTES * 8 // layer.weight_bits // weights)
    # As few tiles as possible, and of one size as far as possible, for the smallest buffer.
    size = -(-units // -(-units // most))
    tiles, left = divmod(units, size)
    blocks = tiles * _blocks(size * weights) + _blocks(left * weights)
    return Packing(bits, size * together, tiles + (left > 0), blocks, _blocks(size * weights) * block_bytes)


def _blocks(weights: int) -> int:
    return -(-weights // BLOCK_WEIGHTS)


def generated_c_terms(layer: Layer, inputs: Sequence[Shape], output: Shape, rows: range | None = None) -> Terms:
    """Return the counts of a layer; a layer without a kernel in C has a call and nothing else.

    Args:
        layer: The layer.
        inputs: The shapes it reads.
        output: The shape it produces.
        rows: The rows of the output that one call computes; None for all.
    """
    rows = range(output[0]) if rows is None else rows
    counter = next((count for kind, count in _COUNTERS.items() if isinstance(layer, kind)), None)
    terms = {"call": 1, **(counter(layer, inputs[0], output, rows) if counter is not None else {})}
    packed = packing(layer, inputs, output)
    return terms if packed is None else _packed_terms(layer, terms, packed)


def _packed_terms(layer: Layer, terms: Terms, packed: Packing) -> Terms:
    """Return the counts of a layer whose weights are unpacked, from those of the same layer with plain weights."""
    again = {name: count * packed.tiles for name, count in terms.items() if name in _PER_TILE}
    if isinstance(layer, Dense):
        pairs = -(-terms["outputs"] // 2)
        groups = terms["summed_groups"] + (terms["summed_left"] > 0)
        again = {"quads": 0, "quad_groups": 0, "quad_loops": 0, "row_pairs": pairs}
        again |= {"group_pairs": pairs * groups, "group_loops": pairs * (groups // 2)}
        again |= {"summed_groups": groups, "summed_left": 0}
    elif isinstance(layer, Conv2D):
        # A sum of inputs goes up to the end of the last group.
        last = terms["summed_left"] > 0
        again |= {"summed_groups": again["summed_groups"] + last * 2 * again["position_pairs"], "summed_left": 0}
    return {
        **terms,
        **again,
        "weight_bytes": packed.flash_bytes + _PACKED_BYTES[layer.kind],
        "tiles": packed.tiles,
        "unpack_bytes": packed.scratch_bytes,
        **{f"blocks_{bits}": packed.blocks if bits == packed.bits else 0 for bits in PACKED_BITS},
    }


def _conv2d(layer: Conv2D, source: Shape, output: Shape, rows: range) -> Terms:
    column, positions = prod(layer.kernel) * source[2], len(rows) * output[1]
    pairs, channels, groups = -(-positions // 2), -(-output[2] // 2), -(-column // GROUP_ELEMENTS)
    terms = {
        "group_pairs": pairs * channels * groups,
        "group_loops": pairs * channels * (groups // 2),
        "row_pairs": pairs * channels,
        "position_pairs": pairs,
        "stored": 2 * pairs * output[2],
        "summed_groups": 2 * pairs * (column // GROUP_ELEMENTS),
        "summed_left": 2 * pairs * (column % GROUP_ELEMENTS),
        **_constants(layer, output[2], column),
    }
    return terms if layer.kernel == (1, 1) else {**terms, **_copies(layer, source, output, rows)}


def _copies(layer: Conv2D, source: Shape, output: Shape, rows: range) -> Terms:
    heights = _inside(layer, source, output, 0)[rows.start : rows.stop]
    columns = _inside(layer, source, output, 1)
    # Windows of one row are copied only where they reach beyond the map.
    copied = columns if layer.kernel[0] > 1 else [inside for inside in columns if inside < layer.kernel[1]]
    copied_rows, all_rows = sum(heights) * len(copied), len(rows) * layer.kernel[0] * len(copied)
    pixel_bytes = source[2] * _element_bytes(layer)
    copied_bytes = sum(heights) * sum(copied) * pixel_bytes
    is_short = layer.kernel[1] * pixel_bytes < _SHORT_COPY_BYTES or pixel_bytes % _WORD_BYTES != 0
    return {
        "copied_rows": copied_rows,
        "short_bytes": copied_bytes if is_short else 0,
        "long_bytes": 0 if is_short else copied_bytes,
        "filled_rows": all_rows - copied_rows,
        "filled_bytes": all_rows * layer.kernel[1] * pixel_bytes - copied_bytes,
    }


def _depthwise(layer: DepthwiseConv2D, source: Shape, output: Shape, rows: range) -> Terms:
    taps, positions, channels = prod(layer.kernel), len(rows) * output[1], output[2]
    blocks = positions * -(-channels // GROUP_ELEMENTS)
    return {
        "full_blocks": positions * (channels // GROUP_ELEMENTS),
        "part_blocks": positions * (channels % GROUP_ELEMENTS > 0),
        "tap_blocks": blocks * taps,
        "tap_pairs": blocks * -(-taps // 2),
        "tap_triples": blocks * (taps // 3),
        "positions": positions,
        "found_taps": positions * taps,
        "found_rows": positions * layer.kernel[0],
        "slow_stored": positions * (channels % GROUP_ELEMENTS),
        **_constants(layer, channels, taps),
    }


def _dense(layer: Dense, source: Shape, output: Shape, rows: range) -> Terms:
    length, groups = prod(source), -(-prod(source) // GROUP_ELEMENTS)
    quads, pairs = output[2] // GROUP_ELEMENTS, -(-(output[2] % GROUP_ELEMENTS) // 2)
    return {
        "quads": quads,
        "quad_groups": quads * groups,
        "quad_loops": quads * (groups // 2),
        "row_pairs": pairs,
        "group_pairs": pairs * groups,
        "group_loops": pairs * (groups // 2),
        "outputs": output[2],
        "summed_groups": length // GROUP_ELEMENTS,
        "summed_left": length % GROUP_ELEMENTS,
        **_constants(layer, output[2], length),
    }


def _pool(layer: Pool2D, source: Shape, output: Shape, rows: range) -> Terms:
    heights = _inside(layer, source, output, 0)[rows.start : rows.stop]
    columns, positions = _inside(layer, source, output, 1), len(rows) * output[1]
    blocks, left = divmod(output[2], GROUP_ELEMENTS)
    return {
        "elements_by_4": sum(heights) * sum(columns) * blocks,
        "elements_left": sum(heights) * sum(columns) * left,
        "pool_rows": sum(heights) * len(columns) * (blocks + left),
        "pool_blocks": positions * blocks,
        "pool_left": positions * left,
        "positions": positions,
    }


# What a tile of channels does anew.
_PER_TILE = _COPIED | {"position_pairs", "summed_groups", "summed_left", "positions", "found_taps", "found_rows"}
_COUNTERS: Mapping[type[Layer], Callable[..., Terms]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    Dense: _dense,
    Pool2D: _pool,
    Pad: lambda layer, source, output, rows: {"rows": len(rows_read(layer, rows, source, output))},
    Concatenate: lambda layer, source, output, rows: {"rows": len(rows) * output[1] * len(layer.inputs)},
}


def _inside(layer: Conv2D | Pool2D, source: Shape, output: Shape, axis: int) -> list[int]:
    """Return for every window along an axis how much of it lies inside the map."""
    kernel, stride, size = layer.kernel[axis], layer.stride[axis], source[axis]
    first = -pad_before(size, kernel, stride, output[axis], layer.padding)
    starts = range(first, first + output[axis] * stride, stride)
    return [min(start + kernel, size) - max(start, 0) for start in starts]


def _constants(layer: WeightLayer, channels: int, row: int) -> Terms:
    if isinstance(layer, DepthwiseConv2D):
        weights = round_up(channels) * (row if layer.weight_bits != 4 else round_up(row, 2) // 2)
    else:
        weights = round_up(channels, 2) * round_up(row) * layer.weight_bits // 8
    return {"weight_bytes": weights, "channel_bytes": 8 * round_up(channels, 2) + round_up(channels)}
