"""Keeps torch away from a oneDNN kernel that corrupts memory on processors with AVX2 but without AVX-512."""

import os

from numpy._core._multiarray_umath import __cpu_features__ as _features  # type: ignore[import-not-found]

_VARIABLE = "ONEDNN_MAX_CPU_ISA"


def avoid_defective_kernels() -> None:
    """Let oneDNN use AVX at most where its AVX2 kernels would be chosen.

    The gradient of a strided 1x1 convolution (every residual shortcut) with 4 input channels in NHWC order writes
    beyond its buffer: ``brgconv_strided:avx2``, oneDNN 3.12 as in torch 2.13. Capped, training of networks of this size
    takes as long, to within the noise of a measurement. oneDNN reads the variable when it is first used; one that is
    set already is left alone.
    """
    if _features.get("AVX2") and not _features.get("AVX512_SKX"):
        os.environ.setdefault(_VARIABLE, "AVX")
