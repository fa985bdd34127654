"""No search compiles, or waits for somebody who once did."""

import subprocess
import sys

import pytest
from botorch.acquisition.multi_objective import logei

from mobo.samplers.uncompiled_botorch import keep_botorch_uncompiled

PROGRAM = (
    "import {module}; from botorch.acquisition.multi_objective import logei; print(logei._load_attempted, logei._C)"
)


def test_no_kernel_is_compiled_for_this_machine() -> None:
    assert {"_load_attempted", "_C"} <= vars(logei).keys()
    keep_botorch_uncompiled()
    logei._try_load_fused_kernel()
    assert logei._C is None


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mobo.samplers.ax.client", "mobo.samplers.model.botorch_scores"])
def test_whoever_uses_botorch_keeps_it_from_compiling(module: str) -> None:
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["True", "None"]
