import numpy as np
import pytest

from mobo.benchmark.problems.toy_landscape import SIDE, landscape


def test_the_landscape_has_what_the_figure_shows() -> None:
    # ALGORITHMS facts: global minimum near (15, 5), values from about -4.2 to 4.8.
    axis = np.linspace(0.0, SIDE, 257)
    X = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    heights = landscape(X)
    assert X[heights.argmin()].tolist() == pytest.approx([15.0, 5.0], abs=0.5)
    assert heights.min() == pytest.approx(-4.2, abs=0.05)
    assert heights.max() == pytest.approx(4.8, abs=0.05)


def test_far_from_every_bump_but_one_there_is_only_that_bump() -> None:
    # At the corner (32, 0) the nearest bump (25, 10) is 149^0.5 = 12.2 away: 3.2 exp(-149 / 18) = 0.0008.
    assert landscape(np.array([[32.0, 0.0]]))[0] == pytest.approx(0.0008, abs=2e-4)
