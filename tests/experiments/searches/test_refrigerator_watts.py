"""The sums that the study of refrigerators is made of."""

import numpy as np

from experiments.searches.refrigerator_watts import sums


def test_labels_are_the_appliances_own_part_of_the_sum() -> None:
    """Own windows hold 10 and 20 W, others 100 to 400 W."""
    watts = np.repeat(np.array([100, 10, 200, 20, 300, 400]), 16).reshape(6, 16).astype(np.int16)
    is_own, device = np.array([0, 1, 0, 1, 0, 0], bool), np.array(["a", "b", "c", "d", "e", "f"])
    found = sums(watts, is_own, device, seed=0)
    assert (found.watts.tolist(), found.appliance.tolist()) == ([10] * 3 + [20] * 3, ["b"] * 3 + ["d"] * 3)
    assert found.x.shape == (6, 2)
    assert set(np.rint(np.expm1(found.x[:, 0]) - found.watts).tolist()) <= {100, 200, 300, 400}
    assert np.array_equal(sums(watts, is_own, device, seed=0).x, found.x)
