import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.integer.fixed_softmax import softmax

ROWS = st.lists(st.integers(-128, 127), min_size=1, max_size=30)


@given(ROWS, st.floats(1e-4, 1.0))
def test_softmax_is_within_one_step_of_the_real_one(row, scale):
    x = torch.tensor([row], dtype=torch.int8)
    real = torch.softmax(x.double() * scale, dim=1)
    expected = (real * 256 - 128).clamp(-128, 127)
    assert (softmax(x, scale) - expected).abs().max() <= 1


@given(ROWS, st.integers(-20, 20), st.floats(1e-3, 1.0))
def test_a_shift_of_all_inputs_changes_nothing(row, offset, scale):
    row = [min(max(value, -100), 100) for value in row]
    moved = [value + offset for value in row]
    first, second = (softmax(torch.tensor([values], dtype=torch.int8), scale) for values in (row, moved))
    assert first.equal(second)


@pytest.mark.parametrize(("count", "expected"), [(1, 127), (2, 0), (4, -64), (16, -112)])
def test_equal_inputs_share_equally(count, expected):
    # 1 / count in steps of 1/256 above -128; a lone 1.0 saturates at 127.
    assert softmax(torch.full((1, count, 1, 1), 5, dtype=torch.int8), 0.1).unique().tolist() == [expected]
