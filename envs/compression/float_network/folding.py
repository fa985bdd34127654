"""The weights of a trained network as the target sees them: batch norm folded in, dense layers in NHWC order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from envs.errors import EnvError
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import Add, Concatenate, Elementwise, LayerGraph, Reshape, WeightLayer

# A hard sigmoid is this line, clamped to 0 and 1.
_SLOPE, _OFFSET = 1 / 6, 0.5


@dataclass(frozen=True, eq=False)
class FoldedLayer:
    """Weights and bias of one layer.

    Attributes:
        weight: float32; convolution O x I x kh x kw (also where torch has one of one dimension), depthwise
            C x 1 x kh x kw, dense O x I with the inputs in NHWC order.
        bias: float32, one per output channel.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def on(self, device: torch.device) -> "FoldedLayer":
        """Return the same on a torch device."""
        return self if self.weight.device == device else FoldedLayer(self.weight.to(device), self.bias.to(device))


def fold(module: nn.Module, trace: TorchTrace) -> Mapping[str, FoldedLayer]:
    """Return the folded weights of every layer, by layer name; the module is not changed.

    Raises:
        EnvError: Weights that are not finite, or a flattened feature map that is used other than by dense layers.
    """
    flattened = flattened_maps(trace.graph)
    folded: dict[str, FoldedLayer] = {}
    for layer in trace.graph.weight_layers:
        weight, bias = _weight_and_bias(module, layer)
        batch_norm = trace.batch_norms.get(layer.name)
        if batch_norm is not None:
            weight, bias = _with_batch_norm(weight, bias, module.get_submodule(batch_norm))
        source = flattened.get(layer.inputs[0])
        if layer.activation == "hard_sigmoid":
            weight, bias = weight * _SLOPE, bias * _SLOPE + _OFFSET
        if source is not None:
            weight = _inputs_to_nhwc(weight, trace.graph.shapes[source])
        if not bool(torch.isfinite(weight).all() and torch.isfinite(bias).all()):
            raise EnvError(f"layer {layer.name!r} has weights that are not finite; lower the learning rate")
        folded[layer.name] = FoldedLayer(weight.float(), bias.float())
    return folded


def _weight_and_bias(module: nn.Module, layer: WeightLayer) -> tuple[torch.Tensor, torch.Tensor]:
    submodule = module.get_submodule(layer.name)
    weight = submodule.get_parameter("weight").detach().double().cpu()
    # A convolution of one dimension is one over a map of one row.
    weight = weight.unsqueeze(2) if weight.ndim == 3 else weight
    bias = submodule.bias
    if isinstance(bias, torch.Tensor):
        return weight, bias.detach().double().cpu()
    return weight, torch.zeros(len(weight), dtype=torch.float64)


def _with_batch_norm(
    weight: torch.Tensor, bias: torch.Tensor, batch_norm: nn.Module
) -> tuple[torch.Tensor, torch.Tensor]:
    mean = batch_norm.get_buffer("running_mean").double().cpu()
    variance = batch_norm.get_buffer("running_var").double().cpu()
    factor = 1 / torch.sqrt(variance + float(batch_norm.eps))  # type: ignore[arg-type]
    offset = torch.zeros_like(mean)
    if isinstance(batch_norm.weight, torch.Tensor):
        factor = factor * batch_norm.weight.detach().double().cpu()
        offset = batch_norm.get_parameter("bias").detach().double().cpu()
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * factor + offset


def flattened_maps(graph: LayerGraph) -> Mapping[str, str]:
    """Return every tensor that is a flattened feature map of more than one position, with that map's name.

    Raises:
        EnvError: One is used other than by dense layers, so that their weights cannot be brought to NHWC order.
    """
    flattened: dict[str, str] = {}
    for layer in graph.layers:
        sources = [flattened[name] for name in layer.inputs if name in flattened]
        height, width, _ = graph.input_shapes(layer)[0]
        if isinstance(layer, Reshape) and layer.shape is None and height * width > 1:
            flattened[layer.name] = layer.inputs[0]
        elif sources and not isinstance(layer, WeightLayer):
            if isinstance(layer, Add | Elementwise | Concatenate):
                what = {"add": "addition", "elementwise": "product"}.get(layer.kind, "concatenation")
                raise EnvError(
                    f"{layer.kind} layer {layer.name!r} reads a flattened feature map; flatten after the {what} instead"
                )
            flattened[layer.name] = sources[0]
    if graph.output in flattened:
        raise EnvError(f"the network's output {graph.output!r} is a flattened feature map; end it with a dense layer")
    return flattened


def _inputs_to_nhwc(weight: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    height, width, channels = shape
    return weight.reshape(-1, channels, height, width).permute(0, 2, 3, 1).reshape(len(weight), -1)


def write_folded(module: nn.Module, trace: TorchTrace, folded: Mapping[str, FoldedLayer]) -> None:
    """Make a network in place the one that :func:`fold` reads ``folded`` from, up to rounding in float32.

    Batch norms stay where they are and do nothing but add the bias.

    Args:
        module: The network.
        trace: Its trace.
        folded: Weights and biases of every layer with weights; a layer that has no place for a bias has a bias of zero.
    """
    flattened = flattened_maps(trace.graph)
    with torch.no_grad():
        for layer in trace.graph.weight_layers:
            submodule, found = module.get_submodule(layer.name), folded[layer.name]
            source = flattened.get(layer.inputs[0])
            weight = found.weight if source is None else _inputs_from_nhwc(found.weight, trace.graph.shapes[source])
            if layer.activation == "hard_sigmoid":
                weight, found = weight / _SLOPE, replace(found, bias=(found.bias - _OFFSET) / _SLOPE)
            target = submodule.get_parameter("weight")
            target.copy_(weight.reshape(target.shape))
            batch_norm = trace.batch_norms.get(layer.name)
            if batch_norm is not None:
                _make_offset(module.get_submodule(batch_norm), found.bias)
            if isinstance(submodule.bias, torch.Tensor):
                submodule.bias.copy_(found.bias if batch_norm is None else torch.zeros_like(found.bias))


def has_bias(module: nn.Module, trace: TorchTrace, layer: str) -> bool:
    """Return whether a network has a place for the folded bias of a layer."""
    return layer in trace.batch_norms or module.get_submodule(layer).bias is not None


def _make_offset(batch_norm: nn.Module, bias: torch.Tensor) -> None:
    batch_norm.get_buffer("running_mean").copy_(-bias)
    batch_norm.get_buffer("running_var").fill_(1.0 - float(batch_norm.eps))  # type: ignore[arg-type]
    if isinstance(batch_norm.weight, torch.Tensor):
        batch_norm.weight.fill_(1.0)
        batch_norm.get_parameter("bias").zero_()


def _inputs_from_nhwc(weight: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    height, width, channels = shape
    return weight.reshape(-1, height, width, channels).permute(0, 3, 1, 2).reshape(len(weight), -1)
