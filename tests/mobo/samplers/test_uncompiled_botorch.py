"""No search compiles, or waits for somebody who once did."""

import subprocess
import sys

import pytest
from botorch.acquisition.multi_objective import logei

PROGRAM = (
    "import {module}; from botorch.acquisition.multi_objective import logei; print(logei._load_attempted, logei._C)"
)


def test_botorch_still_asks_what_is_set() -> None:
    assert {"_load_attempted", "_C"} <= vars(logei).keys()
    assert "_load_attempted" in logei._try_load_fused_kernel.__code__.co_names


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mobo.samplers.ax.client", "mobo.samplers.model.botorch_scores"])
def test_whoever_uses_botorch_keeps_it_from_compiling(module: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["True", "None"]
