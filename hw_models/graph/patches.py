"""Running the first layers of a network patch by patch: which rows of every tensor each patch needs.

A patch is some whole rows of one tensor, the cut, up to which the layers run once per patch. Only the cut and the
network's input are ever kept whole; of every tensor between them a patch needs the rows that its windows reach, and
computes them anew where the windows of the next patch reach them, too. Rows outside the map are none: they stay the
padding that they are, so every value is that of the whole network.

Patches of whole rows lie in memory in one piece, so kernels read them out of the input and write them into the cut
where they lie, and nothing is recomputed at their sides.

Source: Lin et al., "MCUNetV2: Memory-Efficient Patch-based Inference for Tiny Deep Learning", NeurIPS 2021.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hw_models.graph.layers import (
    ActivationLayer,
    Add,
    Concatenate,
    Conv2D,
    DepthwiseConv2D,
    Elementwise,
    GraphError,
    Layer,
    Pad,
    Pool2D,
    Quantize,
)
from hw_models.graph.windows import Shape, pad_before

_ROW_BY_ROW = (ActivationLayer, Add, Elementwise, Quantize)
_CHANNEL_AXIS = 2


@dataclass(frozen=True)
class Patches:
    """How the first layers run patch by patch.

    Attributes:
        cut: The tensor that is computed in patches: name of the last layer that runs once per patch.
        rows: Rows of the cut per patch; the last patch has what is left.
    """

    cut: str
    rows: int


RowsByTensor = Mapping[str, range]
"""The rows that one patch needs of every tensor up to the cut, by name."""


def patch_rows(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], inputs: Sequence[str], patches: Patches
) -> tuple[RowsByTensor, ...]:
    """Return the rows that every patch needs.

    Args:
        layers: All layers of the network.
        shapes: Shapes of all tensors.
        inputs: Names of the network's inputs.
        patches: How they run.

    Raises:
        GraphError: The layers cannot run like that.
    """
    prefix = _prefix(layers, shapes, inputs, patches)
    height = shapes[patches.cut][0]
    return tuple(
        _needed(prefix, shapes, {patches.cut: range(first, min(first + patches.rows, height))})
        for first in range(0, height, patches.rows)
    )


def possible_patches(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], inputs: Sequence[str], *, counts: Sequence[int] | None = None
) -> Iterator[Patches]:
    """Yield every cut with every number of patches, the fewest first; of equal numbers those of the fewest rows.

    Args:
        layers: All layers of the network.
        shapes: Shapes of all tensors.
        inputs: Names of the network's inputs.
        counts: The numbers of patches to look at; None for all.
    """
    for layer in layers:
        if not splits(layer, [shapes[name] for name in layer.inputs]):
            return
        height = shapes[layer.name][0]
        for rows in sorted({-(-height // count) for count in range(2, height + 1)}, reverse=True):
            if counts is not None and -(-height // rows) not in counts:
                continue
            patches = Patches(layer.name, rows)
            try:
                patch_rows(layers, shapes, inputs, patches)
            except GraphError:
                continue
            yield patches


def splits(layer: Layer, sources: Sequence[Shape]) -> bool:
    """Return whether some rows of a layer's output can be computed without the others.

    Args:
        layer: The layer.
        sources: The shapes it reads.
    """
    if isinstance(layer, Conv2D | DepthwiseConv2D):
        return layer.dilation == (1, 1)
    if isinstance(layer, Concatenate):
        return layer.axis == _CHANNEL_AXIS
    if isinstance(layer, Elementwise):
        return len(sources) > 1 and len(set(sources)) == 1
    return isinstance(layer, Pool2D | Pad | ActivationLayer | Add | Quantize)


def rows_read(layer: Layer, rows: range, source: Shape, output: Shape) -> range:
    """Return the rows that a layer reads of an input for some rows of its output; they can be none under a padding.

    Args:
        layer: A layer that :func:`splits`.
        rows: Rows of its output.
        source: Shape of the input.
        output: Shape of its whole output.
    """
    if isinstance(layer, Pad):
        first, end = rows.start - layer.before[0], rows.stop - layer.before[0]
    elif isinstance(layer, Conv2D | DepthwiseConv2D | Pool2D):
        kernel, stride = layer.kernel[0], layer.stride[0]
        pad = pad_before(source[0], kernel, stride, output[0], layer.padding)
        first, end = rows.start * stride - pad, (rows.stop - 1) * stride - pad + kernel
    else:
        return rows
    return range(max(first, 0), min(end, source[0]))


def rows_above(layer: Layer, rows: range, source: Shape, output: Shape) -> int:
    """Return how many rows of padding some rows of a layer's output reach above its input; as :func:`rows_read`."""
    if isinstance(layer, Pad):
        return max(layer.before[0] - rows.start, 0)
    if not isinstance(layer, Conv2D | DepthwiseConv2D | Pool2D):
        return 0
    pad = pad_before(source[0], layer.kernel[0], layer.stride[0], output[0], layer.padding)
    return max(pad - rows.start * layer.stride[0], 0)


def _prefix(
    layers: Sequence[Layer], shapes: Mapping[str, Shape], inputs: Sequence[str], patches: Patches
) -> tuple[Layer, ...]:
    names = [layer.name for layer in layers]
    if patches.cut not in names:
        raise GraphError(f"the patches end at {patches.cut!r}, which is no layer; name one of {', '.join(names)}")
    count = names.index(patches.cut) + 1
    prefix, behind, height = tuple(layers[:count]), layers[count:], shapes[patches.cut][0]
    if not 1 <= patches.rows < height:
        raise GraphError(
            f"patches of {patches.rows} rows of {patches.cut!r}, which has {height}: "
            + (f"take 1 to {height - 1}" if height > 1 else "there is nothing to split, end them at an earlier layer")
        )
    whole = next((layer for layer in prefix if not splits(layer, [shapes[name] for name in layer.inputs])), None)
    if whole is not None:
        raise GraphError(
            f"layer {whole.name!r} ({whole.kind}) cannot run patch by patch: rows of its output need more than some "
            "rows of its inputs; end the patches at an earlier layer"
        )
    kept = {*inputs, patches.cut}
    inner = {layer.name for layer in prefix} - kept
    for layer in behind:
        if inner.intersection(layer.inputs):
            needed = sorted(inner.intersection(layer.inputs))[0]
            raise GraphError(
                f"layer {layer.name!r} reads {needed!r} behind the cut {patches.cut!r}, so that tensor is needed "
                "whole: end the patches where only one tensor is read on"
            )
    unread = inner - {name for layer in prefix for name in layer.inputs}
    if unread:
        raise GraphError(f"nobody reads {sorted(unread)[0]!r}, which no patch can tell rows of; leave it out")
    return prefix


def _needed(prefix: Sequence[Layer], shapes: Mapping[str, Shape], needed: dict[str, range]) -> RowsByTensor:
    for layer in reversed(prefix):
        rows = needed[layer.name]
        for name in layer.inputs:
            read = rows_read(layer, rows, shapes[name], shapes[layer.name])
            if not read:
                raise GraphError(
                    f"a patch of rows {rows.start} to {rows.stop - 1} of {layer.name!r} is padding alone; take patches "
                    "of more rows"
                )
            known = needed.get(name, read)
            needed[name] = range(min(known.start, read.start), max(known.stop, read.stop))
    return needed
