"""Acquisition functions against slow twins, closed forms and another library's hypervolume."""

import math

import moocore
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mobo.samplers.model.acquisition import (
    chebyshev,
    covered,
    directions,
    log_chebyshev_improvement,
    log_feasibility,
    log_hypervolume_improvement,
    reach,
    standard_normals,
)


def points(count: int, objectives: int, seed: int = 0) -> Tensor:
    return torch.rand(count, objectives, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sphere_constant(m: int) -> float:
    """Volume of the part of the unit ball with positive coordinates: the hypervolume of reach 1 in every direction."""
    return float(math.pi ** (m / 2) / (2**m * math.gamma(m / 2 + 1)))


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_the_mean_power_of_the_covered_reach_is_the_hypervolume(objectives: int) -> None:
    Y = points(12, objectives)
    rays = directions(objectives, 2**14, seed=0)
    estimate = sphere_constant(objectives) * float((covered(Y, rays) ** objectives).mean())
    assert estimate == pytest.approx(moocore.hypervolume(Y.numpy(), ref=np.ones(objectives)), rel=0.01)


def test_reach_by_hand() -> None:
    # From (1, 1) along (0.6, 0.8) the box of (0.4, 0.2) is left at its corner after 1: 1 - 0.6 = 0.4, 1 - 0.8 = 0.2.
    rays = torch.tensor([[0.6, 0.8], [0.8, 0.6]], dtype=torch.float64)
    # Along (0.8, 0.6) the first axis ends it: 0.6 / 0.8.
    torch.testing.assert_close(reach(torch.tensor([[0.4, 0.2]]).double(), rays), torch.tensor([[1.0, 0.75]]).double())


def test_a_point_beyond_the_reference_covers_nothing() -> None:
    rays = directions(2, 16, seed=0)
    assert torch.all(covered(torch.tensor([[1.5, 0.0]]).double(), rays) == 0.0)
    assert torch.all(reach(torch.tensor([[1.5, 0.0]]).double(), rays) < 0.0)
    assert torch.all(covered(torch.zeros(0, 2).double(), rays) == 0.0)


def sampled_improvement(mean: Tensor, deviation: Tensor, rays: Tensor, front: Tensor) -> float:
    """The slow obvious twin: outcomes drawn by the thousand, the gain of each along each ray."""
    samples = mean + deviation * standard_normals(len(mean), 2**14, seed=3)
    gain = reach(samples, rays).clamp_min(0.0) ** len(mean) - covered(front, rays) ** len(mean)
    return float(gain.clamp_min(0.0).mean())


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@pytest.mark.parametrize("spread", [0.3, 0.02, 0.0])
def test_the_hypervolume_improvement_agrees_with_its_slow_twin(objectives: int, spread: float) -> None:
    mean, deviation = 0.5 * points(5, objectives, seed=1), spread * points(5, objectives, seed=2)
    rays, front = directions(objectives, 64, seed=4), 0.3 + 0.5 * points(4, objectives, seed=5)
    exact = log_hypervolume_improvement(
        mean, deviation, rays=rays, covered_reach=covered(front, rays), nodes=16
    ).exp() / len(rays)  # fmt: skip
    slow = [sampled_improvement(mean[k], deviation[k], rays, front) for k in range(5)]
    assert exact.numpy() == pytest.approx(np.array(slow), rel=0.02, abs=1e-6)


def test_one_known_and_one_uncertain_objective_agree_with_the_twin_as_well() -> None:
    mean, deviation = torch.tensor([[0.2, 0.4]]).double(), torch.tensor([[0.0, 0.2]]).double()
    rays, front = directions(2, 64, seed=4), torch.tensor([[0.5, 0.5], [0.1, 0.8]]).double()
    exact = log_hypervolume_improvement(mean, deviation, rays=rays, covered_reach=covered(front, rays), nodes=16)
    assert float(exact.exp()) / 64 == pytest.approx(sampled_improvement(mean[0], deviation[0], rays, front), rel=0.02)


def test_a_few_nodes_suffice() -> None:
    mean, deviation, rays = 0.5 * points(20, 3, seed=1), 0.2 * points(20, 3, seed=2), directions(3, 64, seed=4)
    few, many = (
        log_hypervolume_improvement(mean, deviation, rays=rays, covered_reach=torch.full((64,), 0.6).double(), nodes=n)
        for n in (8, 64)
    )
    torch.testing.assert_close(few, many, rtol=0, atol=0.02)


def test_where_nothing_improves_there_is_still_a_slope_toward_better_and_less_certain_points() -> None:
    rays, front = directions(2, 32, seed=0), torch.tensor([[0.5, 0.5]]).double()
    mean = torch.tensor([[3.0, 3.0], [2.0, 2.0], [3.0, 3.0]], dtype=torch.float64, requires_grad=True)
    deviation = torch.tensor([[0.1, 0.1], [0.1, 0.1], [0.3, 0.3]], dtype=torch.float64)
    values = log_hypervolume_improvement(mean, deviation, rays=rays, covered_reach=covered(front, rays), nodes=8)
    assert values[1] > values[0]
    assert values[2] > values[0]
    (slope,) = torch.autograd.grad(values.sum(), mean)
    assert torch.isfinite(slope).all()
    assert torch.all(slope.sum(dim=1) < 0)


def test_chebyshev_by_hand() -> None:
    Y = torch.tensor([[0.2, 0.6]], dtype=torch.float64)
    # max(0.5 * 0.2, 0.5 * 0.6) + 0.1 * (0.1 + 0.3)
    assert float(chebyshev(Y, torch.tensor([0.5, 0.5]).double(), augmentation=0.1)) == pytest.approx(0.34)


def test_the_chebyshev_improvement_of_one_objective_is_the_expected_improvement() -> None:
    mean, deviation, best = 0.4, 0.3, 0.5
    z = (best - mean) / deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    closed = (best - mean) * 0.5 * (1 + math.erf(z / math.sqrt(2))) + deviation * density
    value = log_chebyshev_improvement(
        torch.tensor([[mean]]).double(), torch.tensor([[deviation]]).double(), normals=standard_normals(1, 4096, seed=0),
        weights=torch.ones(1).double(), augmentation=0.0, best=torch.tensor(best).double(), softness=1e-7,
    )  # fmt: skip
    assert float(value.exp()) == pytest.approx(closed, rel=1e-3)


def test_feasibility_by_hand() -> None:
    margin = torch.tensor([[0.0, -1.0], [-1.0, -1.0], [1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    deviation = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    # Half by the first; both surely; surely not; half and half.
    assert log_feasibility(margin, deviation).exp().tolist() == pytest.approx([0.5, 1.0, 0.0, 0.25])


def test_the_slope_of_feasibility_is_finite_where_an_outcome_is_known() -> None:
    margin = torch.tensor([[-1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_feasibility(margin, torch.tensor([[0.0, 1.0]]).double()).sum(), margin)
    assert torch.isfinite(slope).all()


@settings(max_examples=30)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_directions_are_positive_unit_vectors(objectives: int, seed: int) -> None:
    rays = directions(objectives, 16, seed=seed)
    assert torch.all(rays > 0)
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(16, dtype=torch.float64))


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_another_point_never_lowers_what_is_covered(seed: int) -> None:
    Y, rays = points(6, 3, seed=seed), directions(3, 16, seed=seed)
    assert torch.all(covered(Y, rays) >= covered(Y[:5], rays))
