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
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    MaxPool2D,
    Padding,
    Quantize,
    Reshape,
    Size,
    Softmax,
    WeightLayer,
)
from hw_models.graph.layers import AnyActivation


def run_float(graph: LayerGraph, weights: Mapping[str, FoldedLayer], x: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """Return every tensor of the network by name, the input's under ``"input"``.

    Args:
        graph: The network.
        weights: Its folded weights.
        x: float32 inputs, N x C x H x W.
    """
    tensors = {INPUT: x}
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


def flatten_nhwc(x: torch.Tensor) -> torch.Tensor:
    """Return a map N x C x H x W as a vector N x HWC x 1 x 1."""
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, 1, 1)


def window_counts(height: int, width: int, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return how many positions of every pooling window lie inside the map, 1 x 1 x out_height x out_width, float32."""
    ones = pad_same(torch.ones(1, 1, height, width), kernel, stride, padding)
    return F.avg_pool2d(ones, kernel, stride) * (kernel[0] * kernel[1])


def activate(x: torch.Tensor, activation: AnyActivation) -> torch.Tensor:
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
    raise EnvError(f"the activation {activation!r} cannot be quantised; use relu or relu6")


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
    if isinstance(layer, ActivationLayer):
        return activate(x, layer.activation)
    if isinstance(layer, Reshape):
        return flatten_nhwc(x)
    if isinstance(layer, Quantize):
        return x
    if isinstance(layer, Softmax):
        return torch.softmax(x, dim=1)
    raise TypeError(f"no float kernel for layer kind {layer.kind!r}")  # a new kind in hw_models.graph.layer_graph
