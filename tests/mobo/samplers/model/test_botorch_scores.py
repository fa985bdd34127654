"""BoTorch's own scores: nothing is compiled for them."""

from botorch.acquisition.multi_objective import logei

from mobo.samplers.model import botorch_scores


def test_no_kernel_is_compiled_for_this_machine() -> None:
    assert botorch_scores.logei is logei
    logei._try_load_fused_kernel()
    assert logei._C is None
