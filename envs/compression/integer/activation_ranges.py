"""The range of a tensor that its integers shall cover: all of what was seen, or less where outliers cost resolution.

Sources: Wu et al., "Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation", 2020
(percentiles); Banner et al., "Post-training 4-bit quantization of convolution networks for rapid-deployment", NeurIPS
2019 (clipping at the least mean squared error), searched here on a histogram.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from envs.compression.integer.network import INT8_MAX, INT8_MIN, INT16_MAX, TensorQuantisation
from envs.errors import EnvError
from hw_models.errors import unknown_name

# Share of the values cut off at either end.
_CUT = 1e-4
_BINS = 2048
_SHARES = np.geomspace(1.0, 0.05, 61)
_PASSES = 2
# Scale of an int16 tensor from -1 to 1.
_UNIT_RANGE = 2.0**-15

Range = tuple[float, float]


def quantisation_of(name: str, values: np.ndarray, *, activation_ranges: str) -> TensorQuantisation:
    """Return scale and zero point of an int8 tensor from values it took.

    Args:
        name: Name of the tensor, for messages.
        values: What it held for the calibration inputs.
        activation_ranges: ``"min-max"`` covers every value, ``"percentile"`` all but one in 10,000 at either end,
            ``"mse"`` the range with the least mean squared error of the values in int8.

    Raises:
        EnvError: An unknown rule, or values that are not finite.
    """
    if activation_ranges not in RANGE_RULES:
        raise EnvError(unknown_name("activation_ranges", activation_ranges, RANGE_RULES))
    return quantisation_of_range(*RANGE_RULES[activation_ranges](values, _seen(name, values)))


def symmetric_quantisation_of(name: str, values: np.ndarray) -> TensorQuantisation:
    """Return the scale of an int16 tensor, whose zero point is 0, from values it took.

    All of them are covered: what a tensor's outliers cost of 65,536 steps is no concern.

    Raises:
        EnvError: The values are not finite.
    """
    low, high = _seen(name, values)
    scale = float(np.float32(max(-low, high) / INT16_MAX))
    return TensorQuantisation(_UNIT_RANGE if _is_zero(scale) else scale, 0)


def quantisation_of_range(low: float, high: float) -> TensorQuantisation:
    """Return scale and zero point of an int8 tensor for values from ``low`` to ``high``; zero is represented exactly.

    >>> quantisation_of_range(0.0, 255.0), quantisation_of_range(-1.0, 0.0).zero_point
    (TensorQuantisation(scale=1.0, zero_point=-128), 127)
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / (INT8_MAX - INT8_MIN)))
    if _is_zero(scale):
        return TensorQuantisation(1.0, 0)
    zero_point = int(np.floor(INT8_MIN - low / scale + 0.5))
    return TensorQuantisation(scale, min(max(zero_point, INT8_MIN), INT8_MAX))


def _seen(name: str, values: np.ndarray) -> Range:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise EnvError(f"tensor {name!r} is not finite on the calibration samples; lower the learning rate")
    return low, high


def _is_zero(scale: float) -> bool:
    """Return whether a tensor is zero throughout: any scale represents it."""
    return scale < float(np.finfo(np.float32).tiny)


def _min_max(values: np.ndarray, seen: Range) -> Range:
    return seen


def _percentile(values: np.ndarray, seen: Range) -> Range:
    low, high = np.quantile(values, [_CUT, 1 - _CUT])
    return float(low), float(high)


def _least_squares(values: np.ndarray, seen: Range) -> Range:
    low, high = min(seen[0], 0.0), max(seen[1], 0.0)
    if low == high:
        return seen
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2

    def error(covered: Range) -> float:
        return float(counts @ (centres - _in_int8(centres, *covered)) ** 2)

    best = (low, high)
    # One end after the other, each from its full width, so that the first of equal errors covers most.
    for _ in range(_PASSES):
        best = min([(best[0], high * float(share)) for share in _SHARES], key=error)
        best = min([(low * float(share), best[1]) for share in _SHARES], key=error)
    return best


def _in_int8(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the values as int8 would hold them under a range."""
    tensor = quantisation_of_range(low, high)
    integers = np.clip(np.rint(values / tensor.scale) + tensor.zero_point, INT8_MIN, INT8_MAX)
    return np.asarray((integers - tensor.zero_point) * tensor.scale)


RANGE_RULES: Mapping[str, Callable[[np.ndarray, Range], Range]] = MappingProxyType(
    {"min-max": _min_max, "percentile": _percentile, "mse": _least_squares}
)
