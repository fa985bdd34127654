import os
import subprocess
import sys

import pytest

from envs import one_dnn

# In a process of its own: where the kernel is not avoided, glibc ends the process.
SHORTCUT_GRADIENTS = """
import envs, torch
from torch import nn
for _ in range(300):
    layer = nn.Conv2d(4, 4, 1, stride=2, bias=False)
    x = torch.randn(32, 8, 8, 4).permute(0, 3, 1, 2).requires_grad_()
    layer(x).square().sum().backward()
"""


def test_gradients_of_strided_shortcuts_leave_the_heap_whole() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "ONEDNN_MAX_CPU_ISA"}
    result = subprocess.run(
        [sys.executable, "-c", SHORTCUT_GRADIENTS], env=environment | {"MALLOC_CHECK_": "3"}, capture_output=True
    )
    assert result.returncode == 0, result.stderr.decode()


@pytest.mark.parametrize(
    ("features", "before", "after"),
    [
        ({"AVX2": True, "AVX512_SKX": False}, None, "AVX"),
        ({"AVX2": True, "AVX512_SKX": True}, None, None),
        ({}, None, None),  # another architecture
        ({"AVX2": True}, "AVX2", "AVX2"),
    ],
)
def test_only_processors_with_the_defect_are_capped(
    features: dict[str, bool], before: str | None, after: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if before:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", before)
    monkeypatch.setattr(one_dnn, "_features", features)
    one_dnn.avoid_defective_kernels()
    assert os.environ.get("ONEDNN_MAX_CPU_ISA") == after
