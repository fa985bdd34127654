"""How much each channel of a group matters, by several measures.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (norm of a filter's weights); Molchanov et al.,
"Importance Estimation for Neural Network Pruning", CVPR 2019 (first-order Taylor expansion of the loss in a gate).
"""

import copy
import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from envs.compression.groups import PruningGroup
from envs.compression.samples import LabelledSamples
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.from_torch import TorchTrace

_NORMS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda rows: rows.abs().sum(dim=1),
    "l2": lambda rows: rows.square().sum(dim=1).sqrt(),
}
# Measures that need the weights only; "taylor" needs samples as well.
CRITERION_NAMES = (*_NORMS, "random")


def channel_importance(module: nn.Module, group: PruningGroup, *, criterion: str = "l1", seed: int = 0) -> np.ndarray:
    """Return how much each channel of a group matters.

    The norm of the channel's weights in every layer of the group, divided by the layer's mean norm so that layers with
    large weights do not outvote the others, averaged over the layers.

    Returns:
        One number per channel; with ``"random"`` uniform in [0, 1).
    """
    if criterion not in CRITERION_NAMES:
        raise EnvError(unknown_name("pruning criterion", criterion, CRITERION_NAMES))
    if criterion == "random":
        return np.random.default_rng([seed, zlib.crc32(group.name.encode())]).random(group.channels)
    total = torch.zeros(group.channels, dtype=torch.float64)
    for name in group.layers:
        weight = module.get_submodule(name).get_parameter("weight").detach()
        norms = _NORMS[criterion](weight.flatten(1).double().cpu())
        if not bool(torch.isfinite(norms).all()):
            raise EnvError(f"layer {name!r} has weights that are not finite; lower the learning rate")
        total += _relative(norms)
    return (total / len(group.layers)).numpy()


def taylor_importance(
    module: nn.Module, trace: TorchTrace, groups: Iterable[PruningGroup], samples: LabelledSamples
) -> Mapping[str, np.ndarray]:
    """Return how much the loss would change, to first order, without each channel.

    A gate of 1 multiplies every channel behind its layer (and batch norm). The gradient of a sample's loss in the gate
    tells what closing it would do; its root mean square over the samples counts, put together over the layers of a
    group as in :func:`channel_importance`.

    Args:
        module: The trained network; not changed.
        trace: Its trace.
        groups: Its pruning groups.
        samples: Training samples; a few hundred will do.

    Returns:
        One number per channel, by group name.
    """
    gated = copy.deepcopy(module).eval()
    gates: dict[str, torch.Tensor] = {}
    for layer in trace.graph.weight_layers:
        gate = torch.ones(len(samples), trace.graph.shapes[layer.name][2], requires_grad=True)
        gates[layer.name] = gate
        last = gated.get_submodule(trace.batch_norms.get(layer.name, layer.name))
        last.register_forward_hook(_gating(gate))
    with torch.enable_grad():
        loss = samples.goal.loss(gated(samples.x), samples.x, samples.y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(gates.values()))
    effects = {
        name: gradient.double().square().mean(dim=0).sqrt() for name, gradient in zip(gates, gradients, strict=True)
    }
    for name, effect in effects.items():
        if not bool(torch.isfinite(effect).all()):
            raise EnvError(f"layer {name!r} has gradients that are not finite; lower the learning rate of the training")
    importance: dict[str, np.ndarray] = {}
    for group in groups:
        relative = torch.stack([_relative(effects[name]) for name in group.layers])
        importance[group.name] = relative.mean(dim=0).numpy()
    return importance


def _gating(gate: torch.Tensor) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
    return lambda module, inputs, output: output * gate.reshape(*gate.shape, *[1] * (output.ndim - 2))


def _relative(values: torch.Tensor) -> torch.Tensor:
    mean = values.mean()
    # A layer of zeros has no say.
    return values / mean if mean > 0 else values
