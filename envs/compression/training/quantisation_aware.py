"""Training a network with its tensors and weights rounded as its integers will be: quantisation-aware training.

The layer graph runs in float with batch norm folded. Every tensor the integer network has is rounded to its grid
(outputs behind their fused activation; pooling and reshape share their input's grid), every weight to its own.
Gradients pass straight through the rounding. What was trained is what runs: its scales are the integers'.

- ``"ema"``: the range of a tensor is the moving average of what batches hold, the scale of weights follows from the
  largest one (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
  Inference", CVPR 2018).
- ``"learned"``: scales of tensors and weights are trained, and zero points where no activation pins them (Esser et al.,
  "Learned Step Size Quantization", ICLR 2020; Bhalgat et al., "LSQ+", CVPR Workshops 2020). They are trained as
  logarithms, and without the papers' gradient scale: Adam's steps depend on neither the unit nor the size of a gradient
  (Jain et al., "Trained Quantization Thresholds", MLSys 2020). LSQ+'s offset is a zero point here, as in the integers.

Batch norm is folded once, before: with running statistics, so that the training sees the network that runs.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.folding import FoldedLayer, fold, has_bias, write_folded
from envs.compression.float_network.interpreter import run_layer
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise, quantise_folded, rounded_weight, scale_roots
from envs.compression.training.recovery import DivergedError, train_steps
from envs.compression.training.recovery_settings import RecoverySettings
from envs.compression.training.trainable_grids import GridWeights, tensor_grid
from envs.errors import EnvError
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import INPUT, LayerGraph

# Folded weights bear smaller steps than those in front of a batch norm, which makes every size of them equal.
_RATE = 0.1


def train_quantised(
    module: nn.Module,
    trace: TorchTrace,
    train: LabelledSamples,
    settings: RecoverySettings,
    *,
    calibration: torch.Tensor,
    activation_ranges: str,
    stored_bits: Mapping[str, int] | None = None,
    taught: torch.Tensor | None = None,
    seed: int,
) -> QuantisedNetwork:
    """Train a network quantisation-aware and return it in integers.

    The module ends with the weights of the integer network as real numbers, its batch norms folded into them: they only
    add the bias.

    Args:
        module: The recovered network, changed in place; it trains on the torch device it lies on and ends on the CPU.
        trace: Its trace; the bit widths of the weights are its graph's.
        train: Training samples.
        settings: ``quantised_steps``, batch size, distillation; a tenth of its learning rate.
        calibration: Inputs that show the ranges the training starts from.
        activation_ranges: How they do so, see :func:`envs.compression.integer.quantisation.quantise`.
        stored_bits: Bit widths of coarser grids by layer name.
        taught: What the uncompressed network answers to the training samples; needed for distillation.
        seed: Of the sample order.

    Raises:
        DivergedError: The loss or a weight is not finite.
        EnvError: Activations that are not 8 bits wide, or distillation without ``taught``.
    """
    _check_activations(trace.graph)
    device = next(module.parameters()).device
    module.cpu().eval()
    start = quantise(module, trace, calibration, activation_ranges=activation_ranges, stored_bits=stored_bits)
    network = QuantisationAwareNetwork(
        start,
        fold(module, trace),
        learned=settings.quantisation_aware == "learned",
        stored_bits=stored_bits,
        fixed_biases=frozenset(
            layer.name for layer in trace.graph.weight_layers if not has_bias(module, trace, layer.name)
        ),
    ).to(device)
    shorter = replace(settings, steps=settings.quantised_steps, learning_rate=_RATE * settings.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    train_steps(network, train, shorter, generator, taught)
    trained = network.cpu().eval().quantised()
    write_folded(module, trace, _rounded_layers(trained))
    return trained


def _check_activations(graph: LayerGraph) -> None:
    for name, bits in graph.bits.items():
        if bits != 8:
            raise EnvError(
                f"tensor {name!r} has {bits} bits; quantisation-aware training knows 8-bit activations only: set "
                'quantisation_aware = "none" or the activations to 8 bits'
            )


def _rounded_layers(network: QuantisedNetwork) -> Mapping[str, FoldedLayer]:
    """Return the weights and biases of an integer network as real numbers."""
    layers = {}
    for layer in network.graph.weight_layers:
        found, source = network.weights[layer.name], network.tensors[layer.inputs[0]]
        bias = torch.from_numpy(found.bias * (source.scale * found.scales.astype(np.float64))).float()
        layers[layer.name] = FoldedLayer(rounded_weight(layer, found), bias)
    return layers


class QuantisationAwareNetwork(nn.Module):
    """A folded network whose tensors and weights are rounded to their grids, with straight-through gradients.

    In training mode moving averages move.

    Args:
        start: The network in integers: its graph, and the scales of the tensors to start from.
        folded: Its weights before they were rounded.
        learned: Whether scales are trained; else moving averages.
        stored_bits: Bit widths of coarser grids by layer name.
        fixed_biases: Layers whose bias is not trained.
    """

    def __init__(
        self,
        start: QuantisedNetwork,
        folded: Mapping[str, FoldedLayer],
        *,
        learned: bool,
        stored_bits: Mapping[str, int] | None = None,
        fixed_biases: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._graph, self._stored_bits = start.graph, dict(stored_bits or {})
        # Names of layers hold dots, which those of submodules may not: torch finds the parts in lists.
        weights = {
            layer.name: GridWeights(
                layer,
                folded[layer.name],
                learned=learned,
                stored_bits=self._stored_bits.get(layer.name),
                trains_bias=layer.name not in fixed_biases,
            )
            for layer in start.graph.weight_layers
        }
        self._weights, self._weight_list = weights, nn.ModuleList(weights.values())
        self._roots = scale_roots(start.graph)
        grids = {
            name: tensor_grid(
                start.tensors[name], learned=learned, layer=None if name == INPUT else start.graph.layer(name)
            )
            for name in dict.fromkeys(self._roots.values())
        }
        self._grids, self._grid_list = grids, nn.ModuleList(grids.values())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs, N x outputs, for inputs N x C x H x W."""
        return self.tensors(x)[self._graph.output].flatten(1)

    def tensors(self, x: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return every rounded tensor by name."""
        tensors = {INPUT: self._on_grid(INPUT, x)}
        for layer in self._graph.layers:
            weights = self._weights[layer.name]() if layer.name in self._weights else None
            tensors[layer.name] = self._on_grid(
                layer.name, run_layer(layer, [tensors[name] for name in layer.inputs], weights)
            )
        return tensors

    def _on_grid(self, name: str, values: torch.Tensor) -> torch.Tensor:
        root = self._roots[name]
        on_grid: torch.Tensor = self._grids[root](values, learns=self.training and root == name)
        return on_grid

    def quantised(self) -> QuantisedNetwork:
        """Return the network in integers.

        Raises:
            DivergedError: A weight or a scale is not finite.
        """
        if not all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters()):
            raise DivergedError(
                "a weight is not finite after quantisation-aware training; lower the recovery learning rate"
            )
        tensors = {name: self._grids[root].quantisation() for name, root in self._roots.items()}
        return quantise_folded(
            self._graph,
            {name: part.latent() for name, part in self._weights.items()},
            tensors,
            stored_bits=self._stored_bits,
            weight_scales={name: part.scales() for name, part in self._weights.items()},
        )
