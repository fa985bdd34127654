import pandas as pd

from experiments.compression.quantisation_aware import policy_of, summary
from hw_models.graph.from_torch import trace
from tests.envs.networks import build


def test_four_bits_are_computed_with_and_two_are_stored() -> None:
    module, shape = build("plain")
    traced = trace(module, shape)
    assert set(policy_of(4, traced).weight_bits.values()) == {4}
    assert policy_of(4, traced).stored_bits == {}
    assert set(policy_of(2, traced).stored_bits.values()) == {2}
    assert policy_of(2, traced).bits("0.0") == 8


def test_differences_are_paired_by_seed() -> None:
    errors = {"grid": (0.10, 0.20), "learned": (0.09, 0.19), "ptq": (0.10, 0.22)}
    frame = pd.DataFrame(
        {"family": "residual", "seed": seed, "width": 4, "way": way, "error": values[seed], "bytes": 1000}
        for seed in (0, 1)
        for way, values in errors.items()
    )
    page = summary(frame)
    assert "| residual | 4 bits | grid | 15.00 |  | 1,000 |" in page
    assert "| residual | 4 bits | learned | 14.00 | -1.00 ± 0.00 | 1,000 |" in page
    # Two differences 0 and 2 points: the mean 1, the deviation sqrt 2, and 12.706 times its share sqrt 2.
    assert "| residual | 4 bits | ptq | 16.00 | +1.00 ± 12.71 | 1,000 |" in page
