"""TFLite's int8 softmax in fixed-point arithmetic.

A fixed-point number with ``b`` integer bits is an int32 ``raw`` that stands for ``raw / 2**(31 - b)``; here it is held
in int64 tensors.

Source: TensorFlow Lite, ``kernels/internal/reference/softmax.h`` and ``kernels/internal/common.h`` (``GetReciprocal``);
gemmlowp ``fixedpoint/fixedpoint.h`` (``exp_on_negative_values``, ``one_over_one_plus_x_for_x_in_0_1``).
"""

import torch

from envs.compression.integer.fixed_point import INT32_MAX, multiply, quantise_multiplier, rounding_shift_right

_DIFFERENCE_BITS = 5
_SUM_BITS = 12
_DIFFERENCE_FRACTION = 31 - _DIFFERENCE_BITS
# exp(-2**power) as raw numbers without integer bits, for the bits of the exponent.
_EXP_OF_POWERS = {-2: 1672461947, -1: 1302514674, 0: 790015084, 1: 290630308, 2: 39332535, 3: 720401, 4: 242}
_EXP_MINUS_EIGHTH, _THIRD = 1895147668, 715827883
_FORTY_EIGHT_17THS, _MINUS_THIRTY_TWO_17THS = 1515870810, -1010580540


def softmax(x: torch.Tensor, input_scale: float) -> torch.Tensor:
    """Return the softmax over axis 1 with scale 1/256 and zero point -128.

    Args:
        x: int8; its zero point does not matter.
        input_scale: Scale of ``x``.
    """
    mantissa, shift = quantise_multiplier(min(input_scale * 2.0**_DIFFERENCE_FRACTION, float(INT32_MAX)))
    # Differences below this have an exponential of zero.
    smallest = -int((2**_DIFFERENCE_BITS - 1) * 2.0 ** (_DIFFERENCE_FRACTION - shift))
    difference = x.to(torch.int64)
    difference = difference - difference.amax(dim=1, keepdim=True)
    counted = difference >= smallest
    scaled = multiply(difference.clamp(min=smallest), torch.tensor(mantissa), torch.tensor(shift))
    exponentials = torch.where(counted, _exp_of_negative(scaled), 0)
    total = _shift_right(exponentials, _SUM_BITS).sum(dim=1, keepdim=True)
    leading_zeros = 32 - torch.frexp(total.double()).exponent.to(torch.int64)
    reciprocal = _one_over_one_plus((total << leading_zeros) - 2**31)
    output = rounding_shift_right(_product(reciprocal, exponentials), _SUM_BITS - leading_zeros + 31 - 8)
    return torch.where(counted, output - 128, -128).clamp(-128, 127).to(torch.int8)


def _product(first: torch.Tensor, second: torch.Tensor | int) -> torch.Tensor:
    return (first * second + (1 << 30)) >> 31


def _shift_right(values: torch.Tensor, exponent: int) -> torch.Tensor:
    return rounding_shift_right(values, torch.tensor(exponent))


def _exp_of_negative(values: torch.Tensor) -> torch.Tensor:
    """Return exp of numbers at most 0 with 5 integer bits, without integer bits."""
    quarter = 1 << (_DIFFERENCE_FRACTION - 2)
    within_quarter = (values & (quarter - 1)) - quarter
    result = _exp_of_quarter(within_quarter << _DIFFERENCE_BITS)
    remainder = within_quarter - values
    for power, factor in _EXP_OF_POWERS.items():
        has_power = (remainder & (1 << (_DIFFERENCE_FRACTION + power))) != 0
        result = torch.where(has_power, _product(result, factor), result)
    return torch.where(values == 0, INT32_MAX, result)


def _exp_of_quarter(values: torch.Tensor) -> torch.Tensor:
    """Return exp of numbers in [-1/4, 0) without integer bits: Taylor's series around -1/8."""
    x = values + (1 << 28)
    square = _product(x, x)
    cube, fourth = _product(square, x), _product(square, square)
    tail = _shift_right(_product(_shift_right(fourth, 2) + cube, _THIRD) + square, 1)
    return _product(x + tail, _EXP_MINUS_EIGHTH) + _EXP_MINUS_EIGHTH


def _one_over_one_plus(values: torch.Tensor) -> torch.Tensor:
    """Return 1 / (1 + x) for x in [0, 1) without integer bits: three Newton-Raphson steps with 2 integer bits."""
    half_denominator = (values + INT32_MAX + 1) >> 1
    x = _product(half_denominator, _MINUS_THIRTY_TWO_17THS) + _FORTY_EIGHT_17THS
    for _ in range(3):
        one_minus = (1 << 29) - _product(half_denominator, x)
        x = x + (_product(x, one_minus) << 2)
    return (x << 1).clamp(max=INT32_MAX)
