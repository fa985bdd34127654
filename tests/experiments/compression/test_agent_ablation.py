import pandas as pd
import pytest

from experiments.compression.agent_ablation import BLIND, VARIANTS, WHOLE, errors, summary
from tests.envs.search.test_registry import problem


@pytest.mark.slow
def test_every_variant_is_another_agent_and_searches() -> None:
    assert len(set(VARIANTS.values())) == len(VARIANTS)
    found = errors(problem(), seed=0, evaluations=4)
    assert set(found) == {*VARIANTS, BLIND}
    assert all(0 <= error <= 1 for error in found.values())


def test_the_table_compares_with_the_whole_agent() -> None:
    text = summary(pd.DataFrame({WHOLE: [0.1, 0.1], "half": [0.2, 0.2]}), 8)
    assert "| half | 2 | 20.00 | 2.00 (2.00 to 2.00) |" in text
