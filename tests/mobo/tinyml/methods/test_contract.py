"""What every method of compression promises: which one a config gets, what it knows, refuses, chooses and accepts."""

from collections.abc import Sequence

import numpy as np
import pytest

from envs.episode.targets import BudgetError
from hw_models.cost import COST_NAMES
from mobo.base.errors import TrialFailed
from mobo.space.search_space import Design
from mobo.tinyml.config import METHODS
from mobo.tinyml.methods import method_of
from mobo.tinyml.methods.fixed import FixedMethod
from mobo.tinyml.methods.method import CompressionMethod
from mobo.tinyml.methods.ranked import RankedMethod
from mobo.tinyml.methods.searched import SearchedMethod
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from tests.mobo.small_study import small_config

OVERRIDES: dict[type[CompressionMethod], Sequence[str]] = {
    FixedMethod: ["compression.method=fixed"],
    RankedMethod: ["compression.method=fixed", "compression.scope=global"],
    SearchedMethod: ["compression.method=uniform"],
}
KINDS = pytest.mark.parametrize("kind", OVERRIDES, ids=lambda kind: kind.__name__)
SEED = 5


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, *overrides: str) -> TinyMLProblem:
    config = small_config(*overrides)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def made(kind: type[CompressionMethod], subject: TinyMLProblem) -> CompressionMethod:
    return kind(subject.designs, on_policy=lambda: None)


def middle(subject: TinyMLProblem) -> Design:
    return subject.space.decode(np.full(len(subject.space), 0.5))


def test_every_strategy_is_under_contract() -> None:
    assert {method_of(small_config(f"compression.method={name}").compression) for name in METHODS} < set(OVERRIDES)
    assert all(method_of(small_config(*overrides).compression) is kind for kind, overrides in OVERRIDES.items())


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        (["compression.low_rank=['none', 'svd']"], RankedMethod),
        (["compression.low_rank=['none', 'svd']", "compression.rank_by=ratio"], FixedMethod),
        (["compression.low_rank=['none', 'svd']", "compression.method=sac"], SearchedMethod),
        (["compression.scope=global", "compression.method=uniform"], SearchedMethod),
    ],
)
def test_costs_that_follow_from_weights_are_not_known_before(
    overrides: list[str], kind: type[CompressionMethod]
) -> None:
    assert method_of(small_config("compression.method=fixed", *overrides).compression) is kind


@KINDS
def test_its_hyperparameters_are_those_of_every_design(setup: StudySetup, kind: type[CompressionMethod]) -> None:
    subject = problem(setup, *OVERRIDES[kind])
    assert set(kind.entries(small_config(*OVERRIDES[kind]))) <= subject.designs.hyperparameters.names


@KINDS
def test_what_it_says_before_the_training_bounds_what_it_chooses(
    setup: StudySetup, kind: type[CompressionMethod]
) -> None:
    subject = problem(setup, *OVERRIDES[kind])
    method, design = made(kind, subject), middle(subject)
    verdict, smallest = method.check(design), method.smallest_costs(design)
    assert verdict.feasible
    assert set(smallest) == set(subject.budget.limits)
    method.refuse(design)
    training = subject.trainings.of(design, seed=SEED)
    evaluator = subject.evaluator(training, seed=SEED)
    chosen = method.choose(training, evaluator, seed=SEED)
    cost = subject.designs.cost_of(evaluator.graph(chosen.policy), design)
    assert all(cost.value(name) >= value for name, value in verdict.known.items())
    method.accept(cost)
    if method.known is not None:
        assert dict(zip(method.known.names, method.known.outcomes([design])[0], strict=True)) == {
            name: cost.value(name) for name in COST_NAMES
        }
    # Once more, the same: nothing random but the seed.
    assert method.choose(training, subject.evaluator(training, seed=SEED), seed=SEED).policy == chosen.policy


@KINDS
def test_a_design_that_cannot_fit_is_refused_before_the_training(
    setup: StudySetup, kind: type[CompressionMethod]
) -> None:
    subject = problem(setup, *OVERRIDES[kind], "constraints.1.upper=500")
    method, design = made(kind, subject), middle(subject)
    assert not method.check(design).feasible
    assert "ram_bytes" in method.check(design).reason
    assert method.smallest_costs(design)["ram_bytes"] > 500
    with pytest.raises((TrialFailed, BudgetError), match=r"beyond the budget|no policy fits the budget"):
        method.refuse(design)


@KINDS
def test_only_a_ranking_may_end_beyond_the_budget(setup: StudySetup, kind: type[CompressionMethod]) -> None:
    subject = problem(setup, *OVERRIDES[kind], "constraints.1.upper=500")
    cost = subject.designs.cost_of(subject.designs.network(middle(subject), seed=0).graph, middle(subject))
    if kind is RankedMethod:
        made(kind, subject).accept(cost)
        return
    with pytest.raises(TrialFailed, match=r"the compressed network costs .*, beyond the budget"):
        made(kind, subject).accept(cost)
