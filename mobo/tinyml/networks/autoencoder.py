"""A dense autoencoder: hidden layers, a bottleneck, the same hidden layers again, one output per input value.

The anomaly-detection network of MLPerf Tiny (640-128-128-128-128-8-128-128-128-128-640) is one of the designs; its
original: Y. Koizumi et al.: Description and Discussion on DCASE2020 Challenge Task 2 (DCASE workshop 2020).
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import prod

import torch
from torch import nn

from hw_models.graph.layer_graph import Shape
from mobo.space.search_space import IntParameter, OrdinalParameter, Parameter
from mobo.tinyml.networks.family import NetworkFamily


class Autoencoder(nn.Module):
    """Dense layers, each but the last with batch norm and ReLU; returns one vector."""

    def __init__(self, input_shape: Shape, output_count: int, *, width: int, layers: int, bottleneck: int) -> None:
        super().__init__()
        sizes = (prod(input_shape), *[width] * layers, bottleneck, *[width] * layers)
        self.flatten = nn.Flatten()
        self.hidden = nn.Sequential(*hidden_layers(sizes))
        self.output = nn.Linear(sizes[-1], output_count)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``N x output_count`` for inputs ``N x C x H x W``."""
        outputs: torch.Tensor = self.output(self.hidden(self.flatten(x)))
        return outputs


def hidden_layers(sizes: tuple[int, ...]) -> Iterator[nn.Module]:
    """Yield dense layers from each of some sizes to the next, with batch norm and ReLU."""
    for inputs, outputs in pairwise(sizes):
        yield nn.Linear(inputs, outputs, bias=False)
        yield nn.BatchNorm1d(outputs)
        yield nn.ReLU()


class AutoencoderFamily(NetworkFamily):
    """Dense autoencoders; on a task with classes their outputs are the classes."""

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return width of the hidden layers, how many there are on either side, and width of the bottleneck."""
        return (
            OrdinalParameter(name="width", values=(32, 48, 64, 96, 128)),
            IntParameter(name="layers", low=1, high=4),
            OrdinalParameter(name="bottleneck", values=(4, 8, 16, 32)),
        )

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return the network."""
        return Autoencoder(
            input_shape,
            output_count,
            width=int(values["width"]),
            layers=int(values["layers"]),
            bottleneck=int(values["bottleneck"]),
        )
