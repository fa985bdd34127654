"""How much each channel of a group matters, by several measures.

Sources: Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017 (norm of a filter's weights); Molchanov et al.,
"Importance Estimation for Neural Network Pruning", CVPR 2019 (first-order Taylor expansion of the loss in a gate);
Hu et al., "Network Trimming", 2016 (average percentage of zeros behind a ReLU); Liu et al., "Learning Efficient
Convolutional Networks through Network Slimming", ICCV 2017 (scale of the batch norm).
"""

import copy
import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.folding import fold
from envs.compression.float_network.interpreter import run_float
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import in_memory
from envs.compression.structure.groups import PruningGroup
from envs.errors import EnvError
from envs.one_dnn import in_quick_order
from hw_models.errors import unknown_name
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import ActivationLayer, Add, Elementwise, LayerGraph, Pad, Pool2D, Quantize

_NORMS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "l1": lambda rows: rows.abs().sum(dim=1),
    "l2": lambda rows: rows.square().sum(dim=1).sqrt(),
}
# Measures that need the weights only; the others need samples or batch norms as well.
_WEIGHT_CRITERIA = (*_NORMS, "random")
CRITERION_NAMES = ("taylor", "apoz", "bn_scale", *_WEIGHT_CRITERIA)
# Layers behind which a channel is still the same one.
_SAME_CHANNELS = (Add, Elementwise, ActivationLayer, Pool2D, Pad, Quantize)


def importance_of(
    module: nn.Module,
    trace: TorchTrace,
    groups: Iterable[PruningGroup],
    *,
    criterion: str,
    samples: LabelledSamples,
    seed: int = 0,
) -> Mapping[str, np.ndarray]:
    """Return how much every channel of a trained network matters by a criterion.

    Args:
        module: The trained network, on the torch device of the samples; not changed.
        trace: Its trace.
        groups: Its pruning groups.
        criterion: ``"taylor"``, ``"apoz"``, ``"bn_scale"``, ``"l1"``, ``"l2"`` or ``"random"``.
        samples: Training samples, for ``"taylor"`` and ``"apoz"``.
        seed: For ``"random"``.

    Returns:
        One number per channel, by group name.

    Raises:
        EnvError: An unknown criterion, one that has nothing to measure in a prunable group, or numbers that are not
            finite.
    """
    if criterion == "taylor":
        return taylor_importance(module, trace, groups, samples)
    if criterion == "apoz":
        return apoz_importance(module, trace, groups, in_memory(samples.x))
    if criterion == "bn_scale":
        return batch_norm_importance(module, trace, groups)
    if criterion not in CRITERION_NAMES:
        raise EnvError(unknown_name("pruning criterion", criterion, CRITERION_NAMES))
    return {group.name: channel_importance(module, group, criterion=criterion, seed=seed) for group in groups}


def channel_importance(module: nn.Module, group: PruningGroup, *, criterion: str = "l1", seed: int = 0) -> np.ndarray:
    """Return how much each channel of a group matters.

    The norm of the channel's weights in every layer of the group, divided by the layer's mean norm so that layers with
    large weights do not outvote the others, averaged over the layers.

    Returns:
        One number per channel; with ``"random"`` uniform in [0, 1).
    """
    if criterion not in _WEIGHT_CRITERIA:
        raise EnvError(unknown_name("pruning criterion", criterion, _WEIGHT_CRITERIA))
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
        shape = len(samples), trace.graph.shapes[layer.name][2]
        gate = torch.ones(shape, device=samples.y.device, requires_grad=True)
        gates[layer.name] = gate
        last = gated.get_submodule(trace.batch_norms.get(layer.name, layer.name))
        last.register_forward_hook(_gating(gate))
    with torch.enable_grad():
        x = in_quick_order(in_memory(samples.x), gated)
        loss = samples.purpose.loss(gated(x), x, samples.y, reduction="sum")
        gradients = torch.autograd.grad(loss, list(gates.values()))
    effects = {
        name: gradient.cpu().double().square().mean(dim=0).sqrt()
        for name, gradient in zip(gates, gradients, strict=True)
    }
    for name, effect in effects.items():
        if not bool(torch.isfinite(effect).all()):
            raise EnvError(f"layer {name!r} has gradients that are not finite; lower the learning rate of the training")
    importance: dict[str, np.ndarray] = {}
    for group in groups:
        relative = torch.stack([_relative(effects[name]) for name in group.layers])
        importance[group.name] = relative.mean(dim=0).numpy()
    return importance


def apoz_importance(
    module: nn.Module, trace: TorchTrace, groups: Iterable[PruningGroup], x: torch.Tensor
) -> Mapping[str, np.ndarray]:
    """Return how often each channel is not zero behind the ReLUs of its group: 1 minus the average share of zeros.

    Args:
        module: The trained network; not changed.
        trace: Its trace.
        groups: Its pruning groups.
        x: Training inputs, N x C x H x W; a few hundred will do.

    Returns:
        One number per channel, by group name, averaged over the ReLUs of the group; ones where a group stays whole.

    Raises:
        EnvError: A prunable group has no ReLU.
    """
    tensors = run_float(trace.graph, fold(module, trace), x)
    importance: dict[str, np.ndarray] = {}
    for group in groups:
        rectified = _rectified(trace.graph, group) if group.prunable else ()
        if group.prunable and not rectified:
            raise EnvError(
                f"the pruning group {group.name!r} has no ReLU, so the criterion 'apoz' has no zeros to count; "
                "choose another criterion"
            )
        shares = [(tensors[name] > 0).cpu().double().mean(dim=(0, 2, 3)).numpy() for name in rectified]
        importance[group.name] = np.mean(shares, axis=0) if shares else np.ones(group.channels)
    return importance


def _rectified(graph: LayerGraph, group: PruningGroup) -> tuple[str, ...]:
    """Return the tensors behind a ReLU that carry the channels of a group."""
    carriers = set(group.layers)
    for layer in graph.layers:
        if isinstance(layer, _SAME_CHANNELS) and carriers.intersection(layer.inputs):
            carriers.add(layer.name)
    return tuple(
        layer.name
        for layer in graph.layers
        if layer.name in carriers and getattr(layer, "activation", "none") in ("relu", "relu6")
    )


def batch_norm_importance(
    module: nn.Module, trace: TorchTrace, groups: Iterable[PruningGroup]
) -> Mapping[str, np.ndarray]:
    """Return the magnitude of each channel's batch norm scale, put together as in :func:`channel_importance`.

    Layers of a group without a batch norm have no say.

    Returns:
        One number per channel, by group name; ones where a group stays whole.

    Raises:
        EnvError: No layer of a prunable group has a batch norm with a scale, or a scale is not finite.
    """
    importance: dict[str, np.ndarray] = {}
    for group in groups:
        scales = _batch_norm_scales(module, trace, group) if group.prunable else []
        if group.prunable and not scales:
            raise EnvError(
                f"the pruning group {group.name!r} has no batch norm with a scale, so the criterion 'bn_scale' has "
                "nothing to rank; choose another criterion"
            )
        relative = [_relative(scale) for scale in scales] or [torch.ones(group.channels, dtype=torch.float64)]
        importance[group.name] = torch.stack(relative).mean(dim=0).numpy()
    return importance


def _batch_norm_scales(module: nn.Module, trace: TorchTrace, group: PruningGroup) -> list[torch.Tensor]:
    scales = []
    for name in group.layers:
        weight = module.get_submodule(trace.batch_norms[name]).weight if name in trace.batch_norms else None
        if isinstance(weight, torch.Tensor):
            if not bool(torch.isfinite(weight).all()):
                raise EnvError(f"the batch norm behind layer {name!r} is not finite; lower the learning rate")
            scales.append(weight.detach().abs().double().cpu())
    return scales


def _gating(gate: torch.Tensor) -> Callable[[nn.Module, object, torch.Tensor], torch.Tensor]:
    return lambda module, inputs, output: output * gate.reshape(*gate.shape, *[1] * (output.ndim - 2))


def _relative(values: torch.Tensor) -> torch.Tensor:
    mean = values.mean()
    # A layer of zeros has no say.
    return values / mean if mean > 0 else values
