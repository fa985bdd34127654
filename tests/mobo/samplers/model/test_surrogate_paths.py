"""Functions drawn from the surrogate's posterior."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.surrogate import Surrogate, SurrogateParameters, fit_surrogate

POINTS = torch.linspace(0.0, 1.0, 9, dtype=torch.float64).unsqueeze(-1)
X = torch.tensor([[0.1], [0.3], [0.55], [0.9]], dtype=torch.float64)
Y = torch.cat([(6.0 * X).sin(), X + 3.0], dim=-1)


def surrogate(kernel: Literal["rbf", "matern52"], outcomes: Tensor = Y) -> Surrogate:
    count = outcomes.shape[-1]
    fitted = SurrogateParameters(
        (kernel,) * count,
        torch.full((count, 1), 0.4, dtype=torch.float64),
        torch.full((count,), 1e-3, dtype=torch.float64),
        torch.linspace(0.0, 0.3, count, dtype=torch.float64),
    )
    return Surrogate(X, outcomes, features=lambda points: points, parameters=fitted)


@pytest.mark.parametrize("kernel", ["rbf", "matern52"])
@pytest.mark.parametrize("holes", [False, True])
def test_many_paths_have_the_posteriors_moments(kernel: Literal["rbf", "matern52"], holes: bool) -> None:
    outcomes = Y.clone()
    if holes:
        # An outcome that one trial lacks is a model of its own, with columns in another order.
        outcomes[2, 0] = torch.nan
    model = surrogate(kernel, outcomes)
    mean, deviation = model.moments(POINTS)
    drawn = torch.stack([model.path(seed=seed)(POINTS) for seed in range(800)])
    # 800 draws: a mean is off by 1/28 of the deviation and a deviation by 1/40 of itself, one standard error each.
    assert ((drawn.mean(dim=0) - mean).abs() < 0.15 * deviation).all()
    assert ((drawn.std(dim=0) / deviation - 1.0).abs() < 0.15).all()


def test_neighbours_on_a_path_belong_together_as_the_posterior_says() -> None:
    # BoTorch's joint posterior is the second opinion on the covariance of two points.
    model = surrogate("matern52")
    pair = torch.tensor([[0.70], [0.74]], dtype=torch.float64)
    drawn = torch.stack([model.path(seed=seed)(pair)[:, 0] for seed in range(800)])
    with torch.no_grad():
        covariance = model.model.models[0].posterior(pair).covariance_matrix
    expected = covariance[0, 1] / (covariance[0, 0] * covariance[1, 1]).sqrt()
    assert torch.corrcoef(drawn.T)[0, 1].item() == pytest.approx(expected.item(), abs=0.02)


def test_a_path_is_one_function_wherever_it_is_asked() -> None:
    path = surrogate("matern52").path(seed=5)
    whole = path(POINTS)
    assert torch.allclose(path(POINTS[3:5]), whole[3:5], atol=1e-12)
    assert torch.equal(surrogate("matern52").path(seed=5)(POINTS), whole)
    assert not torch.allclose(surrogate("matern52").path(seed=6)(POINTS), whole)


def test_paths_leave_torchs_global_generator_alone() -> None:
    model = fit_surrogate(X, Y, features=lambda points: points, settings=FitSettings(max_iterations=3))
    torch.manual_seed(0)
    model.path(seed=1)(POINTS)
    after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), after)
