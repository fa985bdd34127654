import numpy as np
import pytest
from sklearn.metrics import f1_score

from experiments.compression.promise.f1 import macro_f1


@pytest.mark.parametrize("seed", range(5))
def test_it_is_sklearns_over_the_classes_that_occur(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels, predictions = generator.integers(4, size=60), generator.integers(6, size=60)
    expected = f1_score(labels, predictions, labels=np.unique(labels), average="macro", zero_division=0)
    assert macro_f1(labels, predictions) == pytest.approx(expected)
