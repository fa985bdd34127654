"""The surrogate: our quick moments against BoTorch's posterior, ragged outcomes, believing, refusals."""

import numpy as np
import pytest
import torch
from botorch.fit import fit_gpytorch_mll
from gpytorch.mlls import ExactMarginalLogLikelihood
from torch import Tensor

from mobo.base.errors import SamplerError
from mobo.base.quiet_libraries import quiet
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.marginal_likelihood import LogPosterior, most_likely
from mobo.samplers.model.surrogate import (
    Surrogate,
    SurrogateParameters,
    fit_surrogate,
    fit_surrogate_parameters,
    log_density,
)

KERNELS = pytest.mark.parametrize("kernel", ["rbf", "matern52"])


def same(X: Tensor) -> Tensor:
    return X


def data(count: int = 15, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(count, 3, generator=generator, dtype=torch.float64)
    return X, torch.stack([X.sum(dim=1).sin(), 100.0 + 50.0 * X[:, 0] * X[:, 1], (X[:, 2] - 0.5) ** 2], dim=1)


@KERNELS
def test_the_moments_are_those_of_the_library(kernel: str) -> None:
    X, Y = data()
    surrogate = fit_surrogate(X, Y, features=same, settings=FitSettings(kernel=kernel))
    new, _ = data(9, seed=1)
    with torch.no_grad():
        mean, deviation = surrogate.moments(new)
        posterior = surrogate.model.posterior(new)
    torch.testing.assert_close(mean, posterior.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(deviation, posterior.variance.sqrt(), rtol=1e-5, atol=1e-8)


@KERNELS
def test_the_moments_are_those_of_the_library_also_with_noise_that_was_told(kernel: str) -> None:
    X, Y = data()
    told = torch.zeros_like(Y)
    told[:, 1] = torch.linspace(1.0, 400.0, len(X), dtype=torch.float64)
    surrogate = fit_surrogate(X, Y, features=same, settings=FitSettings(kernel=kernel), told=told)
    new, _ = data(9, seed=1)
    with torch.no_grad():
        mean, deviation = surrogate.moments(new)
        posterior = surrogate.model.posterior(new)
    torch.testing.assert_close(mean, posterior.mean, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(deviation, posterior.variance.sqrt(), rtol=1e-5, atol=1e-8)
    _, measured = surrogate.moments(new, measured=[1])
    own = surrogate.parameters.noise[1] * Y[:, 1].var()
    torch.testing.assert_close(measured[:, 1].square(), deviation[:, 1].square() + own + told[:, 1].mean())
    torch.testing.assert_close(measured[:, [0, 2]], deviation[:, [0, 2]])


def test_what_was_told_to_be_noisy_counts_less() -> None:
    X, Y = data()
    wrong = Y.clone()
    wrong[7] += 3.0 * Y.std(dim=0)
    told = torch.zeros_like(Y)
    told[7] = 25.0 * Y.var(dim=0)
    trusting, doubting = (fit_surrogate(X, wrong, features=same, told=noise) for noise in (None, told))
    distances = [(model.moments(X[7:8])[0] - Y[7]).abs() / Y.std(dim=0) for model in (trusting, doubting)]
    assert torch.all(distances[1] < 0.5 * distances[0])
    assert torch.equal(fit_surrogate(X, Y, features=same, told=0.0 * Y).moments(X)[0],
                       fit_surrogate(X, Y, features=same).moments(X)[0])  # fmt: skip


def test_an_outcome_seen_at_other_trials_is_modelled_as_if_it_were_alone() -> None:
    X, Y = data()
    ragged = Y.clone()
    ragged[:6, 1] = torch.nan
    new, _ = data(9, seed=1)
    mean, deviation = fit_surrogate(X, ragged, features=same).moments(new)
    alone_mean, alone_deviation = fit_surrogate(X[6:], Y[6:, 1:2], features=same).moments(new)
    pair_mean, pair_deviation = fit_surrogate(X, Y[:, [0, 2]], features=same).moments(new)
    torch.testing.assert_close(mean[:, 1:2], alone_mean)
    torch.testing.assert_close(deviation[:, 1:2], alone_deviation)
    torch.testing.assert_close(mean[:, [0, 2]], pair_mean)
    torch.testing.assert_close(deviation[:, [0, 2]], pair_deviation)


def test_the_models_learn() -> None:
    X, Y = data(30)
    new, truth = data(50, seed=1)
    mean, deviation = fit_surrogate(X, Y, features=same).moments(new)
    assert torch.all((mean - truth).abs().mean(dim=0) < 0.2 * truth.std(dim=0))
    assert torch.all(deviation < truth.std(dim=0))


def test_believing_a_point_leaves_its_mean_and_takes_away_its_uncertainty() -> None:
    X, Y = data()
    surrogate = fit_surrogate(X, Y, features=same)
    pending = torch.tensor([[0.9, 0.1, 0.9]], dtype=torch.float64)
    before, spread_before = surrogate.moments(pending)
    after, spread_after = surrogate.believing(pending).moments(pending)
    torch.testing.assert_close(after, before, rtol=0.02, atol=0.02)
    assert torch.all(spread_after < 0.7 * spread_before)
    assert surrogate.believing(pending[:0]) is surrogate


@KERNELS
def test_a_constant_outcome_is_predicted_as_constant(kernel: str) -> None:
    X, Y = data()
    Y[:, 1] = 7.0
    mean, deviation = fit_surrogate(X, Y, features=same, settings=FitSettings(kernel=kernel)).moments(X)
    torch.testing.assert_close(mean[:, 1], torch.full((len(X),), 7.0, dtype=torch.float64))
    assert torch.isfinite(deviation).all()


def test_a_density_is_of_the_outcome_whatever_map_of_it_is_shown() -> None:
    X, Y = data()
    y = Y[:, 0]
    plain = log_density(X, y, torch.zeros(len(y)), features=same)
    stretched = log_density(X, 3.0 * y - 7.0, torch.full((len(y),), 3.0).log(), features=same)
    assert stretched == pytest.approx(plain, rel=1e-6)


def test_the_outcome_itself_is_likelier_than_a_bent_map_where_it_is_smooth() -> None:
    X, Y = data(30)
    y = Y[:, 0].exp()
    bent = (8.0 * y).exp()
    slopes = 8.0 * y + torch.tensor(8.0).log()
    assert log_density(X, y, torch.zeros(len(y)), features=same) > log_density(X, bent, slopes, features=same)


def test_a_repeated_point_does_not_break_the_factorisation() -> None:
    X, Y = data(4)
    mean, _ = fit_surrogate(X.repeat(5, 1), Y.repeat(5, 1), features=same).moments(X)
    torch.testing.assert_close(mean, Y, rtol=0.1, atol=0.1)


def test_an_outcome_with_one_number_is_refused() -> None:
    X, Y = data(4)
    Y[1:, 2] = torch.nan
    with pytest.raises(SamplerError, match="outcome 2 was observed in 1 trials; a model needs two at least"):
        fit_surrogate(X, Y, features=same)


def test_the_fit_looks_at_no_more_points_than_allowed() -> None:
    X, Y = data(60)
    settings = FitSettings(max_points=20)
    chosen = torch.cat([torch.linspace(0, 49, 10).round().long(), torch.arange(50, 60)])
    limited = fit_surrogate_parameters(X, Y, features=same, settings=settings)
    by_hand = fit_surrogate_parameters(X[chosen], Y[chosen], features=same, settings=settings)
    torch.testing.assert_close(limited.lengthscales, by_hand.lengthscales)


def test_the_features_are_what_the_kernel_sees() -> None:
    X, Y = data()
    fitted = SurrogateParameters(
        ("rbf",) * 3, torch.full((3, 1), 0.5).double(), torch.full((3,), 1e-4).double(), torch.zeros(3).double()
    )
    surrogate = Surrogate(X, Y, features=lambda points: points[..., :1], parameters=fitted)
    mean, _ = surrogate.moments(torch.tensor([[0.3, 0.0, 0.0], [0.3, 1.0, 1.0]], dtype=torch.float64))
    torch.testing.assert_close(mean[0], mean[1])


def test_the_global_generator_and_the_threads_are_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    fit_surrogate(*data(), features=same)
    assert torch.get_num_threads() == threads
    assert torch.rand(1) == expected


def test_each_outcome_gets_the_kernel_under_which_it_is_more_likely() -> None:
    X, _ = data(40)
    smooth, rough = (3.0 * X.sum(dim=1)).sin(), (7.0 * X[:, 0] - 3.5).abs() + (5.0 * X[:, 1] - 2.5).abs()
    Y = torch.stack([smooth, rough], dim=1)
    assert fit_surrogate_parameters(X, Y, features=same, settings=FitSettings(kernel="best")).kernels == (
        "rbf",
        "matern52",
    )


def test_the_best_kernels_of_two_outcomes_predict_as_each_alone() -> None:
    X, Y = data(20)
    chosen = fit_surrogate(X, Y, features=same, settings=FitSettings(kernel="best"))
    new, _ = data(9, seed=1)
    mean, _ = chosen.moments(new)
    for column, kernel in enumerate(chosen.parameters.kernels):
        alone = fit_surrogate(X, Y[:, [column]], features=same, settings=FitSettings(kernel=kernel))  # type: ignore[arg-type]
        torch.testing.assert_close(mean[:, [column]], alone.moments(new)[0])


def test_a_measurement_is_as_uncertain_as_the_function_and_its_noise() -> None:
    X, Y = data()
    surrogate = fit_surrogate(X, Y, features=same)
    new, _ = data(9, seed=1)
    mean, deviation = surrogate.moments(new)
    measured_mean, measured = surrogate.moments(new, measured=range(3))
    torch.testing.assert_close(measured_mean, mean)
    noise = surrogate.parameters.noise * Y.var(dim=0)
    torch.testing.assert_close(measured.square(), deviation.square() + noise)


@KERNELS
@pytest.mark.parametrize("count", [4, 25, 80])
def test_the_fit_is_at_least_as_likely_as_the_library_s(kernel: str, count: int) -> None:
    """By the library's own measure, priors included, at our hyperparameters and at those that it finds itself."""
    X, Y = data(count)
    noisy = Y[:, :1] + 0.05 * torch.randn(count, 1, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    fitted = fit_surrogate_parameters(X, noisy, features=same, settings=FitSettings(kernel=kernel, max_iterations=200))
    model = Surrogate(X, noisy, features=same, parameters=fitted)._parts[0].model
    model.requires_grad_(True).train()
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    with quiet():
        ours = float(likelihood(model(*model.train_inputs), model.train_targets))
        found = most_likely(X, model.train_targets, kernel=kernel, max_iterations=200)
        fit_gpytorch_mll(likelihood)
        model.train()
        theirs = float(likelihood(model(*model.train_inputs), model.train_targets))
    assert ours == pytest.approx(found.likelihood, abs=1e-6)
    assert ours > theirs - 1e-3


@KERNELS
def test_gradients_by_hand_are_those_by_differences(kernel: str) -> None:
    X, Y = data(12)
    objective = LogPosterior(X, (Y[:, 0] - Y[:, 0].mean()) / Y[:, 0].std(), kernel)
    place = objective.mode + np.linspace(-0.5, 0.7, 4)
    _, gradient = objective.negative(place)
    for axis, step in enumerate(1e-5 * np.eye(4)):
        slope = (objective.negative(place + step)[0] - objective.negative(place - step)[0]) / 2e-5
        assert gradient[axis] == pytest.approx(slope, rel=1e-4, abs=1e-7)


# In twenty-fourths: places of 15 designs of a grid of nine parameters, as one search had them.
GRID = """
12 20 6 18 18 18 18 21 18, 12 12 18 6 6 18 6 9 6, 12 12 18 18 18 18 18 9 6, 20 4 18 6 18 6 6 15 18,
20 12 18 18 18 6 18 9 18, 4 4 6 18 6 18 6 15 18, 12 12 6 18 18 6 6 9 6, 12 12 18 18 6 18 18 9 18,
12 4 6 6 18 18 6 15 18, 4 12 18 18 18 18 18 15 18, 4 12 18 18 18 18 18 9 18, 12 12 18 18 18 18 18 15 18,
12 4 18 18 18 18 18 15 18, 4 4 18 18 18 18 18 15 18, 4 12 18 18 18 18 18 21 18
"""
ERRORS = (
    -1.2365, -0.1046, -0.6948, 1.6581, -0.5735, 1.2053, 1.7227, -0.6867, 1.3185, -0.4846, 0.2674, -1.0021, -0.6463,
    -0.0075, -0.7352,
)  # fmt: skip


@KERNELS
def test_a_step_beyond_all_numbers_is_taken_back(kernel: str) -> None:
    # The first line search tries length scales of e^15000 here.
    X = torch.tensor([[int(place) for place in row.split()] for row in GRID.split(",")], dtype=torch.float64) / 24
    y = torch.tensor(ERRORS, dtype=torch.float64)
    found = most_likely(X, y, kernel=kernel, max_iterations=30)
    start = LogPosterior(X, y, kernel)
    assert torch.isfinite(found.lengthscales).all()
    assert found.likelihood > start.at(start.mode).likelihood
