"""Least-squares reconstruction: the weights that best repeat a layer's outputs from the inputs pruning left it.

The inputs of every layer of the trained network are seen once, on a few samples; all that is kept of them is their mean
and covariance. The weights for any set of remaining inputs follow in closed form, without data, and are remembered per
layer and set: they do not depend on what is done elsewhere in the network.

Source: He et al., "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017; He et al., "AMC", ECCV 2018,
which prices episodes this way.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from envs.compression.float_network.interpreter import pad_same
from envs.compression.structure.dependencies import ChannelDependencies
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import Conv2D, Dense, WeightLayer

# Positions of a feature map looked at per sample: neighbours say nearly the same.
_POSITIONS = 16
# Pull toward the trained weights, in mean variances of an input per feature and row seen: little data, much trust.
_RIDGE = 0.1


@dataclass(frozen=True, eq=False)
class _Inputs:
    """What one layer read: mean (F) and covariance (F x F) of its input features, float64, and the pull it takes."""

    mean: torch.Tensor
    covariance: torch.Tensor
    ridge: float


class LeastSquaresWeights:
    """The weights of pruned copies of one network.

    Args:
        module: The trained network; not changed.
        trace: Its trace.
        dependencies: Its dependencies.
        x: Training inputs, N x C x H x W.
        seed: Of the positions that are looked at.
    """

    def __init__(
        self, module: nn.Module, trace: TorchTrace, dependencies: ChannelDependencies, x: torch.Tensor, *, seed: int
    ) -> None:
        self._layers: list[WeightLayer] = [
            layer for layer in trace.graph.weight_layers if isinstance(layer, Conv2D | Dense)
        ]
        self._dependencies = dependencies
        self._weights = {layer.name: _matrix(module, layer).double() for layer in self._layers}
        self._inputs = _inputs(module, self._layers, x, seed)
        self._markers = copy.deepcopy(module)
        for layer in self._layers:
            weight = self._markers.get_submodule(layer.name).get_parameter("weight")
            weight.data = torch.arange(weight.numel(), dtype=torch.float64).reshape(weight.shape)
        self._solved: dict[tuple[str, bytes], tuple[torch.Tensor, torch.Tensor]] = {}

    def apply(self, smaller: nn.Module, removed: Mapping[str, list[int]]) -> None:
        """Give a pruned copy the weights that repeat the outputs of the trained network best.

        Args:
            smaller: What ``dependencies.without(module, removed)`` returned; changed in place.
            removed: Channels taken out, by the first layer of their set.
        """
        markers = self._dependencies.without(self._markers, removed)
        for layer in self._layers:
            part = smaller.get_submodule(layer.name)
            rows, features = self._kept(layer, markers)
            if len(features) == self._weights[layer.name].shape[1]:
                continue
            weight, offset = self._solution(layer.name, features)
            with torch.no_grad():
                target = part.get_parameter("weight")
                target.copy_(weight[rows].reshape(target.shape))
                if isinstance(part.bias, torch.Tensor):
                    part.bias.add_(offset[rows].to(part.bias.dtype))

    def _kept(self, layer: WeightLayer, markers: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which outputs and which input features of a layer are left."""
        numbers = _matrix(markers, layer).round().long()
        width = self._weights[layer.name].shape[1]
        return numbers[:, 0] // width, numbers[0] % width

    def _solution(self, name: str, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the weights of all outputs for some input features, and what their means add to the biases."""
        key = (name, features.numpy().tobytes())
        if key not in self._solved:
            weight, inputs = self._weights[name], self._inputs[name]
            ridge = inputs.ridge * torch.eye(len(features), dtype=torch.float64)
            among = inputs.covariance[features][:, features] + ridge
            wanted = inputs.covariance[features] @ weight.T + ridge @ weight[:, features].T
            solved = torch.linalg.solve(among, wanted).T
            offset = weight @ inputs.mean - solved @ inputs.mean[features]
            self._solved[key] = solved, offset
        return self._solved[key]


def _matrix(module: nn.Module, layer: WeightLayer) -> torch.Tensor:
    return module.get_submodule(layer.name).get_parameter("weight").detach().flatten(1)


def _inputs(module: nn.Module, layers: list[WeightLayer], x: torch.Tensor, seed: int) -> dict[str, _Inputs]:
    seen: dict[str, torch.Tensor] = {}
    watched = copy.deepcopy(module).eval()
    generator = torch.Generator().manual_seed(seed)

    def watch(layer: WeightLayer) -> None:
        def hook(part: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[layer.name] = _features(layer, part, inputs[0], generator)

        watched.get_submodule(layer.name).register_forward_pre_hook(hook)

    for layer in layers:
        watch(layer)
    with torch.no_grad():
        watched(x)
    return {name: _summary(values) for name, values in seen.items()}


def _summary(rows: torch.Tensor) -> _Inputs:
    covariance = torch.cov(rows.T).reshape(rows.shape[1], -1)
    pull = _RIDGE * rows.shape[1] / len(rows) * float(covariance.diagonal().mean())
    # Inputs that never vary tell nothing: any pull keeps the trained weights.
    return _Inputs(rows.mean(dim=0), covariance, pull or 1.0)


def _features(layer: WeightLayer, part: nn.Module, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return what a layer multiplies with its weights, one row per position looked at, float64."""
    if not isinstance(layer, Conv2D):
        return x.double()
    padded = _padded(layer, part, x.unsqueeze(2) if x.ndim == 3 else x)
    columns = F.unfold(padded, layer.kernel, stride=layer.stride)
    chosen = torch.randint(columns.shape[2], (len(x), 1, _POSITIONS), generator=generator)
    picked = columns.gather(2, chosen.expand(-1, columns.shape[1], -1))
    return picked.transpose(1, 2).flatten(0, 1).double()


def _padded(layer: Conv2D, part: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what a window slides over; the module knows of padding that is a layer of its own in the graph."""
    padding = part.padding
    if layer.padding == "same" or not isinstance(padding, tuple):
        return pad_same(x, layer.kernel, layer.stride, layer.padding)
    down, right = (0, *padding) if len(padding) == 1 else padding
    return F.pad(x, (right, right, down, down))
