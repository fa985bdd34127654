"""A multilayer perceptron: the input as one vector, hidden dense layers, one dense layer."""

from collections.abc import Mapping
from math import prod

import torch
from torch import nn

from hw_models.graph.layer_graph import Shape
from mobo.space.search_space import IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.autoencoder import hidden_layers
from mobo.tinyml.networks.family import NetworkFamily


class MLP(nn.Module):
    """Dense layers, each but the last with batch norm and ReLU; returns logits."""

    def __init__(self, input_shape: Shape, output_count: int, *, width: int, layers: int) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(*hidden_layers((prod(input_shape), *[width] * layers)))
        self.classifier = nn.Linear(width, output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``N x output_count`` for inputs ``N x C x H x W``."""
        logits: torch.Tensor = self.classifier(self.hidden(self.flatten(x)))
        return logits


class MLPFamily(NetworkFamily):
    """Multilayer perceptrons: next to no latency, and a weight for every value of the input."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width of the hidden layers and how many there are."""
        return (
            OrdinalParameter(name="width", values=(8, 16, 24, 32, 48, 64)),
            IntParameter(name="layers", low=1, high=3),
        )

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network."""
        return MLP(input_shape, output_count, width=int(values["width"]), layers=int(values["layers"]))
