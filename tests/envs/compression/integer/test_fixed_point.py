import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from envs.compression.integer.fixed_point import (
    WIDE_MAX_SHIFT,
    multiply,
    multiply_wide,
    quantise_multiplier,
    quantise_multipliers,
    rounding_shift_right,
)
from tests.envs.compression.integer.reference_kernels import (
    multiplier,
    multiply_by_quantised_multiplier,
    multiply_wide_by_quantised_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)

INT32 = st.integers(-(2**31), 2**31 - 1)


@pytest.mark.parametrize(
    ("real", "mantissa", "shift"),
    [
        (0.5, 2**30, 0),  # 0.5 * 2**31, no shift
        (1.0, 2**30, 1),
        (0.75, 3 * 2**29, 0),
        (0.1, 1717986918, -3),  # 0.8 * 2**31 = 1717986918.4
        (1 - 2.0**-40, 2**30, 1),  # the mantissa would round up to 2**31
        (2.0**-40, 0, 0),  # too small for a shift of 31
        (2.0**40, 2**31 - 1, 30),  # saturates
        (0.0, 0, 0),
    ],
)
def test_multipliers_by_hand(real, mantissa, shift):
    assert quantise_multiplier(real) == (mantissa, shift)


@given(st.floats(2**-30, 2**20))
def test_a_multiplier_stands_for_its_real_number(real):
    mantissa, shift = quantise_multiplier(real)
    assert 2**30 <= mantissa < 2**31
    assert mantissa / 2**31 * 2.0**shift == pytest.approx(real, rel=2**-31)
    assert (mantissa, shift) == multiplier(real)


@given(INT32, st.floats(0, 1))
def test_multiply_is_that_of_the_c_code(value, real):
    mantissas, shifts = quantise_multipliers(np.array([real]))
    # Beyond 32 bits the C code is undefined; ours saturates (the next test).
    assume(-(2**31) <= value << max(int(shifts[0]), 0) < 2**31)
    result = multiply(torch.tensor([value]), torch.from_numpy(mantissas), torch.from_numpy(shifts))
    assert result.item() == multiply_by_quantised_multiplier(value, real)


@given(st.integers(-(2**47), 2**47 - 1), st.floats(0, 2.0**WIDE_MAX_SHIFT, exclude_max=True))
def test_wide_multiply_is_that_of_the_c_code(value, real):
    mantissas, shifts = quantise_multipliers(np.array([real]))
    result = multiply_wide(torch.tensor([value]), torch.from_numpy(mantissas), torch.from_numpy(shifts))
    assert result.item() == multiply_wide_by_quantised_multiplier(value, real)


@pytest.mark.parametrize(
    ("value", "real", "product"),
    [
        (3, 0.5, 2),  # 1.5: halves go up,
        (-3, 0.5, -1),  # also those below zero
        (2**40, 2.0**-30, 1024),
        (100, 0.99999, 100),  # a mantissa of 16 bits: (32768 * 0.99999) rounds to 0x7FFF at most
        (2**30, 1 - 2.0**-20, 2**30 - 2**15),
    ],
)
def test_wide_products_by_hand(value, real, product):
    mantissa, shift = (torch.tensor(part) for part in quantise_multiplier(real))
    assert multiply_wide(torch.tensor(value), mantissa, shift).item() == product


def test_a_left_shift_beyond_32_bits_saturates():
    mantissas, shifts = quantise_multipliers(np.array([1.0]))
    result = multiply(torch.tensor([2**30 + 1]), torch.from_numpy(mantissas), torch.from_numpy(shifts))
    # (2**31 + 2) saturates at 2**31 - 1; times a half, rounded: 2**30.
    assert result.item() == 2**30


@given(st.integers(-(2**20), 2**20), st.floats(1, 2**10))
def test_multiply_by_more_than_one_is_that_of_the_c_code(value, real):
    mantissa, shift = quantise_multiplier(real)
    result = multiply(torch.tensor([value]), torch.tensor(mantissa), torch.tensor(shift))
    assert result.item() == multiply_by_quantised_multiplier(value, real)


def test_multiply_saturates_where_the_c_code_would_overflow():
    mantissa, shift = quantise_multiplier(2.0**10)
    values = torch.tensor([2**30, -(2**30)])
    # Saturated to 32 bits, then multiplied by the mantissa's 0.5.
    expected = [saturating_rounding_doubling_high_mul(value, mantissa) for value in (2**31 - 1, -(2**31))]
    assert multiply(values, torch.tensor(mantissa), torch.tensor(shift)).tolist() == expected


@given(st.lists(INT32, min_size=1, max_size=8), st.integers(0, 31))
def test_rounding_shift_is_that_of_the_c_code(values, exponent):
    result = rounding_shift_right(torch.tensor(values), torch.tensor(exponent))
    assert result.tolist() == [rounding_divide_by_pot(value, exponent) for value in values]


def test_halves_are_rounded_away_from_zero():
    values = torch.tensor([-6, -5, -3, -2, 2, 3, 5, 6])
    assert rounding_shift_right(values, torch.tensor(2)).tolist() == [-2, -1, -1, -1, 1, 1, 1, 2]


def test_every_channel_has_its_own_shift():
    values = torch.tensor([[-7, -7, -7], [7, 7, 7]])
    assert rounding_shift_right(values, torch.tensor([0, 1, 3])).tolist() == [[-7, -4, -1], [7, 4, 1]]
