import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest

from mobo.base.errors import SamplerError
from mobo.samplers import sampler_settings
from mobo.samplers.ax.sampler import AxSampler
from mobo.samplers.ax.settings import AxSettings
from mobo.samplers.sobol import SobolSampler
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import CONSTRAINTS, MIXED_SPACE, OBJECTIVES, SMALL_SPACE, done
from tests.mobo.samplers.spoilt_trade_off import final_hypervolume

QUICK = AxSettings(initial_trials=2, restarts=2, raw_samples=16, mc_samples=16)


def test_the_start_is_the_sobol_sequence() -> None:
    settings = AxSettings(initial_trials=6)
    ax = AxSampler(SMALL_SPACE, OBJECTIVES, seed=9, settings=settings)
    sobol = SobolSampler(SMALL_SPACE, OBJECTIVES, seed=9)
    for number in range(6):
        assert ax.suggest(1) == sobol.suggest(1)
        trial = done(number, ax.suggest(1)[0])
        ax.observe([trial])
        sobol.observe([trial])


@pytest.mark.parametrize(("parameters", "expected"), [(1, 5), (7, 7), (30, 10)])
def test_the_length_of_the_start_follows_the_space(parameters: int, expected: int) -> None:
    space = SearchSpace([FloatParameter(name=f"p{index}", low=0, high=1) for index in range(parameters)])
    assert AxSampler(space, OBJECTIVES, seed=0).initial_trials == expected


def test_listing_samplers_and_checking_settings_imports_neither_ax_nor_torch() -> None:
    code = (
        "import sys; from mobo.samplers import SAMPLERS, sampler_settings; sampler_settings('ax', {'restarts': 3});"
        "print([name for name in ('ax', 'torch', 'botorch', 'scipy.stats') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_bad_setting_is_named() -> None:
    with pytest.raises(ValueError, match=r"setting restarts = 0 of sampler 'ax' is not allowed: .*greater"):
        sampler_settings("ax", {"restarts": 0})


def test_what_ax_is_told_of_an_infeasible_trial() -> None:
    from mobo.samplers.ax.client import metrics_of

    constraints = (Constraint(name="ram_bytes", upper=5000), Constraint(name="flash_bytes", upper=8000))
    trial = Trial(
        number=0,
        design=SMALL_SPACE.decode(np.full(3, 0.5)),
        seed=0,
        state=TrialState.INFEASIBLE,
        outcome={"ram_bytes": 6000.0},
    )
    # The known bound where there is one; else the reference of an objective and the limit of a constraint.
    assert metrics_of(trial, OBJECTIVES, constraints) == {
        "objective_0": 1.0,
        "objective_1": 10_000,
        "constraint_0": 6000.0,
        "constraint_1": 8000,
    }


def test_a_bound_on_an_objective_becomes_a_constraint_of_its_own() -> None:
    from ax.api.client import Client

    from mobo.samplers.ax.client import ax_parameter, outcome_constraints

    client = Client()
    client.configure_experiment(parameters=[ax_parameter(parameter) for parameter in SMALL_SPACE])
    constraints = (Constraint(name="flash_bytes", upper=8000),)
    bounds = outcome_constraints(OBJECTIVES, constraints)
    client.configure_optimization(objective="-objective_0, -objective_1", outcome_constraints=bounds)
    config = client._experiment.optimization_config
    assert {item.metric_names[0]: item.bound for item in config.objective_thresholds} == {
        "objective_0": 1.0,
        "objective_1": 10_000.0,
    }
    assert [(item.metric_names[0], item.bound) for item in config.outcome_constraints] == [("constraint_0", 8000.0)]


@pytest.mark.slow
def test_a_suggestion_prints_nothing_and_leaves_no_setting_changed(capfd: pytest.CaptureFixture[str]) -> None:
    import ax  # noqa: F401 - its loggers exist from here on

    sampler = AxSampler(SMALL_SPACE, OBJECTIVES, CONSTRAINTS, seed=0, settings=QUICK)
    sampler.observe([done(number, design) for number, design in enumerate(sampler.suggest(3))])
    before = ([handler.level for handler in logging.getLogger("ax").handlers], list(warnings.filters))
    capfd.readouterr()
    sampler.suggest(1)
    assert capfd.readouterr() == ("", "")
    assert ([handler.level for handler in logging.getLogger("ax").handlers], list(warnings.filters)) == before


def test_one_objective_is_enough_and_its_suggestion_is_repeatable() -> None:
    objectives = (Objective(name="error", reference=1.0),)
    found = []
    for _ in range(2):
        sampler = AxSampler(SMALL_SPACE, objectives, seed=0, settings=QUICK)
        sampler.observe([done(number, design) for number, design in enumerate(sampler.suggest(3))])
        found.append(sampler.suggest(1))
    SMALL_SPACE.check(found[0][0])
    assert found[0] == found[1]


@pytest.mark.slow
def test_every_kind_of_parameter_reaches_ax_and_comes_back() -> None:
    sampler = AxSampler(MIXED_SPACE, OBJECTIVES, CONSTRAINTS, seed=0, settings=QUICK)
    for number in range(6):
        (design,) = sampler.suggest(1)
        MIXED_SPACE.check(design)
        sampler.observe([done(number, design)])


@pytest.mark.slow
def test_with_half_the_trials_ax_beats_sobol() -> None:
    ax, sobol = (
        [final_hypervolume(name, seed=seed, trial_count=count) for seed in range(3)]
        for name, count in (("ax", 16), ("sobol", 32))
    )
    assert np.mean(ax) > np.mean(sobol), (ax, sobol)


def test_a_failure_inside_ax_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from ax.api.client import Client

    def fail(self: Client, max_trials: int) -> None:
        raise torch.linalg.LinAlgError("the input is not positive-definite")

    monkeypatch.setattr(Client, "get_next_trials", fail)
    sampler = AxSampler(SMALL_SPACE, OBJECTIVES, CONSTRAINTS, seed=0, settings=QUICK)
    sampler.observe([done(number, design) for number, design in enumerate(sampler.suggest(3))])
    with pytest.raises(SamplerError, match="after 3 trials: _LinAlgError: the input is not positive-definite"):
        sampler.suggest(1)
