import torch

from experiments.samplers.gecco2025.informed import predictions_from_others
from mobo.samplers.model.features import Features
from mobo.samplers.model.surrogate import fit_surrogate_parameters
from mobo.space.search_space import FloatParameter, SearchSpace

SPACE = SearchSpace([FloatParameter(name="a", low=0.0, high=1.0), FloatParameter(name="b", low=0.0, high=1.0)])
FEATURES = Features(SPACE)
POINTS = torch.rand(60, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
ERRORS = torch.sin(3 * POINTS[:, 0]) + 0.5 * POINTS[:, 1]
FITTED = fit_surrogate_parameters(POINTS, ERRORS.unsqueeze(-1), features=FEATURES)


def test_a_smooth_error_is_predicted_from_the_other_designs():
    means, deviations = predictions_from_others(POINTS, ERRORS, FEATURES, FITTED, seed=0)
    assert (means - ERRORS).square().mean().sqrt() < 0.05 * ERRORS.std()
    assert (deviations > 0).all()


def test_no_prediction_knows_its_own_error():
    changed = ERRORS.clone()
    changed[7] += 100.0
    before, _ = predictions_from_others(POINTS, ERRORS, FEATURES, FITTED, seed=0)
    after, _ = predictions_from_others(POINTS, changed, FEATURES, FITTED, seed=0)
    # Only designs of the other fifths are predicted with it.
    assert after[7] == before[7]
    assert (after != before).sum() == 48
