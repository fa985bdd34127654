"""The fixed-point arithmetic of TFLite's int8 and int16 reference kernels, exact to the bit.

Values are int64 tensors. Those of 8-bit kernels hold int32 values, so that the intermediate products cannot overflow;
the accumulators of 16-bit kernels are 64-bit numbers on the target too.

Source: TensorFlow Lite, ``kernels/internal/common.h`` (``MultiplyByQuantizedMultiplier``, double rounding,
and its variant for 64 bits),
``kernels/internal/quantization_util.cc`` (``QuantizeMultiplier``) and gemmlowp ``fixedpoint/fixedpoint.h``
(``SaturatingRoundingDoublingHighMul``, ``RoundingDivideByPOT``).
"""

from math import frexp

import numpy as np
import torch

INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1
_MAX_SHIFT = 30
WIDE_MAX_SHIFT = 7
"""Largest shift of a 16-bit kernel's multiplier."""

_LARGEST_REDUCIBLE = 0x7FFF0000


def quantise_multiplier(real: float) -> tuple[int, int]:
    """Return a real multiplier as mantissa and shift: ``real = mantissa / 2**31 * 2**shift``.

    Args:
        real: At least 0.

    Returns:
        The mantissa in [2**30, 2**31) (0 for a multiplier that is zero or below 2**-32) and the shift.

    >>> quantise_multiplier(0.5), quantise_multiplier(1.0), quantise_multiplier(0.0)
    ((1073741824, 0), (1073741824, 1), (0, 0))
    """
    if real == 0:
        return 0, 0
    fraction, shift = frexp(real)
    mantissa = int(fraction * 2**31 + 0.5)
    if mantissa == 2**31:
        mantissa, shift = mantissa // 2, shift + 1
    if shift < -31:
        return 0, 0
    return (mantissa, shift) if shift <= _MAX_SHIFT else (INT32_MAX, _MAX_SHIFT)


def quantise_multipliers(reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mantissas (int64) and shifts (int64) of several multipliers."""
    pairs = [quantise_multiplier(float(real)) for real in reals]
    return np.array([pair[0] for pair in pairs], np.int64), np.array([pair[1] for pair in pairs], np.int64)


def multiply(values: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return ``values * mantissa / 2**31 * 2**shift``, rounded as TFLite does.

    A left shift saturates at 32 bits, where the C code would overflow; it takes a multiplier above 1 to get there.

    Args:
        values: int64 tensor of int32 values.
        mantissa: int64 tensor that broadcasts against ``values``.
        shift: int64 tensor of the mantissa's shape.
    """
    if bool((shift > 0).any()):
        values = (values << shift.clamp(min=0)).clamp_(INT32_MIN, INT32_MAX)
    # (ab + 2**30) >> 31 is gemmlowp's nudge and truncating division, for both signs.
    high = (values * mantissa).add_(1 << 30).bitwise_right_shift_(31)
    return rounding_shift_right(high, (-shift).clamp(min=0))


def reduced_mantissas(mantissas: np.ndarray) -> np.ndarray:
    """Return mantissas rounded to the 16 bits with which 64-bit accumulators are multiplied."""
    return np.where(mantissas < _LARGEST_REDUCIBLE, (mantissas + (1 << 15)) >> 16, 0x7FFF)


def multiply_wide(values: torch.Tensor, mantissa: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Return ``values * mantissa / 2**31 * 2**shift`` for 64-bit accumulators: mantissas of 16 bits, one rounding.

    Halves are rounded up.

    Args:
        values: int64 tensor, at most 2**47 in magnitude.
        mantissa: int64 tensor of 32-bit mantissas that broadcasts against ``values``.
        shift: int64 tensor of the mantissa's shape, at most :data:`WIDE_MAX_SHIFT`.
    """
    reduced = torch.from_numpy(reduced_mantissas(mantissa.numpy()))
    right = 15 - shift
    return (values * reduced).add_(1 << (right - 1)).bitwise_right_shift_(right)


def rounding_shift_right(values: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
    """Return ``values / 2**exponent`` rounded to nearest, halves away from zero."""
    # Half is added, and one less for a negative value, so that the flooring shift sends halves away from zero.
    nudge = (values >> 63).bitwise_and_(-(exponent > 0).long())
    return nudge.add_((1 << exponent) >> 1).add_(values).bitwise_right_shift_(exponent)
