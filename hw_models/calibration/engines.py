"""Which runtime describes a measured engine: the engine strings of the measurement tables, sorted into families.

A family is an engine and a generation of its kernels. STM32Cube.AI is cut at 9.0: on equal networks 7.3, 8.0 and 8.1
differ by 3 to 15 %, 9.0 is 20 to 45 % faster than 8.1. What looked like faster 1x1 kernels in 8.1 (the MLPerf person
detection network at twice the speed) is one network: two thirds of its filters are all zero, and from 8.1 on the
engine drops such filters, as ONNC does; networks without them ran at the speed of 7.3.
"""

import re
from dataclasses import dataclass

from hw_models.calibration.tables import CalibrationError

ALL_CORES = (
    "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55", "cortex-m85",
)  # fmt: skip
_WITHOUT_MVE = ALL_CORES[:5]
_WITH_DSP = ("cortex-m4", "cortex-m7", "cortex-m33")


@dataclass(frozen=True)
class Family:
    """An engine and a generation of its kernels: one runtime file.

    Attributes:
        runtime: The runtime's name.
        description: One sentence with versions.
        release: The release the runtime's cycles are for.
        cores: The cores it runs on.
        pattern: Engine strings that belong to it.
        weight_bits: Widths of weights its kernels execute.
        activation_bits: Widths of activations its kernels execute.
        is_tflm: Whether it is TFLM, whose memory and flash rules are known.
        engine_bytes: Engine and kernel code; None for TFLM's of today.
        engine_log_std: Spread of it over builds.
        engine_source: Where it comes from.
    """

    runtime: str
    description: str
    release: str
    cores: tuple[str, ...]
    pattern: str
    weight_bits: tuple[int, ...] = (8,)
    activation_bits: tuple[int, ...] = (8,)
    is_tflm: bool = False
    engine_bytes: int | None = None
    engine_log_std: float = 0.5
    engine_source: str = "no figure of this engine; taken from TensorFlow Lite Micro with CMSIS-NN"


FAMILIES: tuple[Family, ...] = (
    Family(
        "tflm-cmsis-nn-2020", "TensorFlow Lite Micro of 2020 (2.3.1 and alike) with the CMSIS-NN of that time",
        "tflm-2.3.1+cmsis-nn", _WITHOUT_MVE, r"tflm-2\.|tflm.*\(2020\)", is_tflm=True, engine_bytes=91_136,
        engine_log_std=0.15,
        engine_source="median of ten builds, binary less model file (MicroNets paper, arXiv 2010.11267, Table 4)",
    ),
    Family(
        "tflm-reference", "TensorFlow Lite Micro with its reference kernels in plain C",
        "tflm@713b6ed (reference kernels)", _WITHOUT_MVE, r"tflm.*reference", is_tflm=True,
    ),
    Family(
        "tflm-cmsis-nn", "TensorFlow Lite Micro 90b983c2b3f1 with CMSIS-NN 99f736a63036, gcc 12.2 -O3",
        "tflm+cmsis-nn", ALL_CORES, r"tflm\+cmsis-nn|cmsis-nn@", weight_bits=(8, 4),
        activation_bits=(8, 16), is_tflm=True,
    ),
    Family(
        "stm32cubeai-7", "STM32Cube.AI 7.1 to 8.1", "stm32cubeai-8.1.0", ALL_CORES, r"stm32cubeai-[78]\.",
        engine_bytes=62_900, engine_log_std=0.3,
        engine_source="median library code of 26 networks of the ST model zoo (47 to 130 kB)",
    ),
    Family(
        "stm32cubeai-9", "STM32Cube.AI 9.0 and later, ST Edge AI Core", "stm32cubeai-9.0.0", ALL_CORES,
        r"stm32cubeai-|stedgeai-core-", engine_bytes=57_800, engine_log_std=0.4,
        engine_source="library code of one network of the ST model zoo with 10.0; another with 4.0 took 28,662 bytes",
    ),
    Family(
        "tinyengine", "TinyEngine 0363956 (MCUNet), -Ofast", "tinyengine@0363956", _WITH_DSP, r"tinyengine",
    ),
    Family(
        "microtvm", "microTVM with CMSIS-NN kernels, MLPerf Tiny v1.0", "microtvm-cmsis-nn", _WITHOUT_MVE,
        r"microtvm-cmsis-nn",
    ),
    Family(
        "microtvm-native", "microTVM with its own kernels, MLPerf Tiny v1.0", "microtvm-native", _WITHOUT_MVE,
        r"microtvm-native",
    ),
    Family("onnc", "Skymizer ONNC with CMSIS-NN, MLPerf Tiny v1.1", "onnc-mbed", _WITHOUT_MVE, r"onnc"),
    Family(
        "plumerai", "Plumerai inference engine, MLPerf Tiny v0.7 and v1.0", "plumerai (MLPerf v1.0 round)", ALL_CORES,
        r"plumerai",
    ),
    Family(
        "bosch-hale", "Bosch HALE, MLPerf Tiny v1.1", "bosch-hale (MLPerf v1.1 round)", ALL_CORES, r"bosch-hale",
    ),
)  # fmt: skip
"""Every runtime that is fitted; the first whose pattern matches an engine string describes it."""

# Engines of single layers that tell how kernels of CMSIS-NN compare, without a runtime of their own.
_HELPERS = (r"cmsis-nn-1\.0", r"nnom")
_DROP_ZERO_FILTERS = r"stm32cubeai-(8\.[1-9]|9|1\d)|stedgeai-core-|onnc"


def family_of(engine: str) -> str:
    """Return the name of the runtime that describes an engine string, or the string where it only helps the fit.

    Raises:
        CalibrationError: No runtime describes it.
    """
    for family in FAMILIES:
        if family.runtime == engine or re.match(family.pattern, engine):
            return family.runtime
    if any(re.match(pattern, engine) for pattern in _HELPERS):
        return engine
    known = ", ".join(family.runtime for family in FAMILIES)
    raise CalibrationError(f"no runtime describes the engine {engine!r}; name one of {known}")


def family(runtime: str) -> Family:
    """Return the family of a runtime by name; raises CalibrationError for an unknown one."""
    for entry in FAMILIES:
        if entry.runtime == runtime:
            return entry
    raise CalibrationError(
        f"runtime {runtime!r} is not fitted; fitted: {', '.join(entry.runtime for entry in FAMILIES)}"
    )


def is_tflm(engine: str) -> bool:
    """Return whether an engine string is of TFLM."""
    return any(entry.is_tflm and entry.runtime == family_of(engine) for entry in FAMILIES)


def drops_zero_filters(engine: str) -> bool:
    """Return whether an engine removes output channels whose weights are all zero."""
    return re.match(_DROP_ZERO_FILTERS, engine) is not None


def nearest_release(engine: str, releases: list[str]) -> str | None:
    """Return the release with the longest common beginning with an engine string, None without releases."""
    return max(releases, key=lambda name: (name == engine, _common(engine, name), name), default=None)


def _common(first: str, second: str) -> int:
    pairs = zip(first, second, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(first), len(second)))
