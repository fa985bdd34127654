import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from envs import SameConv2d
from envs.one_dnn import in_quick_order

# In a process of its own: where the kernel is not avoided, glibc ends the process.
SHORTCUT_GRADIENTS = """
import torch
from torch import nn
from envs import SameConv2d
from envs.one_dnn import in_quick_order
for shortcut in (SameConv2d, nn.Conv2d):
    for channels in (1, 4):
        layer = shortcut(channels, 4, 1, stride=2, bias=False)
        for _ in range(300):
            x = torch.randn(32, 8, 8, channels).permute(0, 3, 1, 2)
            layer(in_quick_order(x, layer).requires_grad_()).square().sum().backward()
"""


def test_gradients_of_strided_shortcuts_leave_the_heap_whole() -> None:
    result = subprocess.run(
        [sys.executable, "-c", SHORTCUT_GRADIENTS],
        env=dict(os.environ) | {"MALLOC_CHECK_": "3"},
        capture_output=True,
    )
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_come_last_in_memory(channels: int) -> None:
    x = torch.randn(2, channels, 5, 7)
    ordered = in_quick_order(x, SameConv2d(channels, 4, 1, stride=2))
    assert torch.equal(ordered, x)
    assert ordered.stride() == (35 * channels, 1, 7 * channels, channels)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("layer", "is_harmful"),
    [
        (nn.Conv2d(3, 4, 1, stride=2), True),
        (nn.Conv2d(3, 4, 1, stride=(1, 2)), True),
        (nn.Conv2d(3, 4, 1), False),
        (nn.Conv2d(3, 4, 3, stride=2), False),
        (nn.Conv2d(3, 3, 1, stride=2, groups=3), False),
    ],
)
def test_they_come_first_only_where_the_kernel_would_run(channels: int, layer: nn.Module, is_harmful: bool) -> None:
    x = torch.randn(2, 5, 7, channels).permute(0, 3, 1, 2)
    ordered = in_quick_order(x, nn.Sequential(nn.ReLU(), layer))
    assert torch.equal(ordered, x)
    assert ordered.stride() == ((35 * channels, 35, 7, 1) if is_harmful else x.stride())


def test_inputs_in_order_are_not_copied() -> None:
    x = torch.randn(2, 5, 7, 3).permute(0, 3, 1, 2)
    assert in_quick_order(x, nn.ReLU()) is x


KERNELS_KEPT = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


@pytest.mark.parametrize("asked", [None, "77"])
def test_as_many_kernels_are_kept_as_the_environment_says_or_few(asked: str | None) -> None:
    script = f"import os, envs; print(*(os.environ[name] for name in {KERNELS_KEPT}))"
    environment = {name: value for name, value in os.environ.items() if name not in KERNELS_KEPT}
    environment |= {} if asked is None else dict.fromkeys(KERNELS_KEPT, asked)
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [asked or "128"] * 2
