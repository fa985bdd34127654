"""Independent Gaussian processes, one per outcome: the only place where models are fitted.

[Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi: Vanilla Bayesian Optimization Performs Great in High Dimensions.
ICML 2024 (the prior over length scales that grows with the dimension).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from botorch.exceptions.errors import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.cholesky import psd_safe_cholesky
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from mobo.errors import SamplerError
from mobo.fit_settings import FitSettings
from mobo.quiet_libraries import one_thread, quiet

Features = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Hyperparameters:
    """What the fit decides, in standardised units.

    Attributes:
        kernel: Name of the kernel.
        lengthscales: In units of the features, ``m x p``.
        noise: Observation noise variance, ``m``.
        constants: Prior mean, ``m``.
    """

    kernel: Literal["rbf", "matern52"]
    lengthscales: Tensor
    noise: Tensor
    constants: Tensor


@dataclass(frozen=True)
class _Part:
    """The outcomes that were observed at the same trials: one batched model.

    Attributes:
        columns: Their places among all outcomes.
        model: The model, with hyperparameters and data.
        inputs: Training inputs as the kernel sees them, ``n x p``.
        factor: Lower Cholesky factor of kernel plus noise, ``c x n x n``.
        weights: ``(K + noise)^-1 (y - mean)`` in standardised units, ``c x n x 1``.
    """

    columns: tuple[int, ...]
    model: SingleTaskGP
    inputs: Tensor
    factor: Tensor
    weights: Tensor


class Surrogate:
    """Gaussian processes with given hyperparameters, conditioned on trials.

    Args:
        X: Points of the unit cube, ``n x d``, float64.
        Y: Outcomes, ``n x m``; NaN where an outcome of a trial is unknown. Each column needs two numbers at least.
        features: From points to what the kernel sees, ``k x d -> k x p`` (one-hot categories, for example).
        hyperparameters: Those of :func:`fit_hyperparameters`, on these or other trials.

    Raises:
        SamplerError: A column has less than two numbers, or the covariance cannot be factorised.
    """

    def __init__(self, X: Tensor, Y: Tensor, *, features: Features, hyperparameters: Hyperparameters) -> None:
        self._X, self._Y, self._features = X, Y, features
        self.hyperparameters = hyperparameters
        self._parts = tuple(
            _conditioned(X[rows], Y[rows][:, list(columns)], columns, features, hyperparameters)
            for rows, columns in _groups(Y)
        )
        self._order = torch.tensor([column for part in self._parts for column in part.columns]).argsort()

    def moments(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every outcome at every point, without observation noise.

        Args:
            X: Points of the unit cube, ``k x d``; gradients flow where the features allow it.

        Returns:
            Two tensors ``k x m``.
        """
        features = self._features(X)
        pairs = [_moments(part, features) for part in self._parts]
        means, deviations = (torch.cat(list(tensors), dim=-1) for tensors in zip(*pairs, strict=True))
        return means[:, self._order], deviations[:, self._order]

    def believing(self, X: Tensor) -> "Surrogate":
        """Return the models as if the points had been observed with their predicted means (kriging believer).

        Args:
            X: Points whose outcomes are still to come, ``k x d``.
        """
        if len(X) == 0:
            return self
        with torch.no_grad():
            believed, _ = self.moments(X)
        return Surrogate(
            torch.cat([self._X, X]),
            torch.cat([self._Y, believed]),
            features=self._features,
            hyperparameters=self.hyperparameters,
        )

    @property
    def model(self) -> ModelListGP:
        """A BoTorch model with one output per outcome, for BoTorch's acquisition functions."""
        outputs: dict[int, SingleTaskGP] = {}
        for part in self._parts:
            for place, column in enumerate(part.columns):
                outputs[column] = part.model.subset_output([place]) if len(part.columns) > 1 else part.model
        return ModelListGP(*(outputs[column] for column in sorted(outputs)))


def fit_surrogate(X: Tensor, Y: Tensor, *, features: Features, settings: FitSettings | None = None) -> Surrogate:
    """Fit one Gaussian process per outcome and condition it on the same trials; see :class:`Surrogate`."""
    fitted = fit_hyperparameters(X, Y, features=features, settings=settings)
    return Surrogate(X, Y, features=features, hyperparameters=fitted)


def fit_hyperparameters(
    X: Tensor, Y: Tensor, *, features: Features, settings: FitSettings | None = None
) -> Hyperparameters:
    """Fit the hyperparameters of one Gaussian process per outcome, by maximum a posteriori.

    Args:
        X: Points of the unit cube, ``n x d``, float64.
        Y: Outcomes, ``n x m``; NaN where an outcome of a trial is unknown.
        features: From points to what the kernel sees, ``k x d -> k x p``.
        settings: How to fit.

    Raises:
        SamplerError: The fit failed, or a column has less than two numbers.
    """
    settings = settings if settings is not None else FitSettings()
    width = features(X[:1]).shape[-1]
    lengthscales = X.new_zeros(Y.shape[-1], width)
    noise, constants = X.new_zeros(Y.shape[-1]), X.new_zeros(Y.shape[-1])
    for rows, columns in _groups(Y):
        chosen = rows[_even_choice(len(rows), settings.max_points)]
        model = _model(X[chosen], Y[chosen][:, list(columns)], features, settings.kernel)
        _fit(model, settings.max_iterations)
        places = list(columns)
        lengthscales[places] = model.covar_module.lengthscale.detach().reshape(len(columns), width)
        noise[places] = model.likelihood.noise.detach().reshape(-1)
        constants[places] = model.mean_module.constant.detach().reshape(-1)
    return Hyperparameters(settings.kernel, lengthscales, noise, constants)


class _FeatureTransform(InputTransform, torch.nn.Module):
    """Lets a BoTorch model take points of the unit cube."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self._features = features
        self.transform_on_train, self.transform_on_eval, self.transform_on_fantasize = True, True, True
        self.is_one_to_many = False

    def transform(self, X: Tensor) -> Tensor:
        """Return the features of points, ``... x d -> ... x p``."""
        return self._features(X)


def _groups(Y: Tensor) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield row numbers and columns of outcomes that were observed at the same trials."""
    columns_by_rows: dict[tuple[bool, ...], list[int]] = {}
    for column, rows in enumerate((~Y.isnan()).T.tolist()):
        if sum(rows) < 2:
            raise SamplerError(f"outcome {column} was observed in {sum(rows)} trials; a model needs two at least")
        columns_by_rows.setdefault(tuple(rows), []).append(column)
    for observed, columns in columns_by_rows.items():
        yield torch.tensor(observed).nonzero().squeeze(-1), tuple(columns)


def _fit(model: SingleTaskGP, max_iterations: int) -> None:
    with quiet(), one_thread():
        try:
            fit_gpytorch_mll(
                ExactMarginalLogLikelihood(model.likelihood, model),
                optimizer_kwargs={"options": {"maxiter": max_iterations}},
                # Stopping at the iteration limit is meant; the library would take it for a failure and start again.
                max_attempts=1,
                warning_handler=lambda warning: True,
            )
        except (ModelFittingError, NotPSDError, NanError) as error:
            trials = model.train_targets.shape[-1]
            raise SamplerError(
                f"the models of {trials} trials could not be fitted: {type(error).__name__}: {error}"
            ) from error


def _conditioned(X: Tensor, Y: Tensor, columns: tuple[int, ...], features: Features, fitted: Hyperparameters) -> _Part:
    places = list(columns)
    model = _model(X, Y, features, fitted.kernel)
    shape = model.covar_module.lengthscale.shape
    model.covar_module.lengthscale = fitted.lengthscales[places].reshape(shape)
    model.likelihood.noise = fitted.noise[places].reshape(model.likelihood.noise.shape)
    model.mean_module.constant = fitted.constants[places].reshape(model.mean_module.constant.shape)
    model.eval()
    scale = model.outcome_transform
    with torch.no_grad():
        inputs = features(X)
        covariance = model.covar_module(_batched(inputs, len(columns))).to_dense().reshape(len(columns), len(X), -1)
        noise = fitted.noise[places].reshape(-1, 1, 1)
        try:
            factor = psd_safe_cholesky(covariance + noise * torch.eye(len(X), dtype=X.dtype))
        except (NotPSDError, NanError) as error:
            raise SamplerError(f"the covariance of {len(X)} trials cannot be factorised: {error}") from error
        standardised = (Y - scale.means.reshape(-1)) / scale.stdvs.reshape(-1) - fitted.constants[places]
        return _Part(columns, model, inputs, factor, torch.cholesky_solve(standardised.T.unsqueeze(-1), factor))


def _model(X: Tensor, Y: Tensor, features: Features, kernel: str) -> SingleTaskGP:
    outcomes = Y.shape[-1]
    covariance = get_covar_module_with_dim_scaled_prior(
        ard_num_dims=features(X[:1]).shape[-1],
        batch_shape=torch.Size([outcomes] if outcomes > 1 else []),
        use_rbf_kernel=kernel == "rbf",
    )
    with quiet():
        model = SingleTaskGP(
            X,
            Y,
            covar_module=covariance,
            outcome_transform=Standardize(outcomes),
            input_transform=_FeatureTransform(features),
        )
    # The library sets this for its default kernel only; both kernels have the same parameters.
    model._subset_batch_dict = {
        "likelihood.noise_covar.raw_noise": -2,
        "mean_module.raw_constant": -1,
        "covar_module.raw_lengthscale": -3,
    }
    return model


def _moments(part: _Part, features: Tensor) -> tuple[Tensor, Tensor]:
    """Predict; written out because the library would build the points' full joint covariance."""
    count, model = len(part.columns), part.model
    # Evaluated densely: lazy kernels cost more than the arithmetic at these sizes.
    cross = model.covar_module(_batched(features, count), _batched(part.inputs, count)).to_dense()
    cross = cross.reshape(count, len(features), -1)
    # Both kernels are 1 at distance 0; there is no output scale beside the standardisation.
    mean = model.mean_module.constant.reshape(-1, 1) + (cross @ part.weights).squeeze(-1)
    half = torch.linalg.solve_triangular(part.factor, cross.mT, upper=False)
    variance = (1.0 - half.square().sum(dim=-2)).clamp_min(1e-12)
    scale = model.outcome_transform
    deviation = scale.stdvs.reshape(-1)
    return mean.T * deviation + scale.means.reshape(-1), variance.sqrt().T * deviation


def _batched(inputs: Tensor, count: int) -> Tensor:
    return inputs.unsqueeze(0) if count > 1 else inputs


def _even_choice(count: int, most: int) -> Tensor:
    """Return at most so many row numbers: the newest half, and an even choice of the older ones."""
    if count <= most:
        return torch.arange(count)
    newest = most // 2
    older = torch.linspace(0, count - newest - 1, most - newest).round().long()
    return torch.cat([older, torch.arange(count - newest, count)])
