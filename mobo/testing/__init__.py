"""Tests that a sampler of your own can be held to: ``from mobo.testing import SamplerContract``. Needs pytest."""

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "mobo.testing needs pytest, which is not installed: pip install 'pytest>=8.3,<10'", name="pytest"
    ) from error

# Before the import below, so that a failed assertion shows its values.
pytest.register_assert_rewrite("mobo.testing.sampler_contract")

from mobo.testing.sampler_contract import SamplerContract, SamplerUnderTest  # noqa: E402

__all__ = ["SamplerContract", "SamplerUnderTest"]
