"""Independent Gaussian processes, one per outcome: the only place where models are fitted.

[Hvarfner2024] C. Hvarfner, E. O. Hellsten, L. Nardi: Vanilla Bayesian Optimization Performs Great in High Dimensions.
ICML 2024 (the prior over length scales that grows with the dimension).
[Wilson2020] J. T. Wilson, V. Borovitskiy, A. Terenin, P. Mostowsky, M. P. Deisenroth: Efficiently Sampling Functions
from Gaussian Process Posteriors. ICML 2020.
[Rahimi2007] A. Rahimi, B. Recht: Random Features for Large-Scale Kernel Machines. NeurIPS 2007.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.transforms.outcome import Standardize
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from linear_operator.utils.cholesky import psd_safe_cholesky
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor

from mobo.base.errors import SamplerError
from mobo.base.quiet_libraries import one_thread, quiet
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.marginal_likelihood import Hyperparameters, most_likely

Features = Callable[[Tensor], Tensor]

_KERNELS = ("rbf", "matern52")

# BoTorch's: outcomes that vary less are not scaled.
_SMALLEST_SPREAD = 1e-8

# Waves that a drawn function is made of, before it is corrected to pass near the data.
_WAVES = 512


@dataclass(frozen=True)
class SurrogateParameters:
    """What the fit decides, in standardised units.

    Attributes:
        kernels: Name of each outcome's kernel, ``m``.
        lengthscales: In units of the features, ``m x p``.
        noise: Observation noise variance beyond what was told of it, ``m``.
        constants: Prior mean, ``m``.
    """

    kernels: tuple[str, ...]
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
        noise: Variances of the observations in standardised units, ``c x n``.
        factor: Lower Cholesky factor of kernel plus noise, ``c x n x n``.
        weights: ``(K + noise)^-1 (y - mean)`` in standardised units, ``c x n x 1``.
    """

    columns: tuple[int, ...]
    model: SingleTaskGP
    inputs: Tensor
    noise: Tensor
    factor: Tensor
    weights: Tensor


class Surrogate:
    """Gaussian processes with given hyperparameters, conditioned on trials.

    Args:
        X: Points of the unit cube, ``n x d``, float64.
        Y: Outcomes, ``n x m``; NaN where an outcome of a trial is unknown. Each column needs two numbers at least.
        features: From points to what the kernel sees, ``k x d -> k x p`` (one-hot categories, for example).
        parameters: Those of :func:`fit_surrogate_parameters`, on these or other trials.
        told: Variances of the outcomes' noise as far as they are known, ``n x m``, else 0; each column's own noise
            comes on top.

    Raises:
        SamplerError: A column has less than two numbers, or the covariance cannot be factorised.
    """

    def __init__(
        self,
        X: Tensor,
        Y: Tensor,
        *,
        features: Features,
        parameters: SurrogateParameters,
        told: Tensor | None = None,
    ) -> None:
        self._X, self._Y, self._features = X, Y, features
        self._told = torch.zeros_like(Y) if told is None else told
        self.parameters = parameters
        self._parts = tuple(
            _conditioned(
                X[rows],
                Y[rows][:, list(columns)],
                columns,
                features,
                parameters,
                told=self._told[rows][:, list(columns)],
            )
            for rows, columns in _groups(Y, parameters.kernels, self._told)
        )
        self._order = torch.tensor([column for part in self._parts for column in part.columns]).argsort()

    def moments(self, X: Tensor, *, measured: Collection[int] = ()) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of every outcome at every point.

        Args:
            X: Points of the unit cube, ``k x d``; gradients flow where the features allow it.
            measured: Columns whose deviations are those of a measurement, noise included.

        Returns:
            Two tensors ``k x m``.
        """
        features = self._features(X)
        pairs = [_moments(part, features, measured=measured) for part in self._parts]
        means, deviations = (torch.cat(list(tensors), dim=-1) for tensors in zip(*pairs, strict=True))
        return means[:, self._order], deviations[:, self._order]

    def path(self, *, seed: int) -> Callable[[Tensor], Tensor]:
        """Return a function drawn from the posterior of every outcome: one and the same wherever it is asked.

        A draw from the prior, as a sum of random waves [Rahimi2007], is corrected by the data [Wilson2020]. That costs
        a kernel evaluation per point and trial, where the joint posterior of k points costs k^3.

        Args:
            seed: Decides the draw.

        Returns:
            A function of points of the unit cube, ``k x d``, to outcomes without observation noise, ``k x m``.
        """
        generator = torch.Generator().manual_seed(seed)
        paths = [_path(part, self.parameters, generator) for part in self._parts]

        def drawn(X: Tensor) -> Tensor:
            features = self._features(X)
            return torch.cat([path(features) for path in paths], dim=-1)[:, self._order]

        return drawn

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
            parameters=self.parameters,
            told=torch.cat([self._told, _mean_told(self._told, self._Y).expand(len(X), -1)]),
        )

    @property
    def model(self) -> ModelListGP:
        """A BoTorch model with one output per outcome, for BoTorch's acquisition functions."""
        outputs: dict[int, SingleTaskGP] = {}
        for part in self._parts:
            for place, column in enumerate(part.columns):
                outputs[column] = part.model.subset_output([place]) if len(part.columns) > 1 else part.model
        return ModelListGP(*(outputs[column] for column in sorted(outputs)))


def fit_surrogate(
    X: Tensor, Y: Tensor, *, features: Features, settings: FitSettings | None = None, told: Tensor | None = None
) -> Surrogate:
    """Fit one Gaussian process per outcome and condition it on the same trials; see :class:`Surrogate`."""
    fitted = fit_surrogate_parameters(X, Y, features=features, settings=settings, told=told)
    return Surrogate(X, Y, features=features, parameters=fitted, told=told)


def fit_surrogate_parameters(
    X: Tensor, Y: Tensor, *, features: Features, settings: FitSettings | None = None, told: Tensor | None = None
) -> SurrogateParameters:
    """Fit the hyperparameters of one Gaussian process per outcome, by maximum a posteriori.

    Args:
        X: Points of the unit cube, ``n x d``, float64.
        Y: Outcomes, ``n x m``; NaN where an outcome of a trial is unknown.
        features: From points to what the kernel sees, ``k x d -> k x p``.
        settings: How to fit.
        told: Variances of the outcomes' noise as far as they are known, ``n x m``.

    Raises:
        SamplerError: The fit failed, or a column has less than two numbers.
    """
    settings = settings if settings is not None else FitSettings()
    told = torch.zeros_like(Y) if told is None else told
    fits = [
        _fit(X, Y[:, column], told[:, column], column, features, _kernels(settings), settings)
        for column in range(Y.shape[-1])
    ]
    return SurrogateParameters(
        tuple(kernel for kernel, _ in fits),
        torch.stack([fit.lengthscales for _, fit in fits]),
        torch.tensor([fit.noise for _, fit in fits], dtype=torch.float64),
        torch.tensor([fit.constant for _, fit in fits], dtype=torch.float64),
    )


def log_density(
    X: Tensor, shown: Tensor, log_slopes: Tensor, *, features: Features, settings: FitSettings | None = None
) -> float:
    """Return the logarithm of how likely one outcome is, by data point, where a Gaussian process is shown a map of it.

    Args:
        X: Points of the unit cube, ``n x d``, float64.
        shown: What the process is shown, ``n``, without NaN.
        log_slopes: Logarithm of how steeply that rises with the outcome, ``n``; 0 where it is the outcome itself.
        features: From points to what the kernel sees, ``k x d -> k x p``.
        settings: How to fit; of more points than that allows an even choice counts.

    Raises:
        SamplerError: The fit failed, or there are less than two points.
    """
    settings = settings if settings is not None else FitSettings()
    _, fit = _fit(X, shown, torch.zeros_like(shown), 0, features, _kernels(settings), settings)
    rows = _even_choice(len(shown), settings.max_points)
    spread = max(float(shown[rows].std()), _SMALLEST_SPREAD)
    return fit.likelihood - math.log(spread) + float(log_slopes[rows].mean())


def _kernels(settings: FitSettings) -> Sequence[str]:
    return _KERNELS if settings.kernel == "best" else (settings.kernel,)


def _fit(
    X: Tensor,
    y: Tensor,
    told: Tensor,
    column: int,
    features: Features,
    kernels: Sequence[str],
    settings: FitSettings,
) -> tuple[str, Hyperparameters]:
    """Return the kernel that makes one outcome more likely, and its hyperparameters."""
    rows = _observed_rows(y, column)
    rows = rows[_even_choice(len(rows), settings.max_points)]
    spread = y[rows].std()
    unit = spread if spread >= _SMALLEST_SPREAD else torch.ones_like(spread)
    standardised, noise = (y[rows] - y[rows].mean()) / unit, told[rows] / unit.square()
    try:
        with torch.no_grad(), one_thread():
            inputs = features(X[rows])
            fits = {
                kernel: most_likely(
                    inputs, standardised, kernel=kernel, max_iterations=settings.max_iterations, told=noise
                )
                for kernel in kernels
            }
    except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
        raise SamplerError(f"the models of {len(rows)} trials could not be fitted: {error}") from error
    return max(fits.items(), key=lambda item: item[1].likelihood)


class _FeatureTransform(InputTransform, torch.nn.Module):  # type: ignore[misc]
    """Lets a BoTorch model take points of the unit cube."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self._features = features
        self.transform_on_train, self.transform_on_eval, self.transform_on_fantasize = True, True, True
        self.is_one_to_many = False

    def transform(self, X: Tensor) -> Tensor:
        """Return the features of points, ``... x d -> ... x p``."""
        return self._features(X)


def _groups(Y: Tensor, kernels: Sequence[str], told: Tensor) -> Iterator[tuple[Tensor, tuple[int, ...]]]:
    """Yield row numbers and columns of outcomes that were observed at the same trials and share a kernel.

    One whose noise is told is alone: the library has another likelihood for it.
    """
    columns_by_rows: dict[tuple[str, tuple[int, ...], int | None], list[int]] = {}
    for column in range(Y.shape[-1]):
        rows = tuple(_observed_rows(Y[:, column], column).tolist())
        own = column if told[:, column].any() else None
        columns_by_rows.setdefault((kernels[column], rows, own), []).append(column)
    for (_, observed, _), columns in columns_by_rows.items():
        yield torch.tensor(observed), tuple(columns)


def _mean_told(told: Tensor, Y: Tensor) -> Tensor:
    """Return the mean variance that was told of each outcome where it was observed, ``m``."""
    return torch.where(Y.isnan(), torch.nan, told).nanmean(dim=0)


def _observed_rows(y: Tensor, column: int) -> Tensor:
    """Return the numbers of the trials that an outcome was observed at."""
    rows = (~y.isnan()).nonzero().squeeze(-1)
    if len(rows) < 2:
        raise SamplerError(f"outcome {column} was observed in {len(rows)} trials; a model needs two at least")
    return rows


def _conditioned(
    X: Tensor,
    Y: Tensor,
    columns: tuple[int, ...],
    features: Features,
    fitted: SurrogateParameters,
    *,
    told: Tensor,
) -> _Part:
    places = list(columns)
    is_told = bool(told.any())
    model = _model(X, Y, features, fitted.kernels[columns[0]], is_told=is_told)
    scale = model.outcome_transform
    own, told = fitted.noise[places], told / scale.stdvs.reshape(-1).square()
    noise = own.unsqueeze(-1) + told.T
    shape = model.covar_module.lengthscale.shape
    model.covar_module.lengthscale = fitted.lengthscales[places].reshape(shape)
    model.likelihood.noise = (noise if is_told else own).reshape(model.likelihood.noise.shape)
    model.mean_module.constant = fitted.constants[places].reshape(model.mean_module.constant.shape)
    # Only points are differentiated from here on.
    model.eval().requires_grad_(False)
    with torch.no_grad():
        inputs = features(X)
        covariance = model.covar_module(_batched(inputs, len(columns))).to_dense().reshape(len(columns), len(X), -1)
        try:
            factor = psd_safe_cholesky(covariance + torch.diag_embed(noise))
        except (NotPSDError, NanError) as error:
            raise SamplerError(f"the covariance of {len(X)} trials cannot be factorised: {error}") from error
        standardised = (Y - scale.means.reshape(-1)) / scale.stdvs.reshape(-1) - fitted.constants[places]
        weights = torch.cholesky_solve(standardised.T.unsqueeze(-1), factor)
        return _Part(columns, model, inputs, noise, factor, weights)


def _model(X: Tensor, Y: Tensor, features: Features, kernel: str, *, is_told: bool) -> SingleTaskGP:
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
            # To be set: here it only decides which likelihood there is.
            train_Yvar=torch.ones_like(Y) if is_told else None,
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


def _moments(part: _Part, features: Tensor, *, measured: Collection[int]) -> tuple[Tensor, Tensor]:
    """Predict; written out because the library would build the points' full joint covariance."""
    count, model = len(part.columns), part.model
    # Evaluated densely: lazy kernels cost more than the arithmetic at these sizes.
    cross = model.covar_module(_batched(features, count), _batched(part.inputs, count)).to_dense()
    cross = cross.reshape(count, len(features), -1)
    # Both kernels are 1 at distance 0; there is no output scale beside the standardisation.
    mean = model.mean_module.constant.reshape(-1, 1) + (cross @ part.weights).squeeze(-1)
    half = torch.linalg.solve_triangular(part.factor, cross.mT, upper=False)
    variance = (1.0 - half.square().sum(dim=-2)).clamp_min(1e-12)
    noisy = torch.tensor([float(column in measured) for column in part.columns], dtype=variance.dtype)
    # What was told counts by its mean.
    noise = model.likelihood.noise.reshape(count, -1).mean(dim=-1)
    variance = variance + (noise * noisy).unsqueeze(-1)
    scale = model.outcome_transform
    deviation = scale.stdvs.reshape(-1)
    return mean.T * deviation + scale.means.reshape(-1), variance.sqrt().T * deviation


def _path(part: _Part, fitted: SurrogateParameters, generator: torch.Generator) -> Features:
    """Draw one function per outcome of a part, from features ``k x p`` to outcomes ``k x c``."""
    places, model = list(part.columns), part.model
    lengthscales = fitted.lengthscales[places]
    prior = _prior_path(lengthscales, fitted.kernels[places[0]], generator)
    errors = torch.randn(part.noise.shape, generator=generator, dtype=part.noise.dtype) * part.noise.sqrt()
    surplus = torch.cholesky_solve((prior(part.inputs) + errors).unsqueeze(-1), part.factor)
    scale = model.outcome_transform

    def drawn(features: Tensor) -> Tensor:
        with torch.no_grad():
            cross = model.covar_module(_batched(features, len(places)), _batched(part.inputs, len(places))).to_dense()
            cross = cross.reshape(len(places), len(features), -1)
            corrected = prior(features) + (cross @ (part.weights - surplus)).squeeze(-1)
        outcomes: Tensor = (corrected.T + fitted.constants[places]) * scale.stdvs.reshape(-1) + scale.means.reshape(-1)
        return outcomes

    return drawn


def _prior_path(lengthscales: Tensor, kernel: str, generator: torch.Generator) -> Features:
    """Draw one function per row of length scales from a prior of variance 1, from ``k x p`` to ``c x k``."""
    outcomes, width = lengthscales.shape
    waves = torch.randn(outcomes, width, _WAVES, generator=generator, dtype=lengthscales.dtype)
    if kernel == "matern52":
        # The spectrum of a Matern kernel of smoothness 5/2 is a Student distribution of 5 degrees of freedom.
        chi = torch.randn(outcomes, 1, _WAVES, 5, generator=generator, dtype=lengthscales.dtype)
        waves = waves * (5.0 / chi.square().sum(dim=-1)).sqrt()
    waves = waves / lengthscales.unsqueeze(-1)
    phases = 2.0 * math.pi * torch.rand(outcomes, 1, _WAVES, generator=generator, dtype=lengthscales.dtype)
    heights = torch.randn(outcomes, _WAVES, 1, generator=generator, dtype=lengthscales.dtype) * math.sqrt(2.0 / _WAVES)
    return lambda features: ((features @ waves + phases).cos() @ heights).squeeze(-1)


def _batched(inputs: Tensor, count: int) -> Tensor:
    return inputs.unsqueeze(0) if count > 1 else inputs


def _even_choice(count: int, most: int) -> Tensor:
    """Return at most so many row numbers: the newest half, and an even choice of the older ones."""
    if count <= most:
        return torch.arange(count)
    newest = most // 2
    older = torch.linspace(0, count - newest - 1, most - newest).round().long()
    return torch.cat([older, torch.arange(count - newest, count)])
