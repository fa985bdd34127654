"""Letting a pruned network recover: batch norm statistics measured anew, and a short training.

Without it the error after pruning is that of chance, whatever was removed, and nothing can be learned from it.

Source of the distillation: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import cos, isfinite, pi

import torch
from torch import nn
from torch.nn.utils import parametrize

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import reader_of
from envs.compression.integer.weight_grid import has_one_scale, weight_limit
from envs.compression.training.adam import Adam
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from envs.one_dnn import in_quick_order


class DivergedError(EnvError):
    """The loss became infinite or not a number during recovery."""


def recover(
    module: nn.Module,
    train: LabelledSamples,
    settings: RecoverySettings,
    *,
    weight_bits: Mapping[str, int] | None = None,
    stored_bits: Mapping[str, int] | None = None,
    taught: torch.Tensor | None = None,
    seed: int,
) -> None:
    """Recover a network in place, in float; it ends in eval mode.

    Layers with 4-bit weights, or with weights stored on a coarser grid than they are computed with, train with those
    weights on their grid (straight-through gradients) and stay on it.

    Args:
        module: The pruned network; it recovers on the torch device it lies on.
        train: Training samples.
        settings: Length and learning rate.
        weight_bits: Bit widths of the weights by layer name; 8 where a layer is not named.
        stored_bits: Bit widths of coarser grids by layer name.
        taught: What the uncompressed network answers to the training samples, N x outputs; needed for distillation.
        seed: Of the sample order and of dropout; the outcome depends on nothing else that is random.

    Raises:
        DivergedError: The loss is not finite.
        EnvError: Distillation without ``taught``.
    """
    widths = {name: (bits, None) for name, bits in (weight_bits or {}).items() if bits == 4}
    grids = widths | {name: ((weight_bits or {}).get(name, 8), bits) for name, bits in (stored_bits or {}).items()}
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)
    measured = in_quick_order(train.x[order[: settings.batch_norm_samples]], module).to(_device(module))
    with _on_grids(module, grids), torch.random.fork_rng(devices=[]):
        # Dropout draws from the global generator only.
        torch.manual_seed(seed)
        # Training uses the statistics of its own batches, so those of before need not be measured first.
        if settings.steps:
            train_steps(module, train, settings, generator, taught)
        reestimate_batch_norms(module, measured)
    module.eval()


def reestimate_batch_norms(module: nn.Module, x: torch.Tensor, *, batch_size: int = 256) -> None:
    """Measure the statistics of every batch norm anew: their plain average over batches of ``x``; leaves eval mode.

    Args:
        module: The network, changed in place.
        x: Inputs, N x C x H x W, at least two.
        batch_size: Samples at once.
    """
    module.eval()
    batch_norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    if not batch_norms:
        return
    momenta = [batch_norm.momentum for batch_norm in batch_norms]
    for batch_norm in batch_norms:
        batch_norm.reset_running_stats()
        batch_norm.momentum = None  # a cumulative average
        batch_norm.train()
    with torch.no_grad():
        # Batches of equal size: none can be too small to have a variance.
        for batch in torch.tensor_split(x, max(1, len(x) // batch_size)):
            module(batch)
    for batch_norm, momentum in zip(batch_norms, momenta, strict=True):
        batch_norm.momentum = momentum
    module.eval()


def train_steps(
    module: nn.Module,
    train: LabelledSamples,
    settings: RecoverySettings,
    generator: torch.Generator,
    taught: torch.Tensor | None,
) -> None:
    """Train a network in place; it ends in training mode.

    Args:
        module: The network, on any torch device.
        train: Training samples.
        settings: All its steps are taken.
        generator: Decides the order of the samples.
        taught: What the uncompressed network answers to them, N x outputs; needed for distillation.

    Raises:
        DivergedError: The loss is not finite.
        EnvError: Distillation without ``taught``.
    """
    if settings.distillation_weight and taught is None:
        raise EnvError(
            f"distillation_weight is {settings.distillation_weight}, but there is no teacher; pass taught or make it 0"
        )
    module.train()
    optimiser = Adam(module.parameters())
    batches = _batches(len(train), settings.batch_size, generator)
    device = _device(module)
    inputs_at = reader_of(train.x, module, device)
    for step in range(settings.steps):
        chosen = next(batches)
        x, y = train.augmented(inputs_at(chosen), generator), train.y[chosen].to(device)
        outputs = module(x)
        loss = train.purpose.loss(outputs, x, y)
        if settings.distillation_weight and taught is not None:
            lesson = train.purpose.distillation(outputs, taught[chosen].to(device), temperature=settings.temperature)
            loss = torch.lerp(loss, lesson, settings.distillation_weight)
        if not isfinite(loss.item()):
            raise DivergedError(
                f"the loss is {loss.item()} at recovery step {step + 1} of {settings.steps}; "
                f"lower the recovery learning rate ({settings.learning_rate})"
            )
        optimiser.step(loss, learning_rate=settings.learning_rate * _cosine(step / settings.steps))


def _cosine(done: float) -> float:
    return 0.5 * (1 + cos(pi * done))


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield positions of full batches, every sample once before any comes again (a remainder is left out)."""
    size = min(batch_size, count)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from (order[start : start + size] for start in range(0, count - size + 1, size))


class _WeightGrid(nn.Module):
    """The nearest weights of a grid, one scale per output channel or one per 4-bit dense layer; gradients pass through.

    A batch norm behind the layer scales whole channels and so leaves a weight's position on the grid as it is.
    """

    def __init__(self, weight_bits: int, stored_bits: int | None) -> None:
        super().__init__()
        self._weight_bits, self._limit = weight_bits, weight_limit(weight_bits, stored_bits)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        first = 0 if has_one_scale(weight.ndim, self._weight_bits) else 1
        with torch.no_grad():
            peak = weight.abs().amax(dim=tuple(range(first, weight.ndim)), keepdim=True)
            scale = (peak / self._limit).clamp_(min=torch.finfo(weight.dtype).tiny)
            offset = torch.round(weight / scale).mul_(scale).sub_(weight)
        return weight + offset


@contextmanager
def _on_grids(module: nn.Module, grids: Mapping[str, tuple[int, int | None]]) -> Iterator[None]:
    """Keep the weights of layers on grids; by name the width they are computed and the one they are stored with."""
    parts = [module.get_submodule(name) for name in grids]
    for part, widths in zip(parts, grids.values(), strict=True):
        parametrize.register_parametrization(part, "weight", _WeightGrid(*widths))
    try:
        yield
    finally:
        for part in parts:
            parametrize.remove_parametrizations(part, "weight", leave_parametrized=True)
