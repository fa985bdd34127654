"""Trainings that end early: the rule's arithmetic, what it is learned from, and what becomes of a stopped trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mobo.base.errors import TrialStopped
from mobo.samplers.history import History
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import hypervolume
from mobo.space.problem import Evaluation
from mobo.space.search_space import Design, FloatParameter, OrdinalParameter, SearchSpace
from mobo.space.stopping import CurveLine, StoppingRule
from mobo.space.trial import TrainingReference, Trial, TrialState
from mobo.study.evaluation import evaluated
from mobo.tinyml.early_stopping import EarlyStopping, rung_name
from mobo.tinyml.run_settings import StoppingSettings
from tests.mobo.problems_for_tests import SmallProblem

SPACE = SearchSpace([OrdinalParameter(name="width", values=(4, 8, 16)), FloatParameter(name="keep", low=0.1, high=1.0)])
OBJECTIVES = (
    Objective(name="validation_error", reference=1.0),
    Objective(name="flash_model_bytes", unit="bytes", reference=20.0),
)


class Size:
    """The size of a network is its width times what is kept."""

    names = ("flash_model_bytes",)

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.array([[float(design["width"]) * float(design["keep"])] for design in designs]).reshape(-1, 1)


class Work:
    training_names = frozenset({"width"})

    def child_key(self, design: Design) -> Design:
        return design

    def training_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.full(len(designs), 8.0)

    def child_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.full(len(designs), 2.0)


def stopping(constraints: Sequence[Constraint] = (), **settings: object) -> EarlyStopping:
    return EarlyStopping(
        StoppingSettings.model_validate({"chance": 0.05, "finished_share": 0.0, "rungs": (0.5,), **settings}),
        SPACE,
        OBJECTIVES,
        constraints,
        known=Size(),
        work=Work(),
        sample_count=1000,
    )


def trained(number: int, *, width: int = 8, keep: float = 0.5, rung: float = 0.4, last: float = 0.2) -> Trial:
    design = Design({"width": width, "keep": keep})
    return Trial(
        number=number,
        design=design,
        seed=number,
        state=TrialState.DONE,
        training=TrainingReference(trial=number, seed=number, digest=str(number)),
        outcome={
            "validation_error": min(1.0, 1.1 * last),
            "float_validation_error": last,
            rung_name(0.5): rung,
            "flash_model_bytes": float(Size().outcomes([design])[0, 0]),
        },
    )


def study(count: int = 12) -> list[Trial]:
    """Trainings whose error halves from the rung on, over a range of errors and sizes."""
    generator = np.random.default_rng(0)
    trials = []
    for number in range(count):
        rung = float(generator.uniform(0.1, 0.8))
        width, keep = (4, 8, 16)[number % 3], float(generator.uniform(0.1, 1.0))
        last = 0.5 * rung * float(np.exp(0.02 * generator.standard_normal()))
        trials.append(trained(number, width=width, keep=keep, rung=rung, last=last))
    return trials


DESIGN = Design({"width": 8, "keep": 0.5})


def test_errors_in_a_unit_stop_where_shares_of_the_same_noise_do() -> None:
    def in_unit(trial: Trial) -> Trial:
        errors = {name: 250 * float(value or 0.0) for name, value in trial.outcome.items() if "error" in name}
        share = float(trial.outcome["validation_error"] or 0.0)
        told = {"validation_error_standard_error": 250 * math.sqrt(share * (1 - share) / 1000)}
        return replace(trial, outcome={**trial.outcome, **errors, **told})

    shares = study()
    subject = EarlyStopping(
        StoppingSettings.model_validate({"chance": 0.05, "finished_share": 0.0, "rungs": (0.5,)}),
        SPACE,
        (OBJECTIVES[0].model_copy(update={"reference": 250.0}), OBJECTIVES[1]),
        (),
        known=Size(),
        work=Work(),
        sample_count=1000,
        worst=250.0,
        is_share=False,
    )
    expected, found = stopping().rule(DESIGN, 0, shares), subject.rule(DESIGN, 0, [in_unit(trial) for trial in shares])
    assert expected is not None
    assert found is not None
    for error in (0.05, 0.2, 0.5, 0.8):
        assert found.chance_at(0.5, 250 * error) == pytest.approx(expected.chance_at(0.5, error), rel=1e-3, abs=1e-6)


def test_the_chance_is_that_of_a_normal_error_below_what_is_allowed() -> None:
    line = CurveLine(intercept=-0.7, slope=1.0, deviation=0.3, allowed=math.log(0.1))
    rule = StoppingRule(lines={0.5: line}, carried=1.0, deviation=0.4, own_loss=0.2, smallest_error=1e-3, chance=0.05)
    lead = math.log(0.1) - (-0.7 + math.log(0.3))
    assert rule.chance_at(0.5, 0.3) == pytest.approx(NormalDist().cdf(lead / 0.5))
    assert rule.expected_error(0.5, 0.3) == pytest.approx(math.exp(-0.7 + math.log(0.3) + 0.2))
    assert rule.stops(0.5, 0.9)
    assert not rule.stops(0.5, 0.05)
    assert not rule.stops(0.25, 0.9), "nothing is known of that rung"
    assert rule.chance_at(0.5, 0.0) == rule.chance_at(0.5, 1e-4), "no logarithm of zero"


def test_what_a_study_teaches_is_that_errors_halve() -> None:
    rule = stopping().rule(DESIGN, 0, study())
    assert rule is not None
    line = rule.lines[0.5]
    assert math.exp(line.log_error(0.4, 1e-4)) == pytest.approx(0.2, rel=0.1)
    assert line.deviation < 0.2
    assert 0.0 <= rule.carried <= 1.0


def test_a_hopeless_training_is_stopped_and_a_good_one_is_not() -> None:
    strong = trained(12, width=4, keep=0.1, rung=0.1, last=0.05)
    rule = stopping().rule(DESIGN, 0, [*study(), strong])
    assert rule is not None
    assert rule.stops(0.5, 1.0)
    assert not rule.stops(0.5, 0.005)


def test_where_more_has_to_come_of_it_less_is_allowed() -> None:
    allowed = []
    for worth in (0.0, 0.5, 2.0):
        rule = stopping(worth=worth).rule(DESIGN, 0, study())
        assert rule is not None
        allowed.append(rule.lines[0.5].allowed)
    assert allowed == sorted(allowed, reverse=True)
    assert allowed[0] > allowed[2]


def test_what_is_allowed_adds_just_what_is_needed() -> None:
    """The slow way: children on a fine grid of what the training puts in, each added to the front in turn."""
    subject, trials = stopping(worth=1.0), study()
    rule = subject.rule(DESIGN, 0, trials)
    assert rule is not None
    allowed = rule.lines[0.5].allowed
    rate = subject._recent_rate(trials)
    needed = rate * (0.5 * 8.0 + 2.0)
    done = [trial for trial in trials if trial.state is TrialState.DONE]
    from mobo.tinyml.early_stopping import _Children

    children = _Children(done, subject._features, 0.5 / 1000)
    errors = np.exp(subject._believed_log_errors(done, children))
    front = np.column_stack([errors, Size().outcomes([trial.design for trial in done])])
    compressions = subject._compressions(DESIGN)
    losses, sizes = children.losses(compressions), Size().outcomes(compressions)[:, 0]

    def gained(put: float) -> float:
        before = hypervolume(front, [0.0, 0.0], [1.0, 20.0])
        rows = zip(np.exp(put + losses), sizes, strict=True)
        return max(hypervolume(np.vstack([front, row]), [0.0, 0.0], [1.0, 20.0]) - before for row in rows)

    assert gained(allowed - 0.01) > needed > gained(allowed + 0.01)


def test_lucky_measurements_stop_nobody() -> None:
    """A front error far below what its training lets expect counts as less than was measured."""
    trials = study()
    lucky = replace(trials[0], outcome={**trials[0].outcome, "validation_error": 1e-3})
    subject = stopping()
    from mobo.tinyml.early_stopping import _Children

    children = _Children(trials, subject._features, 0.5 / 1000)
    (believed,) = subject._believed_log_errors([lucky], children)
    assert believed > math.log(1e-3)


@pytest.mark.parametrize("count", [0, 3, 7])
def test_nothing_is_stopped_before_enough_is_known(count: int) -> None:
    assert stopping().rule(DESIGN, 0, study(count)) is None


def test_a_share_is_finished_all_the_same() -> None:
    trials = study()
    assert stopping(finished_share=1.0).rule(DESIGN, 0, trials) is None
    kept = sum(stopping(finished_share=0.25).rule(DESIGN, seed, trials) is None for seed in range(80))
    assert 10 < kept < 30


def test_a_network_that_cannot_fit_is_worth_nothing() -> None:
    nothing_fits = (Constraint(name="flash_model_bytes", unit="bytes", upper=1e-3),)
    rule = stopping(nothing_fits).rule(DESIGN, 0, study())
    assert rule is not None
    assert rule.lines[0.5].allowed == -math.inf
    assert rule.stops(0.5, 0.001)


def test_trials_without_the_rung_say_nothing_of_it() -> None:
    trials = study()
    short = [
        replace(trial, outcome={name: value for name, value in trial.outcome.items() if name != rung_name(0.5)})
        for trial in trials[:6]
    ]
    rule = stopping().rule(DESIGN, 0, short + trials[6:])
    assert rule is not None
    assert dict(rule.lines) == {}


@dataclass(frozen=True)
class Stops(SmallProblem):
    def evaluate(self, trial: Trial) -> Evaluation:
        raise TrialStopped("its training was stopped", {"error": 0.5}, {"train": 3.0})


def test_a_stopped_trial_is_finished_and_keeps_what_it_knows() -> None:
    trial = Trial(number=0, design=Design({"x": 0.5, "rate": 0.01, "width": 8}), seed=0, times_s={"suggest": 1.0})
    stopped = evaluated(Stops(), trial)
    assert stopped.state is TrialState.STOPPED
    assert stopped.state.is_finished
    assert stopped.outcome == {"error": 0.5}
    assert stopped.times_s == {"suggest": 1.0, "train": 3.0}
    assert stopped.training is None
    assert "stopped" in stopped.message


def test_the_models_learn_from_a_stopped_trial_what_it_was_expected_to_become() -> None:
    trials = study()
    model = OutcomeModel(SPACE, OBJECTIVES, (), known=Size(), settings=FitSettings())
    means = []
    for error in (0.05, 0.9):
        outcome = {**trials[-1].outcome, "validation_error": error}
        history = History(OBJECTIVES)
        history.observe([*trials[:-1], replace(trials[-1], state=TrialState.STOPPED, training=None, outcome=outcome)])
        with torch.no_grad():
            beliefs = model.beliefs(history)
            means.append(float(beliefs.predict(model.points(trials[-1:])).mean[0, 0]))
        assert beliefs.outputs == ("validation_error", "flash_model_bytes"), "a stopped trial is no failure"
        assert len(beliefs.incumbents()) == len(trials) - 1, "what was only expected stands on no front"
    assert means[0] < means[1]
