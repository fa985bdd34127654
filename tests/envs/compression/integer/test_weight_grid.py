import pytest

from envs.compression.integer.weight_grid import has_one_scale, weight_limit


@pytest.mark.parametrize(
    ("computed", "stored", "limit"), [(8, None, 127), (4, None, 7), (8, 6, 31), (8, 5, 15), (4, 2, 1)]
)
def test_limits_are_those_of_symmetric_integers(computed, stored, limit):
    assert weight_limit(computed, stored) == limit


def test_a_stored_width_can_only_make_the_grid_coarser():
    assert weight_limit(4, 6) == weight_limit(4)


def test_only_four_bit_dense_layers_share_a_scale():
    assert [has_one_scale(*case) for case in ((2, 4), (2, 8), (4, 4), (4, 8))] == [True, False, False, False]
