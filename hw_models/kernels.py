"""Which kernel runs a layer, and how often it does what: the structure every cost form is linear in.

A runtime file gives coefficients, this module gives the counts they are multiplied with; it knows no fitted number. The
same counts serve instructions, scratch memory and the fitting script, so that what was fitted is what is predicted.

Counts ("terms"), for a kernel of ``kh x kw`` on ``ci`` channels producing ``oh x ow x co``; a column has ``kh*kw*ci``
elements:

- ``conv_kxk`` (convolutions that need im2col): ``macs_by_4`` and ``macs_left``: the inner loop takes four products at a
  time, a column that is no multiple of four leaves ``column % 4`` products per output to a slow loop; this is where
  channel alignment shows. ``outputs``; ``im2col``, the elements copied and widened to 16 bits (every output position
  has its column copied once); ``column``, ``column_by_4``, ``column_by_16``, the column rounded up.
- ``conv_1x1`` (any stride): ``macs``, ``outputs``, ``strided_outputs`` (the outputs if the stride is not 1).
- ``depthwise``: ``macs``, ``outputs``, ``positions`` (``oh*ow``), ``weights``, ``window`` (``kh*kw``), and
  ``other_macs``, ``other_weights``: the same as macs and weights, counted only where the kernel is not 3x3 (8-bit 3x3
  convolutions have a kernel of their own that needs no buffer).
- ``dense``: ``macs``, ``outputs``, ``call`` (1).
- ``average_pool``, ``max_pool``: ``window_elements``, the elements all windows read.
- ``depthwise_multiplied``, a depthwise convolution that gives several channels per input channel: ``macs``,
  ``outputs``, and ``other_macs``, counted only where these are no multiple of four, for which there is a loop of four.
- ``add``, ``softmax``, ``reshape``, ``activation``: ``elements`` of the output. Rearrangements count as ``reshape`` (a
  copy), quantisation as ``activation``, resizing and other element-wise operations as ``add``, maxima as the pooling of
  their whole input.
- ``mean``, means and sums along axes: ``window_elements``, the elements of the input. TFLM has a portable kernel that
  works out the place of every element anew; other engines pool.
- ``pad``, ``concatenate``, ``product``, ``lookup`` (activations by a table): ``elements`` of the output. Where a
  runtime has not counted them they are priced like the nearest kernel that it has: a copy, an addition, an activation.
- ``lstm``, ``svdf`` and ``transpose_conv``, which nobody has counted, have the products, outputs and calls of the dense
  layers and the convolution that they are priced like; ``log_softmax`` the elements of a softmax.

These are CMSIS-NN's; the terms of the generated C's kernels are in ``generated_c.py`` and stand beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from hw_models.decoding import Decoding, decoding
from hw_models.errors import HardwareModelError
from hw_models.generated_c import GENERATED_C_INNER_TERMS, GENERATED_C_TERMS, generated_c_terms, packing
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    LogSoftmax,
    Lstm,
    MaxPool2D,
    Pad,
    Pool2D,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Softmax,
    Svdf,
    TransposeConv2D,
    WeightLayer,
)
from hw_models.graph.layers import LSTM_GATES

Terms = Mapping[str, int]

OPERATOR_GROUP = "operator"
"""The timing group of the interpreter's work around every operator."""

GROUPS: tuple[str, ...] = (
    "conv_kxk", "conv_few_inputs", "conv_1d", "conv_1x1", "depthwise", "dense", "pool", "add", "other", OPERATOR_GROUP,
)  # fmt: skip
"""What engines differ in: kernels by the shapes that they treat alike. ``conv_few_inputs`` are ``kxk`` convolutions of
fewer than four input channels (first layers), ``conv_1d`` those whose kernel is one wide or high."""

INNER_TERMS = frozenset({"macs", "macs_by_4", "macs_left", "other_macs"}) | GENERATED_C_INNER_TERMS
"""The terms of the innermost loops; engines speed these up by another factor than the work per output."""

_FEW_INPUTS = 4
_USUAL_BITS = 8
_ANY_WIDTH = (
    "reshape",
    "activation",
    "pad",
    "concatenate",
    "lookup",
)  # they move or convert elements, at about the same cost whatever their width
_GROUPS_BY_KERNEL = {
    "conv_1x1": "conv_1x1", "depthwise": "depthwise", "dense": "dense", "average_pool": "pool", "max_pool": "pool",
    "add": "add", "softmax": "other", "reshape": "other", "activation": "other",
    "pad": "other", "concatenate": "other", "product": "add", "lookup": "other",
    "lstm": "dense", "svdf": "dense", "log_softmax": "other", "mean": "pool", "depthwise_multiplied": "depthwise",
}  # fmt: skip
_NEAREST = {
    "pad": "reshape", "concatenate": "reshape", "product": "add", "lookup": "activation", "lstm": "dense",
    "svdf": "dense", "transpose_conv": "conv_kxk", "log_softmax": "softmax", "mean": "average_pool",
    "depthwise_multiplied": "depthwise",
}  # fmt: skip
_BY_TABLE = ("leaky_relu", "hard_swish", "logistic", "tanh", "prelu")


class UnknownLayerError(HardwareModelError):
    """A layer that no kernel is known for: it would cost nothing if it were let through."""


@dataclass(frozen=True)
class KernelCall:
    """One call of one kernel.

    Attributes:
        kernel: Name of the kernel family, a key of a runtime's tables.
        weight_bits: Bit width of the weights, None for layers without.
        terms: How often the kernel does what, by the names of :data:`KERNEL_TERMS`.
        group: Which timing of a runtime applies, one of :data:`GROUPS`.
        activation_bits: Bit width of what it computes with; 8 for kernels that only move or convert.
        nearest: The kernel it is priced like where a runtime has not counted it; None for one that all have counted.
        packed_bits: Bit width of the weights in flash where an engine that packs them stores them with fewer than
            ``weight_bits``; None else.
        decoding: How TFLM's operator DECODE makes its weights where an engine has that; None for plain weights.
    """

    kernel: str
    weight_bits: int | None
    terms: Terms
    group: str
    activation_bits: int = 8
    nearest: str | None = None
    packed_bits: int | None = None
    decoding: Decoding | None = None

    @property
    def width(self) -> str:
        """Key of a runtime's tables for the bit widths: ``"w8"``, ``"w4"``, ``"w8a16"``, ``"none"``, ``"a16"``."""
        weights = "" if self.weight_bits is None else f"w{self.weight_bits}"
        activations = "" if self.activation_bits == _USUAL_BITS else f"a{self.activation_bits}"
        return weights + activations or "none"

    @property
    def packed_width(self) -> str | None:
        """Key of the tables of a runtime that packs such weights: ``"w8p"``, ``"w4p"``; None for plain ones."""
        return None if self.packed_bits is None else f"w{self.weight_bits}p"

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return sum(self.terms.get(term, 0) for term in ("macs", "macs_by_4", "macs_left"))


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple


def _conv(layer: Conv2D, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    outputs, positions = prod(output), output[0] * output[1]
    if layer.kernel == (1, 1):
        strided = outputs if layer.stride != (1, 1) else 0
        return "conv_1x1", {"macs": outputs * inputs[0][2], "outputs": outputs, "strided_outputs": strided}
    column = prod(layer.kernel) * inputs[0][2]
    return "conv_kxk", {
        "macs_by_4": outputs * (column - column % 4),
        "macs_left": outputs * (column % 4),
        "outputs": outputs,
        "im2col": positions * column,
        "taps": positions * prod(layer.kernel),
        "column": column,
        "column_by_4": _round_up(column, 4),
        "column_by_16": _round_up(column, 16),
    }


def _depthwise(layer: DepthwiseConv2D, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    window, outputs = prod(layer.kernel), prod(output)
    if layer.multiplier > 1:
        kernel, other = "depthwise_multiplied", layer.multiplier % 4 > 0
    else:
        kernel, other = "depthwise", layer.kernel != (3, 3)
    return kernel, {
        "macs": outputs * window,
        "outputs": outputs,
        "positions": output[0] * output[1],
        "other_macs": outputs * window * other,
        "other_weights": output[2] * window * other,
        "weights": output[2] * window,
        "window": window,
    }


def _dense(layer: Dense, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    return "dense", {"macs": prod(inputs[0]) * output[2], "outputs": output[2], "call": 1}


def _transpose_conv(layer: TransposeConv2D, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    positions, channels, taps = prod(inputs[0][:2]), inputs[0][2], prod(layer.kernel)
    windows = positions * taps * layer.out_channels
    column = taps * channels
    return "transpose_conv", {
        "macs_by_4": windows * (channels - channels % 4),
        "macs_left": windows * (channels % 4),
        "outputs": prod(output),
        "im2col": positions * column,
        "taps": positions * taps,
        "column": column,
        "column_by_4": _round_up(column, 4),
        "column_by_16": _round_up(column, 16),
    }


def _lstm(layer: Lstm, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    # Every gate is two products of a matrix and a vector: of the input and of the state.
    calls = 2 * LSTM_GATES * prod(inputs[0][:2])
    return "lstm", {"macs": layer.macs(inputs), "outputs": calls * layer.units, "call": calls}


def _svdf(layer: Svdf, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    return "svdf", {"macs": layer.macs(inputs), "outputs": layer.filters + layer.units, "call": 2}


def _pool(kernel: str) -> "_Counter":
    def count(layer: Pool2D, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
        return kernel, {"window_elements": prod(output) * prod(layer.kernel)}

    return count


def _elementwise(kernel: str) -> "_Counter":
    def count(layer: Layer, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
        return kernel, {"elements": prod(output)}

    return count


def _reduce(layer: Reduce, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    return "max_pool" if layer.operation in ("max", "min") else "mean", {"window_elements": prod(inputs[0])}


def _activation(layer: ActivationLayer, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    return "lookup" if layer.activation in _BY_TABLE else "activation", {"elements": prod(output)}


def _binary(layer: Elementwise, inputs: Sequence[Shape], output: Shape) -> tuple[str, Terms]:
    is_product = layer.operation == "mul" and len(layer.inputs) == 2
    return "product" if is_product else "add", {"elements": prod(output)}


_Counter = Callable[..., tuple[str, Terms]]

_COUNTERS: Mapping[type[Layer], _Counter] = {
    Conv2D: _conv,
    DepthwiseConv2D: _depthwise,
    Dense: _dense,
    AveragePool2D: _pool("average_pool"),
    MaxPool2D: _pool("max_pool"),
    Add: _elementwise("add"),
    ActivationLayer: _activation,
    Reshape: _elementwise("reshape"),
    Softmax: _elementwise("softmax"),
    LogSoftmax: _elementwise("log_softmax"),
    TransposeConv2D: _transpose_conv,
    Lstm: _lstm,
    Svdf: _svdf,
    Pad: _elementwise("pad"),
    Concatenate: _elementwise("concatenate"),
    # Kinds without coefficients of their own are priced like the kernel that touches their elements the same way.
    Rearrange: _elementwise("reshape"),
    Quantize: _elementwise("activation"),
    Resize: _elementwise("add"),
    Elementwise: _binary,
    Reduce: _reduce,
}

_COUNTED_TERMS: Mapping[str, frozenset[str]] = {
    "conv_kxk": frozenset(
        {"macs_by_4", "macs_left", "outputs", "im2col", "taps", "column", "column_by_4", "column_by_16"}
    ),
    "conv_1x1": frozenset({"macs", "outputs", "strided_outputs"}),
    "depthwise": frozenset({"macs", "outputs", "positions", "other_macs", "other_weights", "weights", "window"}),
    "dense": frozenset({"macs", "outputs", "call"}),
    "average_pool": frozenset({"window_elements"}),
    "max_pool": frozenset({"window_elements"}),
    "add": frozenset({"elements"}),
    "softmax": frozenset({"elements"}),
    "reshape": frozenset({"elements"}),
    "activation": frozenset({"elements"}),
}
_CMSIS_NN_TERMS = {**_COUNTED_TERMS, **{kernel: _COUNTED_TERMS[like] for kernel, like in _NEAREST.items()}}
KERNEL_TERMS: Mapping[str, frozenset[str]] = {
    # A kernel that an engine has not counted has there the coefficients of its nearest one.
    kernel: terms | GENERATED_C_TERMS.get(kernel, GENERATED_C_TERMS.get(_NEAREST.get(kernel, ""), frozenset()))
    for kernel, terms in _CMSIS_NN_TERMS.items()
}
"""Kernel -> the counts a runtime's coefficients may be for."""


def kernel_call(layer: Layer, inputs: Sequence[Shape], output: Shape, rows: range | None = None) -> KernelCall:
    """Return the kernel that runs a layer and its counts.

    Args:
        layer: Any layer of a graph.
        inputs: The shapes it reads.
        output: The shape it produces.
        rows: The rows of the output that the call computes, of a layer that runs patch by patch; None for all.

    Raises:
        UnknownLayerError: No kernel is known for the layer's type.
    """
    counter = _COUNTERS.get(type(layer))
    if counter is None:
        known = ", ".join(sorted(kind.kind for kind in _COUNTERS))
        raise UnknownLayerError(
            f"layer {layer.name!r} is of kind {layer.kind!r}, which has no cost. Known kinds: {known}. "
            "To add one, count its terms in hw_models/kernels.py and give coefficients in the runtime's file"
        )
    kernel, terms = counter(layer, inputs, output if rows is None else (len(rows), *output[1:]))
    group = _GROUPS_BY_KERNEL.get(kernel) or _conv_group(layer, inputs)
    weight_bits = layer.weight_bits if isinstance(layer, WeightLayer) else None
    activation_bits = _USUAL_BITS if kernel in _ANY_WIDTH else layer.output_bits
    terms = _LazyTerms(terms, partial(generated_c_terms, layer, inputs, output, rows))
    packed = packing(layer, inputs, output)
    packed_bits = None if packed is None else packed.bits
    decoded = decoding(layer, inputs, output)
    return KernelCall(kernel, weight_bits, terms, group, activation_bits, _NEAREST.get(kernel), packed_bits, decoded)


def kernel_calls(graph: LayerGraph) -> list[KernelCall]:
    """Return the kernels that run a network, layer by layer.

    Raises:
        UnknownLayerError: No kernel is known for the type of a layer.
    """
    return [kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name]) for layer in graph.layers]


def patch_calls(graph: LayerGraph) -> Mapping[str, tuple[KernelCall, ...]]:
    """Return one call per patch for every layer that runs patch by patch, by the layer's name."""
    return {
        layer.name: tuple(
            kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name], rows[layer.name])
            for rows in graph.patch_rows
        )
        for layer in graph.layers[: graph.patched_count]
    }


class _LazyTerms(dict[str, int]):
    """Counts of which some are made only when one of them is asked for: most runtimes never do."""

    def __init__(self, known: Terms, rest: Callable[[], Terms]) -> None:
        super().__init__(known)
        self._rest = rest

    def __missing__(self, term: str) -> int:
        rest = self._rest()
        self.update(rest)
        return rest[term]


def _conv_group(layer: Layer, inputs: Sequence[Shape]) -> str:
    if isinstance(layer, Conv2D) and min(layer.kernel) == 1:
        return "conv_1d"
    return "conv_few_inputs" if inputs[0][2] < _FEW_INPUTS else "conv_kxk"


def elementwise_call(kernel: str, elements: int) -> KernelCall:
    """Return the call of a kernel that only counts the elements it writes: ``add``, ``reshape``, ``activation``."""
    return KernelCall(kernel, None, {"elements": elements}, _GROUPS_BY_KERNEL[kernel])


def dot(coefficients: Mapping[str, float], terms: Terms) -> float:
    """Return the linear form: the sum of coefficient times count over the form's terms."""
    return sum(coefficient * terms[name] for name, coefficient in coefficients.items())
