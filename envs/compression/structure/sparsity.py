"""Single weights that are zero and stay so while a network recovers.

A dense kernel computes a zero as any other weight: sparsity shortens no inference and, in a runtime that stores weights
as they are, frees no flash. What shrinks is the entropy-coded download.

Source: Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS 2015.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil

import torch
from torch import nn

from envs.errors import EnvError
from hw_models.errors import unknown_name

SCOPES = ("local", "global")


def magnitude_masks(
    module: nn.Module, layers: Iterable[str], share: float, *, scope: str = "local"
) -> Mapping[str, torch.Tensor]:
    """Return which weights stay: True for all but the smallest.

    The largest weight of a layer always stays, so that no layer is emptied.

    Args:
        module: The network.
        layers: Names of its layers with weights.
        share: Zeros over all weights of these layers, in [0, 1); rounded up to a whole weight.
        scope: Whether every layer has that share (``"local"``) or all together, ranked by their magnitudes over the
            layer's mean (``"global"``).

    Raises:
        EnvError: A share out of range, an unknown scope, or weights that are not finite.
    """
    if not 0 <= share < 1:
        raise EnvError(f"the sparsity is {share}; it must be at least 0 and below 1")
    if scope not in SCOPES:
        raise EnvError(unknown_name("sparsity scope", scope, SCOPES))
    relative = {name: _relative_magnitudes(module, name) for name in layers}
    if scope == "local":
        return {name: _mask(values, share) for name, values in relative.items()}
    if not relative:
        return {}
    together = _mask(torch.cat([values.flatten() for values in relative.values()]), share)
    parts = torch.split(together, [values.numel() for values in relative.values()])
    return {name: part.reshape(values.shape) for (name, values), part in zip(relative.items(), parts, strict=True)}


@contextmanager
def kept_sparse(module: nn.Module, masks: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Set the masked weights of a network to zero and hold them there: they get no gradient inside the block.

    An optimiser that starts inside never moves them; weight decay leaves zero as it is.
    """
    parameters = {name: module.get_submodule(name).get_parameter("weight") for name in masks}
    for name, parameter in parameters.items():
        parameter.data.mul_(masks[name].to(parameter.device))
    hooks = [
        parameter.register_hook(_masking(masks[name]))  # type: ignore[no-untyped-call]
        for name, parameter in parameters.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _relative_magnitudes(module: nn.Module, name: str) -> torch.Tensor:
    """Return the magnitudes of a layer's weights over their mean, the largest infinite so that it stays."""
    magnitudes = module.get_submodule(name).get_parameter("weight").detach().abs().cpu()
    if not bool(torch.isfinite(magnitudes).all()):
        raise EnvError(f"layer {name!r} has weights that are not finite; lower the learning rate")
    relative = magnitudes / magnitudes.mean().clamp(min=torch.finfo(magnitudes.dtype).tiny)
    relative.view(-1)[relative.argmax()] = torch.inf
    return relative


def _mask(values: torch.Tensor, share: float) -> torch.Tensor:
    """Return False for the smallest share of the values, but never for an infinite one."""
    order = torch.argsort(values.flatten(), stable=True)
    mask = torch.ones(values.numel(), dtype=torch.bool)
    # A share times a count that should be whole may come out a little above.
    mask[order[: ceil(share * values.numel() - 1e-9)]] = False
    return mask.reshape(values.shape) | torch.isinf(values)


def _masking(mask: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient * mask.to(gradient.device)
