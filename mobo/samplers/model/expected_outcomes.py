"""What finished trials are worth, the luck of their measurements taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from mobo.base.quiet_libraries import one_thread, quiet
from mobo.samplers.history import History
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.space.objectives import Objective
from mobo.space.search_space import SearchSpace
from mobo.space.trial import Trial, TrialState

# With fewer there is no spread that a model could be told.
_FEWEST = 2


@dataclass(frozen=True)
class Expected:
    """What a model expects of one outcome of a design that was measured.

    Attributes:
        mean: The outcome without noise.
        deviation: How uncertain the model is of that.
    """

    mean: float
    deviation: float


def expected_outcomes(
    space: SearchSpace,
    trials: Sequence[Trial],
    objectives: Sequence[Objective],
    *,
    settings: FitSettings | None = None,
) -> Mapping[int, Mapping[str, Expected]]:
    """Return what is expected of the noisy objectives of done trials, by number and name.

    Each measurement is drawn towards what its neighbours let expect, by how much of it is noise. An objective of which
    no trial tells a standard error is taken as exact, and is not among them.

    Args:
        space: The search space.
        trials: Any trials; those that are done count.
        objectives: What is minimised.
        settings: How the models are fitted.

    Raises:
        SamplerError: A fit failed.
    """
    done = [trial for trial in trials if trial.state is TrialState.DONE]
    noisy = [item for item in objectives if any(trial.standard_error(item.name) for trial in done)]
    if not noisy or len(done) < _FEWEST:
        return {}
    history = History(noisy)
    history.observe(done)
    fit = settings if settings is not None else FitSettings()
    model = OutcomeModel(space, noisy, (), known=None, settings=fit, compress_tails=True, front="told")
    with quiet(), one_thread(), torch.no_grad():
        believed = model.beliefs(history).predict(model.points(history.done))
    found: dict[int, dict[str, Expected]] = {trial.number: {} for trial in history.done}
    for place, item in enumerate(noisy):
        span = item.reference - item.ideal
        for trial, mean, deviation in zip(
            history.done, believed.mean[:, place].tolist(), believed.deviation[:, place].tolist(), strict=True
        ):
            found[trial.number][item.name] = Expected(item.ideal + span * mean, span * deviation)
    return found


def as_expected(trials: Sequence[Trial], expected: Mapping[int, Mapping[str, Expected]]) -> list[Trial]:
    """Return trials with what is expected of their outcomes in the place of what was measured."""
    return [
        replace(
            trial,
            outcome={**trial.outcome, **{name: item.mean for name, item in expected.get(trial.number, {}).items()}},
        )
        for trial in trials
    ]
