"""What every sampler promises, tested for every registered one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mobo.base.errors import SamplerError
from mobo.samplers import SAMPLERS, Sampler, build_sampler, sampler_names
from mobo.space.search_space import CategoricalParameter, Design, OrdinalParameter, SearchSpace
from mobo.space.trial import Trial, TrialState
from tests.mobo.problems_for_tests import (
    CONDITIONAL_SPACE,
    CONSTRAINTS,
    MIXED_SPACE,
    OBJECTIVES,
    SMALL_SPACE,
    done,
    outcome_of,
)

# Every registered sampler with settings that keep the suite quick; a model after two done trials where there is one.
QUICK: dict[str, dict[str, object]] = {
    "ars_mobopt": {"initial_trials": 2, "iterations": 2, "directions": 4, "top_directions": 2, "horizon": 3},
    "ax": {"initial_trials": 2, "restarts": 2, "raw_samples": 16, "mc_samples": 16},
    "latin_hypercube": {"hypercube_trials": 4},
    "morbo": {"initial_trials": 2, "candidates": 64, "fit_iterations": 3},
    "nsga2": {"population_trials": 2},
    "polar_ehvi": {"initial_trials": 2, "search": {"pool": 64, "moves": 8, "polish_iterations": 5}},
    "qlognehvi": {"initial_trials": 2, "search": {"pool": 32, "starts": 1, "moves": 4, "polish_iterations": 5}},
    "qparego": {"initial_trials": 2, "search": {"pool": 32, "starts": 1, "moves": 4, "polish_iterations": 5}},
    "random": {},
    "sobol": {},
    "turbo": {"initial_trials": 2, "candidates_per_parameter": 20, "fit_iterations": 3},
}
EVERY = pytest.mark.parametrize("name", sorted(QUICK))
SEED = 3


def build(name: str, space: SearchSpace = SMALL_SPACE, *, seed: int = SEED) -> Sampler:
    return build_sampler(name, space, OBJECTIVES, CONSTRAINTS, seed=seed, settings=QUICK[name])


def designs(count: int, space: SearchSpace = SMALL_SPACE) -> list[Design]:
    generator = np.random.default_rng(0)
    return [space.decode(generator.random(len(space))) for _ in range(count)]


def history(count: int, space: SearchSpace = SMALL_SPACE) -> list[Trial]:
    return [done(number, design) for number, design in enumerate(designs(count, space))]


def suggested(name: str, trials: Sequence[Trial], space: SearchSpace = SMALL_SPACE, *, count: int = 1) -> list[Design]:
    sampler = build(name, space)
    sampler.observe(trials)
    return sampler.suggest(count)


def test_every_registered_sampler_is_tested() -> None:
    assert sorted(QUICK) == sorted(SAMPLERS) == list(sampler_names())


@EVERY
def test_every_sampler_describes_itself_in_one_line(name: str) -> None:
    assert SAMPLERS[name].description
    assert "\n" not in SAMPLERS[name].description


@EVERY
def test_every_sampler_has_a_page(name: str) -> None:
    import mobo.samplers

    page = (mobo.samplers.__file__ or "").replace("__init__.py", "README.md")
    with open(page, encoding="utf-8") as file:  # noqa: PTH123
        assert f"## `{name}`" in file.read()


@EVERY
def test_suggestions_are_repeatable_whatever_was_seen_first_and_change_nothing(name: str) -> None:
    trials = history(5)
    before = [replace(trial) for trial in trials]
    sampler = build(name)
    sampler.observe(trials[:2])
    sampler.observe(list(reversed(trials)))
    first = sampler.suggest(1)
    # The same trials in order, at once, in a fresh sampler; and again from the same one.
    assert suggested(name, trials) == first
    assert sampler.suggest(1) == first
    assert trials == before
    SMALL_SPACE.check(first[0])
    assert first[0] not in {trial.design for trial in trials}


@EVERY
def test_the_global_generators_are_left_alone(name: str) -> None:
    import torch

    np.random.seed(1)  # noqa: NPY002 - whether a library draws from it is the question
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    suggested(name, history(4))
    assert torch.get_num_threads() == threads
    after = (np.random.random(), torch.rand(1).item())  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert after == (np.random.random(), torch.rand(1).item())  # noqa: NPY002


@EVERY
def test_another_seed_gives_another_start(name: str) -> None:
    assert build(name, seed=1).suggest(1) != build(name, seed=2).suggest(1)


@EVERY
def test_the_first_designs_lie_inside_and_differ(name: str) -> None:
    first = build(name, MIXED_SPACE).suggest(16)
    for design in first:
        MIXED_SPACE.check(design)
    assert len(set(first)) == 16


def with_state(trials: Sequence[Trial], state: TrialState, **outcome: float) -> list[Trial]:
    return [replace(trial, state=state, outcome=outcome) for trial in trials]


@dataclass(frozen=True)
class Case:
    """A history that a careless model chokes on."""

    name: str
    trials: list[Trial]


FIVE = history(5)
CASES = [
    Case("nothing", []),
    Case("one trial", FIVE[:1]),
    Case("all failed", with_state(FIVE, TrialState.FAILED)),
    Case("all infeasible", with_state(FIVE, TrialState.INFEASIBLE, ram_bytes=9e9)),
    Case("one done among failed and infeasible", with_state(FIVE[:4], TrialState.INFEASIBLE) + FIVE[4:]),
    Case(
        "two done, one failed, two infeasible",
        FIVE[:2]
        + with_state(FIVE[2:3], TrialState.FAILED)
        + with_state(FIVE[3:], TrialState.INFEASIBLE, ram_bytes=9e9),
    ),
    Case("one design five times", [replace(FIVE[0], number=number) for number in range(5)]),
    Case("constant objectives", [done(t.number, t.design, error=0.5, flash_bytes=7, ram_bytes=1) for t in FIVE]),
    Case("nothing feasible", [done(t.number, t.design, error=2.0, flash_bytes=9e9, ram_bytes=9e9) for t in FIVE]),
]


@EVERY
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_difficult_history_still_gives_designs(name: str, case: Case) -> None:
    for design in suggested(name, case.trials):
        SMALL_SPACE.check(design)


@EVERY
def test_several_designs_at_once_differ(name: str) -> None:
    batch = suggested(name, history(4), count=3)
    assert len(set(batch)) == 3


@EVERY
def test_a_small_space_is_used_up_before_anything_is_repeated(name: str) -> None:
    space = SearchSpace(
        [OrdinalParameter(name="width", values=(4, 8)), CategoricalParameter(name="k", values=("a", "b"))]
    )
    trials: list[Trial] = []
    sampler = build(name, space)
    for number in range(5):
        (design,) = sampler.suggest(1)
        values = float(space.encode(design).sum())
        trials.append(done(number, design, error=values / 2, flash_bytes=1e4 * (1 - values / 2), ram_bytes=1.0))
        sampler.observe(trials[-1:])
    assert len({trial.design for trial in trials[:4]}) == 4
    space.check(trials[4].design)


@EVERY
def test_designs_of_a_conditional_space_have_exactly_their_active_parameters(name: str) -> None:
    first = build(name, CONDITIONAL_SPACE).suggest(16)
    trials = history(5, CONDITIONAL_SPACE)
    later = suggested(name, trials, CONDITIONAL_SPACE)
    for design in first + later:
        CONDITIONAL_SPACE.check(design)
    assert len({frozenset(design) for design in first}) > 1
    assert len(set(first)) == 16
    assert len(set(later) | {trial.design for trial in trials}) == 6


@EVERY
def test_what_is_inactive_makes_no_new_design(name: str) -> None:
    space = SearchSpace(
        [
            CategoricalParameter(name="family", values=("a", "b", "c")),
            OrdinalParameter(name="kernel", values=(3, 5), when={"family": ("c",)}),
        ]
    )
    trials: list[Trial] = []
    sampler = build(name, space)
    for number in range(4):
        (design,) = sampler.suggest(1)
        value = float(space.encode(design).sum()) / 2
        trials.append(done(number, design, error=value, flash_bytes=1e4 * (1 - value), ram_bytes=1.0))
        sampler.observe(trials[-1:])
    every = [{"family": "a"}, {"family": "b"}, {"family": "c", "kernel": 3}, {"family": "c", "kernel": 5}]
    assert {trial.design for trial in trials} == {Design(values) for values in every}


def pending(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, state=TrialState.PROPOSED, outcome={}) for trial in trials]


@EVERY
def test_pending_trials_are_not_proposed_again(name: str) -> None:
    sampler = build(name)
    sampler.observe(FIVE)
    first = sampler.suggest(1)
    sampler.observe(pending([Trial(number=5, design=first[0], seed=0)]))
    assert sampler.suggest(1) != first


@EVERY
def test_a_finished_trial_replaces_the_pending_one_and_not_the_other_way_round(name: str) -> None:
    sampler = build(name)
    sampler.observe(pending(FIVE))
    sampler.observe(FIVE)
    sampler.observe(pending(FIVE))
    assert sampler.suggest(1) == suggested(name, FIVE)


@EVERY
@pytest.mark.parametrize("error", [float("nan"), float("inf"), None])
def test_an_outcome_that_is_no_finite_number_is_refused_and_nothing_is_taken_in(name: str, error: float | None) -> None:
    sampler = build(name)
    bad = replace(FIVE[1], outcome={**FIVE[1].outcome, "error": error})
    with pytest.raises(
        SamplerError, match=r"trial 1 is done but its outcome 'error' is .*; samplers take finite numbers"
    ):
        sampler.observe([FIVE[0], bad])
    assert sampler.suggest(1) == build(name).suggest(1)


@dataclass(frozen=True)
class KnownCosts:
    """The small problem's costs, known without an evaluation."""

    names: tuple[str, ...] = ("flash_bytes", "ram_bytes")

    def outcomes(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        rows = [[outcome_of(design)[name] for name in self.names] for design in designs]
        return np.array(rows, dtype=np.float64).reshape(len(designs), len(self.names))


USING_KNOWN = [name for name in sorted(QUICK) if "known_outcomes" in SAMPLERS[name].Settings.model_fields]


@pytest.mark.parametrize("name", USING_KNOWN)
def test_with_known_outcomes_no_design_is_proposed_that_is_known_to_be_infeasible(name: str) -> None:
    settings = {**QUICK[name], "known_outcomes": True}
    sampler = build_sampler(
        name, SMALL_SPACE, OBJECTIVES, CONSTRAINTS, seed=SEED, settings=settings, known=KnownCosts()
    )
    for number in range(8):
        (design,) = sampler.suggest(1)
        assert float(outcome_of(design)["ram_bytes"] or 0.0) <= CONSTRAINTS[0].upper
        sampler.observe([done(number, design)])


def test_known_outcomes_are_used_by_the_samplers_that_say_so() -> None:
    assert USING_KNOWN == ["ars_mobopt", "polar_ehvi", "qlognehvi"]


@EVERY
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(SamplerError, match=f"unknown setting of sampler '{name}' 'no_such'"):
        build_sampler(name, SMALL_SPACE, OBJECTIVES, seed=0, settings={"no_such": 1})


def test_an_unknown_sampler_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(SamplerError, match=r"unknown sampler 'sobbol'; did you mean 'sobol'\?"):
        build_sampler("sobbol", SMALL_SPACE, OBJECTIVES, seed=0)
