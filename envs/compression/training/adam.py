"""Adam and AdamW on all parameters at once, in one call of torch's fused kernel.

``torch.optim`` spends more time around its kernels than these take on networks of this size, and its first use in a
process imports torch's compiler, which takes seconds.

Sources: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015; Loshchilov and Hutter, "Decoupled
Weight Decay Regularization", ICLR 2019.
"""

from collections.abc import Iterable

import torch
from torch import nn

_FIRST_DECAY, _SECOND_DECAY = 0.9, 0.999
_LEAST_DIVISOR = 1e-8


class Adam:
    """Moves parameters along their gradients; constants as ``torch.optim.AdamW`` has them by default.

    Args:
        parameters: What is trained, float32 on one torch device; those that need no gradient are left alone. Whoever
            changes their values between two steps is heard.
        weight_decay: Decoupled, as a share of the learning rate; 0 makes it plain Adam.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, weight_decay: float = 0.0) -> None:
        self._weight_decay = weight_decay
        self._trained: list[torch.Tensor] = [parameter for parameter in parameters if parameter.requires_grad]
        self._values = self._in_one_row(self._trained)
        sizes = [parameter.numel() for parameter in self._trained]
        self._parts = [
            part.view(parameter.shape)
            for part, parameter in zip(torch.split(self._values, sizes), self._trained, strict=True)
        ]
        self._first, self._second = torch.zeros_like(self._values), torch.zeros_like(self._values)
        self._steps = torch.zeros((), device=self._values.device)

    def step(self, loss: torch.Tensor, *, learning_rate: float) -> None:
        """Take one step down the gradient of a loss; a parameter it does not depend on at most decays.

        Args:
            loss: One number; its graph is freed.
            learning_rate: Of this step.
        """
        gradients = torch.autograd.grad(loss, self._trained, materialize_grads=True)
        with torch.no_grad():
            torch._foreach_copy_(self._parts, self._trained)
            self._steps += 1
            torch._fused_adamw_(
                [self._values],
                [self._in_one_row(gradients)],
                [self._first],
                [self._second],
                [],
                [self._steps],
                lr=learning_rate,
                beta1=_FIRST_DECAY,
                beta2=_SECOND_DECAY,
                weight_decay=self._weight_decay,
                eps=_LEAST_DIVISOR,
                amsgrad=False,
                maximize=False,
            )
            torch._foreach_copy_(self._trained, self._parts)

    @staticmethod
    def _in_one_row(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.detach().flatten() for tensor in tensors])
