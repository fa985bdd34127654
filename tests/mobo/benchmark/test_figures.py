import numpy as np
import pytest

from mobo.benchmark.figures import mean_and_std, quartiles

CURVES = np.array([[0.0, 1.0, 2.0], [0.0, 2.0, np.nan], [0.0, 3.0, 4.0]])


def test_bands_by_hand_with_one_seed_that_ended_early() -> None:
    low, middle, high = quartiles(CURVES)
    assert (low[1], middle[1], high[1]) == (1.5, 2.0, 2.5)
    assert (low[2], middle[2], high[2]) == (2.5, 3.0, 3.5)
    below, mean, above = mean_and_std(CURVES)
    # Of a sample: 1, 2, 3 have the standard deviation 1; 2 and 4 the square root of 2.
    assert (below[1], mean[1], above[1]) == (1.0, 2.0, 3.0)
    assert above[2] - mean[2] == pytest.approx(2**0.5)


def test_one_seed_has_no_spread() -> None:
    below, mean, above = mean_and_std(CURVES[:1])
    assert below.tolist() == mean.tolist() == above.tolist() == [0.0, 1.0, 2.0]
