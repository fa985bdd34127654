"""Our own sampler: what of it the contract of all samplers does not show."""

import numpy as np
import pytest

from mobo.base.errors import SamplerError
from mobo.samplers import build_sampler
from mobo.samplers.history import History
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_model import FrontOutcomes, OutcomeModel
from mobo.space.objectives import Objective
from mobo.space.parameters import Prior
from mobo.space.search_space import Design, FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState


def _searched(prior: Prior | None, seed: int) -> list[float]:
    """Return where on the first axis the designs of a search lie whose outcomes do not depend on it."""
    axes = [FloatParameter(name="x", low=0, high=1, prior=prior), FloatParameter(name="y", low=0, high=1)]
    objectives = [Objective(name="f", reference=2.0), Objective(name="g", reference=2.0)]
    quick = {"search": {"pool": 128, "moves": 16, "rounds": 2, "polish_iterations": 5}, "rays": 32}
    sampler = build_sampler("polar_ehvi", SearchSpace(axes), objectives, seed=seed, settings=quick)
    places = []
    for number in range(10):
        (design,) = sampler.suggest(1)
        y = float(design["y"])
        sampler.observe(
            [Trial(number=number, design=design, seed=number, state=TrialState.DONE, outcome={"f": y, "g": 1 - y})]
        )
        places.append(float(design["x"]))
    return places


def test_a_prior_leads_where_nothing_else_tells() -> None:
    # Half of the start, and what follows it; without a belief no search stays there.
    assert np.median(_searched(Prior(best=0.9, spread=0.05), 0)[5:]) > 0.75
    assert np.median(_searched(None, 0)[5:]) < 0.75


def test_other_samplers_refuse_a_prior() -> None:
    space = SearchSpace([FloatParameter(name="x", low=0, high=1, prior=Prior(best=0.5))])
    with pytest.raises(
        SamplerError, match=r"space.x has a prior, which the sampler .random. does not look at; .* polar_ehvi"
    ):
        build_sampler("random", space, [Objective(name="f", reference=1.0)], seed=0)


def test_the_front_as_believed_lets_no_lucky_measurement_close_a_region() -> None:
    axes = [FloatParameter(name="x", low=0, high=1)]
    objectives = [Objective(name="f", reference=2.0), Objective(name="g", reference=2.0)]
    history = History(objectives)
    places = np.linspace(0, 1, 24)
    noise = np.random.default_rng(0).normal(scale=0.02, size=24)
    noise[12] = -0.4
    pairs = enumerate(zip(places.tolist(), noise.tolist(), strict=True))
    outcomes = {number: (x, {"f": x + luck, "g": 1 - x}) for number, (x, luck) in pairs}
    history.observe(
        [
            Trial(number=number, design=Design({"x": x}), seed=0, state=TrialState.DONE, outcome=outcome)
            for number, (x, outcome) in outcomes.items()
        ]
    )

    def reached(front: FrontOutcomes) -> float:
        model = OutcomeModel(SearchSpace(axes), objectives, (), known=None, settings=FitSettings(), front=front)
        return float(2 * model.beliefs(history).incumbents()[12, 0])

    assert reached("measured") == pytest.approx(places[12] - 0.4)
    assert reached("believed") > places[12] - 0.3
