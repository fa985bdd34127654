"""A made-up runtime with a kernel for every layer of 16-bit activations, for tests of the way to them."""

from hw_models.runtime import KernelModel, Runtime, load_runtime

_WIDE = {"w8": "w8a16", "none": "a16"}


def wide_runtime() -> Runtime:
    """Return TFLM with CMSIS-NN whose 16-bit kernels cost what the 8-bit ones do where nobody counted them."""
    runtime = load_runtime("tflm-cmsis-nn")
    cores = {
        name: core.model_copy(update={"kernels": {kernel: _widened(models) for kernel, models in core.kernels.items()}})
        for name, core in runtime.cores.items()
    }
    return runtime.model_copy(update={"cores": cores})


def _widened(models: dict[str, KernelModel]) -> dict[str, KernelModel]:
    return {_WIDE[width]: model for width, model in models.items() if width in _WIDE} | models
