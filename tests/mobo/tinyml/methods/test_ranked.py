"""Designs whose costs are news: all channels ranked together by the trained weights."""

import pytest

from mobo.base.errors import ConfigError
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from tests.mobo.small_study import small_config


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, *overrides: str) -> TinyMLProblem:
    config = small_config(*overrides)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


@pytest.mark.parametrize("criterion", ["taylor", "apoz", "bn_scale"])
def test_a_global_ranking_decides_the_costs_of_a_fixed_design(setup: StudySetup, criterion: str) -> None:
    overrides = ("compression.method=fixed", "compression.channel_round=1", f"compression.criterion={criterion}")
    values = {"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 0.5, "weight_bits": 8}
    fixed = Trial(number=0, design=Design(values), seed=0)
    local, ranking = problem(setup, *overrides), problem(setup, *overrides, "compression.scope=global")
    assert ranking.known is None
    bound, found = ranking.check(fixed.design).known, ranking.evaluate(fixed).outcome
    assert all((found[name] or 0) >= value for name, value in bound.items())
    # The same share of all channels, though not of the same groups.
    assert found["kept_channels_ratio"] == pytest.approx(0.5, abs=0.03)
    assert found["kept_channels_ratio"] == pytest.approx(local.evaluate(fixed).outcome["kept_channels_ratio"], abs=0.03)
    assert 0 < (found["kept_parameters_ratio"] or 0) < 0.5


def test_no_agent_spreads_what_a_ranking_of_all_channels_decides(setup: StudySetup) -> None:
    with pytest.raises(ConfigError, match=r"space.policy: only the uniform policy has one share of channels"):
        problem(setup, "compression.method=fixed", "compression.scope=global", "space.policy=agent_ram")


@pytest.mark.parametrize("name", ["keep_growth", "narrow_share"])
def test_nothing_is_graded_where_all_channels_are_ranked_together(setup: StudySetup, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"space.{name}: this study ranks all channels together.*graded by depth"):
        problem(setup, "compression.method=fixed", "compression.scope=global", f"space.{name}=0.5")


def test_a_globally_ranked_design_beyond_the_budget_is_done_and_infeasible(setup: StudySetup) -> None:
    overrides = ("compression.method=fixed", "compression.scope=global", "constraints.0.upper=8200")
    subject = problem(setup, *overrides)
    values = {"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 1.0, "weight_bits": 8}
    trial = evaluated(subject, Trial(number=0, design=Design(values), seed=0))
    assert trial.state is TrialState.DONE
    assert trial.outcome["kept_channels_ratio"] == trial.outcome["kept_parameters_ratio"] == 1
    assert not trial.is_feasible(subject.constraints)
