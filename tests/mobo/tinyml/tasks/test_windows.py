"""Cutting windows against the slow obvious way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mobo.tinyml.tasks.windows import cut_windows


@given(length=st.integers(0, 40), window=st.integers(1, 12), hop=st.integers(1, 15))
def test_windows_are_the_stretches_inside_the_signal(length: int, window: int, hop: int) -> None:
    signal = np.arange(2 * length, dtype=np.float32).reshape(length, 2)
    expected = []
    start = 0
    while start + window <= length:
        expected.append(signal[start : start + window][None])
        start += hop
    found = cut_windows(signal, window, hop)
    assert found.shape == (len(expected), 1, window, 2)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
