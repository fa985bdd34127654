"""Samples with labels, as tensors ready for a network, and what it shall do with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from envs.compression.float_network.purpose import CLASSIFICATION, Purpose
from envs.compression.float_network.stored_inputs import Inputs
from envs.errors import EnvError


@dataclass(frozen=True, eq=False)
class LabelledSamples:
    """Inputs, their labels, and the purpose that says what loss and error are on them.

    Attributes:
        x: Standardised inputs, float32, N x C x H x W; who stores them vouches for their values.
        y: Class labels, int64, N; of a reconstruction 0 for normal, 1 for anomalous samples; of a regression float32,
            N x labels, in the labels' own unit.
        purpose: What the network is trained for and judged by.
        augment: Returns the inputs of a training step changed at random; None leaves them as they are.

    Raises:
        EnvError: Wrong shape or type, no samples, or values that are not finite.
    """

    x: Inputs
    y: torch.Tensor
    purpose: Purpose = CLASSIFICATION
    augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.x, torch.Tensor) and (self.x.ndim != 4 or self.x.dtype != torch.float32):
            raise EnvError(f"x is {self.x.dtype} of shape {tuple(self.x.shape)}; it must be float32, N x C x H x W")
        self.purpose.check_labels(self.y, len(self.x))
        if len(self.x) == 0:
            raise EnvError("there are no samples; at least one is needed")
        if isinstance(self.x, torch.Tensor) and not bool(torch.isfinite(self.x).all()):
            raise EnvError("x holds values that are not finite; clean the data first")

    def __len__(self) -> int:
        return len(self.x)

    def on(self, device: str | torch.device) -> "LabelledSamples":
        """Return the same samples with what is in memory of them on a torch device."""
        if self.y.device.type == torch.device(device).type:
            return self
        # The order in which networks there are quick.
        x = self.x.to(device).contiguous() if isinstance(self.x, torch.Tensor) else self.x
        return replace(self, x=x, y=self.y.to(device))

    def drawn(self, count: int, *, seed: int) -> "LabelledSamples":
        """Return so many random samples (all, if there are fewer), which a seed decides."""
        return self.subset(torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count])

    def subset(self, indices: Sequence[int] | torch.Tensor) -> "LabelledSamples":
        """Return the samples at the given positions, in that order and in memory."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        return replace(self, x=self.x[chosen], y=self.y[chosen])

    def augmented(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return inputs of some of the samples as a training step sees them; all chance is the generator's."""
        return x if self.augment is None else self.augment(x, generator)
