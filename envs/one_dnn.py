"""The memory order in which torch's convolutions are quick, and where they must not run in it.

On processors with AVX2 but without AVX-512 the gradient of a strided 1x1 convolution in NHWC order can write beyond its
buffer: ``brgconv_strided:avx2``, oneDNN 3.12 as in torch 2.13. Convolutions of :mod:`envs.same_conv` never run that
kernel; ``nn.Conv2d`` may, where the order of its input lets it.
"""

import torch
from torch import nn

from envs.same_conv import SameConv2d


def in_quick_order(x: torch.Tensor, module: nn.Module) -> torch.Tensor:
    """Return inputs in the memory order in which a network computes quickest without harm.

    That is NHWC on the CPU, unless an ``nn.Conv2d`` of the network would run into the defective kernel.

    Args:
        x: N x C x H x W; not copied if it lies in that order.
        module: The network they are for, its weights in torch's own order; where it lies is where it runs.
    """
    is_on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    is_quick = is_on_cpu and not any(_is_defective(part) for part in module.modules())
    order = torch.channels_last if is_quick else torch.contiguous_format
    # Asking for the order would leave inputs with one channel as they are, and convolutions look at the strides.
    if x.stride() == torch.empty(x.shape, device="meta", memory_format=order).stride():
        return x
    return torch.empty(x.shape, dtype=x.dtype, device=x.device, memory_format=order).copy_(x)


def _is_defective(part: nn.Module) -> bool:
    return (
        isinstance(part, nn.Conv2d)
        and not isinstance(part, SameConv2d)
        and part.kernel_size == (1, 1)
        and part.stride != (1, 1)
        and part.groups == 1
    )
