"""Dynamic quantisation of dense layers: int8 weights, inputs rounded at every inference by their own range.

The hybrid arithmetic of LiteRT: a dense layer rounds each sample's input symmetrically to -127..127, multiplies
integers, and makes real numbers of the sums; everything between the layers, and every other layer, is float32. Weights
are symmetric per output, and nothing is calibrated.

No inference engine of :mod:`hw_models` runs it: TFLM refuses models with float tensors and int8 weights. So it is no
choice of a policy, has no cost on a board and is not exported. It says what a float network loses, and what it saves,
where a runtime has such kernels (LiteRT on a phone or a gateway).

Source: TensorFlow Lite, ``kernels/fully_connected.cc`` (``EvalHybrid``), post-training dynamic range quantisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from envs.compression.float_network.folding import FoldedLayer, fold
from envs.compression.float_network.interpreter import activate, run_layer
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.errors import EnvError
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import INPUT, Dense, LayerGraph

_LIMIT = 127
_FLOAT_BYTES = 4


@dataclass(frozen=True, eq=False)
class DynamicWeights:
    """Weights of one dense layer.

    Attributes:
        values: int8, O x I, -127..127.
        scales: float32, one per output.
        bias: float32, one per output.
    """

    values: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor

    def sums(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs before the activation, N x O, for float inputs N x I."""
        peaks = x.abs().amax(dim=1, keepdim=True)
        # An input of zeros has no range; any scale represents it.
        scales = torch.where(peaks > 0, peaks / _LIMIT, 1.0)
        rounded = (x / scales).double()
        integers = torch.copysign(torch.floor(rounded.abs() + 0.5), rounded).clamp(-_LIMIT, _LIMIT)
        # Integers in float64 are exact.
        return (integers @ self.values.double().T).float() * (scales * self.scales) + self.bias


@dataclass(frozen=True, eq=False)
class DynamicNetwork:
    """A network whose dense layers have int8 weights and float tensors.

    Attributes:
        graph: The layers.
        dense: Weights of the dense layers by name.
        rest: Folded float weights of the others by name.
    """

    graph: LayerGraph
    dense: Mapping[str, DynamicWeights]
    rest: Mapping[str, FoldedLayer]

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output for float inputs (N x C x H x W), N x outputs."""
        tensors = {INPUT: x}
        with torch.no_grad():
            for layer in self.graph.layers:
                inputs = [tensors[name] for name in layer.inputs]
                if isinstance(layer, Dense):
                    sums = self.dense[layer.name].sums(inputs[0].flatten(1))
                    tensors[layer.name] = activate(sums, layer.activation)[:, :, None, None]
                else:
                    tensors[layer.name] = run_layer(layer, inputs, self.rest.get(layer.name))
        return tensors[self.graph.output].flatten(1)

    def error(self, samples: LabelledSamples) -> float:
        """Return the error as the samples' purpose defines it."""
        return samples.purpose.error(self.logits(in_memory(samples.x)), samples.x, samples.y)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights, scales and biases; those of the float network are :func:`float_weight_bytes`."""
        integers = sum(part.values.numel() + _FLOAT_BYTES * len(part.scales) for part in self.dense.values())
        biases = sum(len(part.bias) for part in self.dense.values())
        return integers + _FLOAT_BYTES * (biases + sum(map(_count, self.rest.values())))


def quantise_dynamically(module: nn.Module, trace: TorchTrace) -> DynamicNetwork:
    """Return a network with its dense layers quantised; the module is not changed.

    Args:
        module: The trained network.
        trace: Its trace.

    Raises:
        EnvError: There is no dense layer, or weights are not finite.
    """
    folded = fold(module, trace)
    names = [layer.name for layer in trace.graph.weight_layers if isinstance(layer, Dense)]
    if not names:
        raise EnvError(
            "the network has no dense layer; dynamic quantisation would change nothing: use envs.compression.quantise"
        )
    return DynamicNetwork(
        trace.graph,
        MappingProxyType({name: _quantised(folded[name]) for name in names}),
        MappingProxyType({name: layer for name, layer in folded.items() if name not in names}),
    )


def float_weight_bytes(module: nn.Module, trace: TorchTrace) -> int:
    """Return the bytes of a network's weights and biases in float32, batch norm folded."""
    return _FLOAT_BYTES * sum(map(_count, fold(module, trace).values()))


def _quantised(layer: FoldedLayer) -> DynamicWeights:
    peaks = layer.weight.abs().amax(dim=1)
    scales = torch.where(peaks > 0, peaks / _LIMIT, 1.0)
    values = torch.round(layer.weight / scales[:, None]).clamp(-_LIMIT, _LIMIT).to(torch.int8)
    return DynamicWeights(values, scales, layer.bias)


def _count(layer: FoldedLayer) -> int:
    return layer.weight.numel() + layer.bias.numel()
