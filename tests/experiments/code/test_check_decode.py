"""What the page of stored widths under TFLM says: arenas to the byte, files as nearly as those of plain weights."""

from itertools import islice

import pytest

from experiments.code.check_decode import compared


def test_arenas_are_those_of_the_interpreter() -> None:
    pytest.importorskip("tflite_micro")
    for network, bits, decoded, file_bytes, predicted, arena, planned, *_ in islice(
        compared("residual", (16, 16, 3)), 2
    ):
        assert (network, decoded) == ("residual", {"8": "0 of 11", "6": "9 of 11"}[bits])
        assert arena == planned
        assert int(predicted.replace(",", "")) == pytest.approx(int(file_bytes.replace(",", "")), rel=0.06)
