"""Running a folded network in float over its layer graph: the tensors whose ranges the quantisation needs.

Feature maps are N x C x H x W, vectors N x C x 1 x 1 (a flattened map in NHWC order, as on the target).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch.nn import functional as F

from envs.compression.float_network.folding import FoldedLayer
from envs.errors import EnvError
from envs.same_conv import convolve, same_padding
from hw_models.graph.layer_graph import (
    INPUT,
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
    MaxPool2D,
    Pad,
    Padding,
    Quantize,
    Reshape,
    Size,
    Softmax,
    WeightLayer,
)
from hw_models.graph.layers import Activation, AnyActivation


def run_float(graph: LayerGraph, weights: Mapping[str, FoldedLayer], x: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """Return every tensor of the network by name, the input's under ``"input"``.

    Args:
        graph: The network.
        weights: Its folded weights, on the CPU or where the inputs lie.
        x: float32 inputs, N x C x H x W; where they lie is where it runs.
    """
    tensors = {INPUT: x}
    weights = {name: layer.on(x.device) for name, layer in weights.items()}
    with torch.no_grad():
        for layer in graph.layers:
            tensors[layer.name] = run_layer(layer, [tensors[name] for name in layer.inputs], weights.get(layer.name))
    return tensors


def weighted_sums(layer: WeightLayer, x: torch.Tensor, weights: FoldedLayer) -> torch.Tensor:
    """Return what a layer with weights makes of its input before the activation."""
    with torch.no_grad():
        return run_layer(replace(layer, activation="none"), [x], weights)


def pad_same(x: torch.Tensor, kernel: Size, stride: Size, padding: Padding, value: float = 0.0) -> torch.Tensor:
    """Return ``x`` (N x C x H x W) with the border a SAME window needs; unchanged for VALID."""
    if padding == "valid":
        return x
    top, bottom = same_padding(x.shape[2], kernel[0], stride[0])
    left, right = same_padding(x.shape[3], kernel[1], stride[1])
    return F.pad(x, (left, right, top, bottom), value=value) if top or bottom or left or right else x


def reshape_nhwc(x: torch.Tensor, layer: Reshape) -> torch.Tensor:
    """Return a map N x C x H x W as a vector N x HWC x 1 x 1, or in the shape of the layer, in NHWC order."""
    last = x.permute(0, 2, 3, 1)
    if layer.shape is None:
        return last.reshape(len(x), -1, 1, 1)
    return last.reshape(len(x), *layer.shape).permute(0, 3, 1, 2)


def pad_map(x: torch.Tensor, layer: Pad, value: float = 0.0) -> torch.Tensor:
    """Return a map N x C x H x W with rows and columns of a value around it."""
    (top, left), (bottom, right) = layer.before, layer.after
    return F.pad(x, (left, right, top, bottom), value=value)


def concatenate(layer: Concatenate, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return maps N x C x H x W behind one another along the layer's axis."""
    return torch.cat(list(inputs), dim=(2, 3, 1)[layer.axis])


def window_counts(height: int, width: int, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return how many positions of every pooling window lie inside the map, 1 x 1 x out_height x out_width, float32."""
    ones = pad_same(torch.ones(1, 1, height, width), kernel, stride, padding)
    return F.avg_pool2d(ones, kernel, stride) * (kernel[0] * kernel[1])


def activate(x: torch.Tensor, activation: Activation | AnyActivation) -> torch.Tensor:
    """Return what an activation makes of real values.

    Raises:
        EnvError: One without integer arithmetic.
    """
    if activation == "none":
        return x
    if activation == "relu":
        return x.clamp(min=0)
    if activation == "relu6":
        return x.clamp(0, 6)
    if activation == "hard_sigmoid":
        # Its line is folded into the weights.
        return x.clamp(0, 1)
    if activation == "hard_swish":
        return F.hardswish(x)
    raise EnvError(
        f"the activation {activation!r} cannot be quantised; use relu, relu6, leaky_relu, hard_swish or hard_sigmoid"
    )


def check_product(layer: Elementwise) -> None:
    """Refuse what is no product of two tensors: nothing here computes it.

    Raises:
        EnvError: Another operation, or a constant operand.
    """
    if layer.operation != "mul" or len(layer.inputs) != 2:
        raise EnvError(f"layer {layer.name!r} is a {layer.operation}; only products of two tensors can be quantised")


def run_layer(layer: Layer, inputs: Sequence[torch.Tensor], weights: FoldedLayer | None) -> torch.Tensor:
    """Return what one layer computes, with gradients where they are asked for; only layers with weights have some."""
    x = inputs[0]
    if isinstance(layer, Conv2D | DepthwiseConv2D) and weights is not None:
        groups = x.shape[1] if isinstance(layer, DepthwiseConv2D) else 1
        padded = pad_same(x, layer.kernel, layer.stride, layer.padding)
        sums = convolve(padded, weights.weight, weights.bias, layer.stride, groups=groups)
        return activate(sums, layer.activation)
    if isinstance(layer, Dense) and weights is not None:
        return activate(F.linear(x.flatten(1), weights.weight, weights.bias), layer.activation)[:, :, None, None]
    if isinstance(layer, AveragePool2D):
        padded = pad_same(x, layer.kernel, layer.stride, layer.padding)
        total = F.avg_pool2d(padded, layer.kernel, layer.stride) * (layer.kernel[0] * layer.kernel[1])
        count = window_counts(x.shape[2], x.shape[3], layer.kernel, layer.stride, layer.padding)
        return total / count.to(x.device)
    if isinstance(layer, MaxPool2D):
        padded = pad_same(x, layer.kernel, layer.stride, layer.padding, value=float("-inf"))
        return F.max_pool2d(padded, layer.kernel, layer.stride)
    if isinstance(layer, Add):
        return activate(x + inputs[1], layer.activation)
    if isinstance(layer, Elementwise):
        check_product(layer)
        return activate(x * inputs[1], layer.activation)
    if isinstance(layer, ActivationLayer):
        if layer.activation == "leaky_relu":
            return F.leaky_relu(x, layer.negative_slope)
        return activate(x, layer.activation)
    if isinstance(layer, Pad):
        return pad_map(x, layer)
    if isinstance(layer, Concatenate):
        return concatenate(layer, inputs)
    if isinstance(layer, Reshape):
        return reshape_nhwc(x, layer)
    if isinstance(layer, Quantize):
        return x
    if isinstance(layer, Softmax):
        return torch.softmax(x, dim=1)
    raise TypeError(f"no float kernel for layer kind {layer.kind!r}")  # a new kind in hw_models.graph.layer_graph
