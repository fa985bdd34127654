import numpy as np

from experiments.gecco2025.informed import predictions_from_others
from mobo.samplers.features import Features
from mobo.space import FloatParameter, SearchSpace

SPACE = SearchSpace([FloatParameter(name="a", low=0.0, high=1.0), FloatParameter(name="b", low=0.0, high=1.0)])


def _table(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    points = np.random.default_rng(1).random((count, 2))
    return points, np.sin(3 * points[:, 0]) + 0.5 * points[:, 1]


def test_a_smooth_error_is_predicted_from_the_other_designs():
    points, errors = _table()
    means, deviations = predictions_from_others(points, errors, Features(SPACE))
    assert np.sqrt(np.mean((means - errors) ** 2)) < 0.05 * errors.std()
    assert (deviations > 0).all()


def test_no_prediction_knows_its_own_error():
    points, errors = _table()
    changed = errors.copy()
    changed[7] += 100.0
    before, _ = predictions_from_others(points, errors, Features(SPACE))
    after, _ = predictions_from_others(points, changed, Features(SPACE))
    # The other designs of its fold are predicted from the same folds as before, which do not hold it either.
    assert after[7] == before[7]
    assert (after != before).any()
