"""BoTorch's own acquisition functions on our beliefs, for the samplers that are today's standard.

BoTorch maximises; the flip happens once, where objectives are scaled.
"""

from collections.abc import Callable

import torch
from botorch.acquisition.acquisition import AcquisitionFunction
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.multi_objective.parego import qLogNParEGO
from botorch.models import ModelList
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.model import Model
from botorch.sampling.base import MCSampler
from botorch.sampling.get_sampler import get_sampler
from torch import Tensor

from mobo.samplers.model.maximise import Score
from mobo.samplers.model.outcome_model import Beliefs, scales
from mobo.samplers.uncompiled_botorch import keep_botorch_uncompiled

keep_botorch_uncompiled()


def log_nehvi(beliefs: Beliefs, *, samples: int, seed: int) -> Score:
    """Return log noisy expected hypervolume improvement (Daulton et al. 2021; Ament et al. 2023).

    Args:
        beliefs: What is believed; pending trials count as observed.
        samples: Posterior samples.
        seed: Seed of the samples.
    """
    objectives, model = len(beliefs.objectives), _model(beliefs)
    return _score(
        qLogNoisyExpectedHypervolumeImprovement(
            model=model,
            # Objectives are scaled to 1 at the reference and negated.
            ref_point=torch.full((objectives,), -1.0, dtype=torch.float64),
            X_baseline=beliefs.baseline_points(),
            sampler=_sampler(model, samples, seed),
            objective=_objective(beliefs),
            constraints=_constraints(beliefs),
            prune_baseline=True,
            # The cached root needs a Gaussian posterior of every outcome; known ones have none.
            cache_root=beliefs.is_differentiable,
        )
    )


def log_nparego(beliefs: Beliefs, *, samples: int, seed: int) -> Score:
    """Return the log noisy expected improvement of a random augmented Chebyshev scalarisation (Daulton et al. 2020).

    The weights are drawn from torch's global generator, which the caller has seeded.

    Args:
        beliefs: What is believed; pending trials count as observed.
        samples: Posterior samples.
        seed: Seed of the samples.
    """
    model = _model(beliefs)
    return _score(
        qLogNParEGO(
            model=model,
            X_baseline=beliefs.baseline_points(),
            sampler=_sampler(model, samples, seed),
            objective=_objective(beliefs),
            constraints=_constraints(beliefs),
            prune_baseline=True,
            cache_root=beliefs.is_differentiable,
        )
    )


def _score(acquisition: AcquisitionFunction) -> Score:
    def score(X: Tensor) -> Tensor:
        values: Tensor = acquisition(X.unsqueeze(-2))
        return values

    return score


def _model(beliefs: Beliefs) -> Model:
    """Return one model whose outputs are the modelled outcomes, then the known ones."""
    if beliefs.surrogate is not None and beliefs.is_differentiable:
        return beliefs.surrogate.model
    parts: list[Model] = [] if beliefs.surrogate is None else list(beliefs.surrogate.model.models)
    return ModelList(*parts, GenericDeterministicModel(beliefs.known_values, num_outputs=len(beliefs.known_names)))


def _sampler(model: Model, samples: int, seed: int) -> MCSampler:
    inputs: int = model.models[0].train_inputs[0].shape[-1]
    posterior = model.posterior(torch.full((1, inputs), 0.5, dtype=torch.float64))
    return get_sampler(posterior, torch.Size([samples]), seed=seed)


def _objective(beliefs: Beliefs) -> GenericMCMultiOutputObjective:
    places = [beliefs.outputs.index(item.name) for item in beliefs.objectives]
    ideal, span = scales(beliefs.objectives)
    return GenericMCMultiOutputObjective(lambda Y, X=None: -(Y[..., places] - ideal) / span)


def _constraints(beliefs: Beliefs) -> list[Callable[[Tensor], Tensor]] | None:
    def excess(place: int, upper: float) -> Callable[[Tensor], Tensor]:
        # In units of the limit: BoTorch's smoothed indicator has a fixed width.
        return lambda Y: (Y[..., place] - upper) / max(1.0, abs(upper))

    return [excess(beliefs.outputs.index(name), upper) for name, upper in beliefs.limits] or None
