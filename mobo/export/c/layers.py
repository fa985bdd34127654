"""Every layer of a network as C: its constants, the call of its kernel, the kernel files it needs."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import floor, prod

import numpy as np

from envs.compression.integer.fixed_point import INT32_MAX, quantise_multiplier
from envs.compression.integer.kernels import activation_table
from envs.compression.integer.network import QuantisedNetwork
from hw_models.generated_c import GROUP_ELEMENTS, packing
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
    MaxPool2D,
    Pad,
    Padding,
    Pool2D,
    Quantize,
    Reshape,
    Shape,
    Size,
    Softmax,
    WeightLayer,
)
from hw_models.graph.windows import pad_before
from mobo.export.c.text import array, identifier, int32, structure
from mobo.export.c.weights import arranged, output_stage, packed
from mobo.export.errors import ExportError

_ADD_LEFT_SHIFT = {8: 20, 16: 15}
_DEPTHWISE_W8 = "mobo_depthwise_w8_body.h"
_ELEMENTWISE = "mobo_elementwise.h"
_SOFTMAX_FRACTION = 26
_LARGEST = 2**16 - 1
_WINDOW_PARTS = {"in_height": "rows[READ]", "out_height": "rows[MADE]", "pad_top": "rows[ABOVE]"}


@dataclass(frozen=True)
class CLayer:
    """One layer.

    Attributes:
        name: Its name in the network.
        constants: Definitions.
        kernel: Name of the kernel's function; empty for a layer that moves nothing.
        arguments: Arguments of the call, ``{0}``, ``{1}``: inputs, ``{output}``, ``{scratch}``.
        header: Header that declares the kernel.
        sources: C files to link, that of the kernel first.
        structure: Type of the structure that describes it.
        parts: Fields of that structure which follow from the rows that a call computes, with their values by what is
            known of a patch: ``rows[READ]``, ``rows[MADE]``, ``rows[ABOVE]``, as ``model.c`` explains them.
        taps: Taps of a depthwise window, else 0.
        packed: Whether its weights are unpacked, which its kernel's file has to be compiled for.
    """

    name: str
    constants: str = ""
    kernel: str = ""
    arguments: str = ""
    header: str = ""
    sources: tuple[str, ...] = ()
    structure: str = ""
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    taps: int = 0
    packed: bool = False


def c_layer(network: QuantisedNetwork, index: int) -> CLayer:
    """Return the layer at an index of the graph.

    Raises:
        ExportError: A size the kernels cannot take.
    """
    layer = network.graph.layers[index]
    shapes = [*network.graph.input_shapes(layer), network.graph.shapes[layer.name]]
    if max(max(shape) for shape in shapes) > _LARGEST:
        raise ExportError(f"layer {layer.name!r} has a side or channels beyond {_LARGEST}; the C kernels take no more")
    writer = _WRITERS.get(type(layer))
    if writer is None:
        raise ExportError(f"layer {layer.name!r} is of kind {layer.kind!r}, for which no C kernel exists")
    return writer(network, layer, identifier(index, layer.name))


def outside_name(bits: int, zero_point: int) -> str:
    """Return the name of the array of zero points of a width that windows read outside the map."""
    return f"outside_s{bits}_{'minus_' if zero_point < 0 else ''}{abs(zero_point)}"


def kernel_width(layer: WeightLayer) -> str:
    """Return how a kernel's name ends: ``"w8"``, ``"w4"`` or ``"w8a16"``."""
    return f"w{layer.weight_bits}" + ("a16" if layer.output_bits == 16 else "")


def _stage(network: QuantisedNetwork, layer: WeightLayer, name: str) -> tuple[str, str]:
    """Return the arrays of an output stage and its initialiser."""
    stage = output_stage(network, layer)
    pair = _channel_int16 if layer.output_bits == 16 else _channel_int8
    channels = [pair(*both) for both in zip(stage.biases.tolist(), stage.mantissas.tolist(), strict=True)]
    if len(channels) % 2:
        channels.append("{0, 0}")
    low, high = network.activation_range(layer.name)
    zero_point = network.tensors[layer.name].zero_point
    arrays = array(f"mobo_channel {name}_channels", channels) + array(f"int8_t {name}_shifts", stage.shifts)
    return arrays, f"{{{name}_channels, {name}_shifts, {2 * zero_point + 1}, {low}, {high}, {int(stage.wide)}}}"


def _channel_int8(bias: int, mantissa: int) -> str:
    return f"{{{int32(bias)}, {mantissa}}}"


def _channel_int16(bias: int, mantissa: int) -> str:
    """Return the lower 32 bits of a bias, and its upper 16 above a mantissa of 16."""
    high, low = bias >> 32, bias & 0xFFFFFFFF
    return f"{{{int32(low - (low >> 31 << 32))}, {int32(high * 2**16 + mantissa)}}}"


def _weighted(
    network: QuantisedNetwork,
    layer: WeightLayer,
    name: str,
    fields: Mapping[str, str],
    *,
    kind: str,
    scratch: bool,
    sources: tuple[str, ...],
    taps: int = 0,
) -> CLayer:
    """Return a layer with weights, plain or packed.

    Args:
        network: The network.
        layer: The layer.
        name: Its name in C.
        fields: What describes it beside its output stage and weights.
        kind: What the names of its structure and its kernel begin with.
        scratch: Whether its kernel takes a buffer for plain weights also.
        sources: Files beside that of its kernel.
        taps: As in :class:`CLayer`.
    """
    arrays, stage = _stage(network, layer, name)
    values = network.weights[layer.name].values
    how = packing(layer, network.graph.input_shapes(layer), network.graph.shapes[layer.name])
    weights = arranged(layer, values) if how is None else packed(layer, values, how)
    fields = {"stage": stage, "weights": f"{name}_weights", **fields}
    structure_name, kernel = kind, f"{kind}_{kernel_width(layer)}"
    parts: Mapping[str, str] = {} if isinstance(layer, Dense) else _WINDOW_PARTS
    source = f"{kernel}.c"
    if how is not None:
        unpack = {"unpack": f"mobo_unpack_w{layer.weight_bits}s{how.bits}"}
        fields = {f"layer.{name}": value for name, value in fields.items()} | unpack
        fields |= {} if isinstance(layer, Dense) else {"tile": str(how.channels)}
        parts = {f"layer.{name}": value for name, value in parts.items()}
        structure_name, kernel, scratch = f"{kind}_packed", f"{kernel}_packed", True
        sources = (*sources, "mobo_unpack.c")
    return CLayer(
        name=layer.name,
        constants=arrays
        + array(f"uint8_t {name}_weights", weights, attribute=" MOBO_ALIGNED")
        + structure(f"{structure_name} {name}", fields),
        kernel=kernel,
        arguments=f"&{name}, {{0}}, {{output}}" + (", {scratch}" if scratch else ""),
        header=f"{kind}.h",
        sources=(source, "mobo_unpack.h", *sources),
        structure=structure_name,
        parts=parts,
        taps=taps,
        packed=how is not None,
    )


def _window(kernel: Size, stride: Size, padding: Padding, source: Shape, output: Shape) -> dict[str, str]:
    pads = [pad_before(source[axis], kernel[axis], stride[axis], output[axis], padding) for axis in (0, 1)]
    return {
        "kernel_height": str(kernel[0]),
        "kernel_width": str(kernel[1]),
        "stride_height": str(stride[0]),
        "stride_width": str(stride[1]),
        "pad_top": str(pads[0]),
        "pad_left": str(pads[1]),
    }


def _map(prefix: str, shape: Shape) -> dict[str, str]:
    return {f"{prefix}_height": str(shape[0]), f"{prefix}_width": str(shape[1])}


def _conv2d(network: QuantisedNetwork, layer: Conv2D, name: str) -> CLayer:
    source, output = network.graph.input_shapes(layer)[0], network.graph.shapes[layer.name]
    fields = _map("in", source) | {"in_channels": str(source[2])}
    fields |= _map("out", output) | {"out_channels": str(output[2])}
    fields |= _window(layer.kernel, layer.stride, layer.padding, source, output)
    fields |= {"input_zero_point": str(network.tensors[layer.inputs[0]].zero_point)}
    sources = ("mobo_conv2d_body.h", *_dot_sources(layer))
    return _weighted(network, layer, name, fields, kind="mobo_conv2d", scratch=True, sources=sources)


def _dot_sources(layer: WeightLayer) -> tuple[str, ...]:
    if layer.output_bits == 16:
        return "mobo_dot_s16.h", "mobo_wide_s16.c", "mobo_wide_s16.h"
    return ("mobo_dot.h",)


def _depthwise(network: QuantisedNetwork, layer: DepthwiseConv2D, name: str) -> CLayer:
    source, output = network.graph.input_shapes(layer)[0], network.graph.shapes[layer.name]
    zero_point = network.tensors[layer.inputs[0]].zero_point
    fields = {"outside": outside_name(layer.output_bits, zero_point)}
    fields |= _map("in", source) | {"channels": str(source[2])} | _map("out", output)
    fields |= _window(layer.kernel, layer.stride, layer.padding, source, output)
    sources = ("mobo_depthwise_body.h", *(() if layer.weight_bits == 4 else (_DEPTHWISE_W8,)))
    kind, taps = "mobo_depthwise", prod(layer.kernel)
    return _weighted(network, layer, name, fields, kind=kind, scratch=False, sources=sources, taps=taps)


def _dense(network: QuantisedNetwork, layer: Dense, name: str) -> CLayer:
    fields = {"in_channels": str(network.graph.input_shapes(layer)[0][2]), "out_channels": str(layer.out_channels)}
    sources = ("mobo_dense_body.h", *_dot_sources(layer))
    return _weighted(network, layer, name, fields, kind="mobo_dense", scratch=False, sources=sources)


def _pool(network: QuantisedNetwork, layer: Pool2D, name: str) -> CLayer:
    source, output = network.graph.input_shapes(layer)[0], network.graph.shapes[layer.name]
    fields = _map("in", source) | {"channels": str(source[2])} | _map("out", output)
    fields |= _window(layer.kernel, layer.stride, layer.padding, source, output)
    name_of_both = "mobo_average_pool" if isinstance(layer, AveragePool2D) else "mobo_max_pool"
    kernel = name_of_both + ("_s16" if layer.output_bits == 16 else "")
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_pool {name}", fields),
        kernel=kernel,
        arguments=f"&{name}, {{0}}, {{output}}",
        header="mobo_pool.h",
        sources=(f"{kernel}.c", f"{name_of_both}_body.h", "mobo_pool_window.h"),
        structure="mobo_pool",
        parts=_WINDOW_PARTS,
    )


def _elements(network: QuantisedNetwork, layer: Layer) -> Mapping[str, str]:
    """Return what the rows of a call decide of an element-wise layer."""
    return {"elements": f"rows[MADE] * {prod(network.graph.shapes[layer.name][1:])}"}


def _clamp(network: QuantisedNetwork, layer: Layer) -> dict[str, str]:
    low, high = network.activation_range(layer.name)
    return {"zero_point": str(network.tensors[layer.name].zero_point), "low": str(low), "high": str(high)}


def _multiplier(real: float) -> dict[str, str]:
    mantissa, left_shift = quantise_multiplier(real)
    return {"mantissa": str(mantissa), "shift": str(-left_shift)}


def _add(network: QuantisedNetwork, layer: Add, name: str) -> CLayer:
    operands = [network.tensors[source] for source in layer.inputs]
    output = network.tensors[layer.name]
    twice_max = 2 * max(operand.scale for operand in operands)
    fields: dict[str, str] = {}
    for field, operand in zip(("first", "second"), operands, strict=True):
        multiplier = _multiplier(operand.scale / twice_max)
        fields[field] = f"{{{multiplier['mantissa']}, {multiplier['shift']}, {operand.zero_point}}}"
    fields |= _multiplier(twice_max / (2 ** _ADD_LEFT_SHIFT[layer.output_bits] * output.scale)) | _clamp(network, layer)
    fields |= {"elements": str(prod(network.graph.shapes[layer.name]))}
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_add {name}", fields),
        kernel=f"mobo_add_s{layer.output_bits}",
        arguments=f"&{name}, {{0}}, {{1}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_add_s16.c" if layer.output_bits == 16 else "mobo_add.c", "mobo_add_body.h"),
        structure="mobo_add",
        parts=_elements(network, layer),
    )


def _product(network: QuantisedNetwork, layer: Elementwise, name: str) -> CLayer:
    if layer.operation != "mul" or layer.constant_elements or layer.output_bits != 8:
        raise ExportError(f"layer {layer.name!r} is a {layer.operation}; C takes products of two int8 tensors")
    first, second = (network.tensors[source] for source in layer.inputs)
    output, shapes = network.tensors[layer.name], network.graph.input_shapes(layer)
    fields = _multiplier(first.scale * second.scale / output.scale)
    fields |= {"first_zero_point": str(first.zero_point), "second_zero_point": str(second.zero_point)}
    fields |= _clamp(network, layer)
    fields |= {"elements": str(prod(shapes[0])), "period": str(prod(shapes[1]))}
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_product {name}", fields),
        kernel="mobo_product_s8",
        arguments=f"&{name}, {{0}}, {{1}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_product.c",),
        structure="mobo_product",
        parts=_elements(network, layer),
    )


def _activation(network: QuantisedNetwork, layer: ActivationLayer, name: str) -> CLayer:
    if layer.activation not in ("leaky_relu", "hard_swish"):
        return _rescale(network, layer, name)
    table = activation_table(layer, network.tensors[layer.inputs[0]], network.tensors[layer.name])
    fields = {"table": f"{name}_table", "elements": str(prod(network.graph.shapes[layer.name]))}
    return CLayer(
        name=layer.name,
        constants=array(f"int8_t {name}_table", table) + structure(f"mobo_lookup {name}", fields),
        kernel="mobo_lookup_s8",
        arguments=f"&{name}, {{0}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_lookup.c",),
        structure="mobo_lookup",
        parts=_elements(network, layer),
    )


def _pad(network: QuantisedNetwork, layer: Pad, name: str) -> CLayer:
    (height, width, channels), bits = network.graph.input_shapes(layer)[0], layer.output_bits
    (top, left), (bottom, right) = layer.before, layer.after
    pixel = channels * bits // 8
    across = (left + width + right) * pixel
    sizes = {
        "first": top * across + left * pixel,
        "row": width * pixel,
        "between": (left + right) * pixel,
        "last": bottom * across + right * pixel,
        "rows": height,
        # Of 16 bits the zero point is 0, in both bytes.
        "value": network.tensors[layer.name].zero_point,
    }
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_pad {name}", {field: str(size) for field, size in sizes.items()}),
        kernel="mobo_pad_any",
        arguments=f"&{name}, {{0}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_move.c",),
        structure="mobo_pad",
        parts={
            "first": f"rows[ABOVE] * {across} + {left * pixel}",
            "last": f"(rows[MADE] - rows[ABOVE] - rows[READ]) * {across} + {right * pixel}",
            "rows": "rows[READ]",
        },
    )


def _concatenate(network: QuantisedNetwork, layer: Concatenate, name: str) -> CLayer:
    if layer.axis != 2:
        raise ExportError(f"layer {layer.name!r} joins along axis {layer.axis}; the C kernel joins channels")
    sizes = [shape[2] * layer.output_bits // 8 for shape in network.graph.input_shapes(layer)]
    height, width, _ = network.graph.shapes[layer.name]
    fields = {"bytes": f"{name}_bytes", "row": str(sum(sizes))}
    fields |= {"inputs": str(len(sizes)), "positions": str(height * width)}
    places = ", ".join(f"{{{index}}}" for index in range(len(sizes)))
    return CLayer(
        name=layer.name,
        constants=array(f"int32_t {name}_bytes", map(str, sizes)) + structure(f"mobo_concatenate {name}", fields),
        kernel="mobo_concatenate_any",
        arguments=f"&{name}, (const void *const[]){{{{{places}}}}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_move.c",),
        structure="mobo_concatenate",
        parts={"positions": f"rows[MADE] * {width}"},
    )


def _rescale(network: QuantisedNetwork, layer: ActivationLayer | Quantize, name: str) -> CLayer:
    source, output = network.tensors[layer.inputs[0]], network.tensors[layer.name]
    fields = _multiplier(source.scale / output.scale) | {"input_zero_point": str(source.zero_point)}
    fields |= {"from_int16": str(int(network.graph.bits[layer.inputs[0]] == 16))}
    fields |= {"to_int16": str(int(layer.output_bits == 16))}
    fields |= _clamp(network, layer) | {"elements": str(prod(network.graph.shapes[layer.name]))}
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_rescale {name}", fields),
        kernel="mobo_rescale_any",
        arguments=f"&{name}, {{0}}, {{output}}",
        header=_ELEMENTWISE,
        sources=("mobo_rescale.c",),
        structure="mobo_rescale",
        parts=_elements(network, layer),
    )


def _reshape(network: QuantisedNetwork, layer: Reshape, name: str) -> CLayer:
    return CLayer(name=layer.name)


def _softmax(network: QuantisedNetwork, layer: Softmax, name: str) -> CLayer:
    scale = network.tensors[layer.inputs[0]].scale
    mantissa, left_shift = quantise_multiplier(min(scale * 2.0**_SOFTMAX_FRACTION, float(INT32_MAX)))
    # No difference of int8 values is below -255.
    smallest = max(-floor(31 * 2.0 ** (_SOFTMAX_FRACTION - left_shift)), -256)
    height, width, channels = network.graph.shapes[layer.name]
    fields = {"mantissa": mantissa, "left_shift": left_shift, "smallest": smallest}
    fields |= {"rows": height * width, "channels": channels}
    return CLayer(
        name=layer.name,
        constants=structure(f"mobo_softmax {name}", {field: str(value) for field, value in fields.items()}),
        kernel="mobo_softmax_s8",
        arguments=f"&{name}, {{0}}, {{output}}",
        header="mobo_softmax.h",
        sources=("mobo_softmax.c",),
    )


_WRITERS: Mapping[type[Layer], Callable[..., CLayer]] = {
    Conv2D: _conv2d,
    DepthwiseConv2D: _depthwise,
    Dense: _dense,
    AveragePool2D: _pool,
    MaxPool2D: _pool,
    Add: _add,
    Elementwise: _product,
    ActivationLayer: _activation,
    Pad: _pad,
    Concatenate: _concatenate,
    Quantize: _rescale,
    Reshape: _reshape,
    Softmax: _softmax,
}


def outside_arrays(network: QuantisedNetwork) -> str:
    """Return one array of zero points for each that a depthwise convolution reads outside its map."""
    lengths: dict[tuple[int, int], int] = {}
    for layer in network.graph.layers:
        if isinstance(layer, DepthwiseConv2D):
            key = (layer.output_bits, network.tensors[layer.inputs[0]].zero_point)
            length = network.graph.shapes[layer.name][2] + GROUP_ELEMENTS - 1
            lengths[key] = max(lengths.get(key, 0), length)
    return "".join(
        array(f"int{bits}_t {outside_name(bits, zero_point)}", np.full(length, zero_point))
        for (bits, zero_point), length in sorted(lengths.items())
    )
