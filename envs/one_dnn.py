"""Keeps torch away from a oneDNN kernel that corrupts memory on processors with AVX2 but without AVX-512."""

import os

from numpy._core._multiarray_umath import __cpu_features__ as _features  # type: ignore[import-not-found]

_VARIABLE = "ONEDNN_MAX_CPU_ISA"


def avoid_defective_kernels() -> None:
    """Let oneDNN use AVX at most where its AVX2 kernels would be chosen.

    The gradient of a strided 1x1 convolution (every residual shortcut) with 4 input channels in NHWC order writes
    beyond its buffer: ``brgconv_strided:avx2``, oneDNN 3.12 as in torch 2.13. The cap costs no time that could be
    measured up to 16 channels; at 32 a training step took 1.2 to 1.8 times as long as with AVX2 in NCHW order. oneDNN
    reads the variable when it is first used; one that is set already is left alone.
    """
    if _features.get("AVX2") and not _features.get("AVX512_SKX"):
        os.environ.setdefault(_VARIABLE, "AVX")
