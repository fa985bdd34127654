"""Every compiler for Cortex-M that this machine has: a test that builds firmware runs with each of them."""

import pytest

from mobo.export.firmware.toolchain import ARM_COMPILER_VARIABLE, Compiler, arm_compilers

HERE = arm_compilers()
INSTALLED_BY = {"gcc": "apt-get install gcc-arm-none-eabi", "ziglang": "pip install ziglang"}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.skipif(name not in HERE, reason=f"{name} for Cortex-M: {install}"))
        for name, install in INSTALLED_BY.items()
    ]
)
def compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """One compiler after the other; what asks for the one at hand gets the same."""
    monkeypatch.setenv(ARM_COMPILER_VARIABLE, request.param)
    return HERE[request.param]
