"""Training one float network: AdamW with a cosine schedule, on one split, from one seed."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import batches_of, reader_of
from envs.compression.training.adam import Adam
from mobo.base.errors import TrialFailed


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The training recipe of one design.

    Attributes:
        epochs: Passes over the train split.
        learning_rate: Peak learning rate; warmed up over the first tenth of the steps, then a cosine to zero.
        weight_decay: Decoupled weight decay.
        batch_size: Samples per step.
        label_smoothing: Smoothing of the targets of the cross-entropy; 0 for a reconstruction.
        precision: ``"float32"``, or ``"bfloat16"`` for what torch's autocast holds to be safe in it.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch_size: int
    label_smoothing: float
    precision: Literal["float32", "bfloat16"] = "float32"


def train(
    module: nn.Module,
    samples: LabelledSamples,
    settings: TrainingSettings,
    *,
    seed: int,
    device: str,
    after_step: Callable[[float], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train a network in place; it ends on the CPU in evaluation mode.

    Args:
        module: Network that maps ``N x C x H x W`` to what the samples' purpose needs.
        samples: Training split.
        settings: Recipe.
        seed: Seed of the batch order, and of what augments the samples.
        device: Torch device, ``"cpu"`` or ``"cuda"``.
        after_step: Called after every optimiser step with the share of the steps that are done.
        after_epoch: Called after every epoch but the last with the number of epochs that are done; what it raises ends
            the training.

    Raises:
        TrialFailed: The loss became NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    module.to(device).train()
    inputs_at, y = reader_of(samples.x, module, device), samples.y.to(device)
    optimiser = Adam(module.parameters(), weight_decay=settings.weight_decay)
    # A last batch of one sample would break batch norm, so an epoch has only full batches (or one batch of everything).
    batch_size = min(settings.batch_size, len(y))
    steps_per_epoch = len(y) // batch_size
    total = settings.epochs * steps_per_epoch
    for epoch in range(settings.epochs):
        order = torch.randperm(len(y), generator=generator).to(device)
        epoch_loss = torch.zeros((), device=device)
        for step in range(steps_per_epoch):
            batch = order[step * batch_size : (step + 1) * batch_size]
            inputs = samples.augmented(inputs_at(batch), generator)
            with torch.autocast(device, torch.bfloat16) if settings.precision == "bfloat16" else nullcontext():
                outputs = module(inputs)
            loss = samples.purpose.loss(outputs.float(), inputs, y[batch], label_smoothing=settings.label_smoothing)
            taken = epoch * steps_per_epoch + step
            optimiser.step(loss, learning_rate=settings.learning_rate * _warm_cosine(taken, total))
            if after_step is not None:
                after_step((taken + 1) / total)
            epoch_loss += loss.detach()
        if not torch.isfinite(epoch_loss):
            raise TrialFailed(
                f"the training loss became {float(epoch_loss):g} in epoch {epoch + 1} of {settings.epochs} at "
                f"learning rate {settings.learning_rate:g}; lower the upper end of learning_rate in the search space"
            )
        if after_epoch is not None and epoch + 1 < settings.epochs:
            after_epoch(epoch + 1)
            module.train()
    module.to("cpu").eval()


def _warm_cosine(step: int, total: int) -> float:
    warm = max(1, total // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


@torch.no_grad()
def error_rate(module: nn.Module, samples: LabelledSamples, *, device: str = "cpu") -> float:
    """Return the error of a float network, as the samples' purpose says; it ends in evaluation mode.

    Args:
        module: The network; it stays where it lies.
        samples: What it is measured on.
        device: Torch device that it is measured on.
    """
    home = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.to(device).eval()
    outputs = torch.cat([module(batch.to(device)).cpu() for batch in batches_of(samples.x, module, 512)])
    module.to(home)
    return samples.purpose.error(outputs, samples.x, samples.y)
