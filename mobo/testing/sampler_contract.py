"""What every sampler promises (see :class:`mobo.samplers.Sampler`), as tests that pytest runs on a class of yours."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from mobo.base.errors import SamplerError
from mobo.base.named_settings import checked_settings
from mobo.samplers.base import Sampler, SamplerClass
from mobo.space.columns import standard_error_of
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.search_space import CategoricalParameter, Design, OrdinalParameter, SearchSpace, Value
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import (
    CONDITIONAL_SPACE,
    CONSTRAINTS,
    MIXED_SPACE,
    OBJECTIVES,
    SMALL_SPACE,
    KnownCosts,
    done,
    outcome_of,
    random_designs,
)

_SEED = 3


@dataclass(frozen=True)
class SamplerUnderTest:
    """A sampler's class and the settings it is tested with.

    Attributes:
        sampler_class: The class.
        settings: Its settings as plain values; best such that a model comes in after two done trials.
    """

    sampler_class: SamplerClass
    settings: Mapping[str, object] = field(default_factory=dict)

    def build(
        self,
        space: SearchSpace = SMALL_SPACE,
        *,
        seed: int = _SEED,
        known: KnownOutcomes | None = None,
        **settings: object,
    ) -> Sampler:
        """Return a fresh sampler of the small problem's objectives and constraint."""
        given = {**self.settings, **settings}
        checked = checked_settings("the sampler", self.sampler_class.Settings, given, error=SamplerError)
        return self.sampler_class(space, OBJECTIVES, CONSTRAINTS, seed=seed, settings=checked, known=known)

    def suggested(self, trials: Sequence[Trial], space: SearchSpace = SMALL_SPACE, *, count: int = 1) -> list[Design]:
        """Return what a fresh sampler suggests after trials: so many designs of the space."""
        sampler = self.build(space)
        sampler.observe(trials)
        return suggested(sampler, space, count=count)


def suggested(sampler: Sampler, space: SearchSpace = SMALL_SPACE, *, count: int = 1) -> list[Design]:
    """Return a sampler's next designs; fails unless they are so many and belong to the space."""
    designs = sampler.suggest(count)
    assert len(designs) == count, f"suggest({count}) returned {len(designs)} designs"
    for design in designs:
        space.check(design)
    return designs


@dataclass(frozen=True)
class _Case:
    """A history that a careless model chokes on."""

    name: str
    trials: list[Trial]


def _history(count: int, space: SearchSpace = SMALL_SPACE) -> list[Trial]:
    return [done(number, design) for number, design in enumerate(random_designs(count, space))]


def _with_state(trials: Sequence[Trial], state: TrialState, **outcome: float) -> list[Trial]:
    return [replace(trial, state=state, outcome=outcome) for trial in trials]


def _pending(trials: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, state=TrialState.PROPOSED, outcome={}) for trial in trials]


_FIVE = _history(5)
_CASES = [
    _Case("nothing", []),
    _Case("one trial", _FIVE[:1]),
    _Case("all failed", _with_state(_FIVE, TrialState.FAILED)),
    _Case("all infeasible", _with_state(_FIVE, TrialState.INFEASIBLE, ram_bytes=9e9)),
    _Case("one done among failed and infeasible", _with_state(_FIVE[:4], TrialState.INFEASIBLE) + _FIVE[4:]),
    _Case(
        "two done, one failed, two infeasible",
        _FIVE[:2]
        + _with_state(_FIVE[2:3], TrialState.FAILED)
        + _with_state(_FIVE[3:], TrialState.INFEASIBLE, ram_bytes=9e9),
    ),
    _Case("one design five times", [replace(_FIVE[0], number=number) for number in range(5)]),
    _Case("constant objectives", [done(t.number, t.design, error=0.5, flash_bytes=7, ram_bytes=1) for t in _FIVE]),
    _Case(
        "five done, each with standard errors",
        [replace(trial, outcome={**trial.outcome, standard_error_of("error"): 0.02}) for trial in _FIVE],
    ),
    _Case("nothing feasible", [done(t.number, t.design, error=2.0, flash_bytes=9e9, ram_bytes=9e9) for t in _FIVE]),
]


class SamplerContract:
    """The promises of a sampler, each a test; derive a ``Test…`` class and state which sampler is meant.

    Attributes:
        sampler_class: Your class.
        settings: Settings to test it with, as plain values; best such that it learns after two done trials.
    """

    sampler_class: ClassVar[SamplerClass | None] = None
    settings: ClassVar[Mapping[str, object]] = {}

    @pytest.fixture
    def tested(self) -> SamplerUnderTest:
        """The sampler under test; override it, with parameters, to test several."""
        # Read from the class: a class held by an object would be taken for a method of it, were it a function.
        found = type(self).sampler_class
        if found is None:
            pytest.fail(f"{type(self).__name__} tests nothing: state sampler_class", pytrace=False)
        return SamplerUnderTest(found, type(self).settings)

    def test_every_setting_has_a_default(self, tested: SamplerUnderTest) -> None:
        """A config may leave out every setting."""
        tested.sampler_class.Settings()

    def test_suggestions_are_repeatable_whatever_was_seen_first_and_change_nothing(
        self, tested: SamplerUnderTest
    ) -> None:
        """A suggestion depends on nothing but settings, seed and the set of trials; a resumed search relies on it."""
        trials = _history(5)
        before = deepcopy(trials)
        sampler = tested.build()
        sampler.observe(trials[:2])
        shown = list(reversed(trials))
        sampler.observe(shown)
        assert shown == list(reversed(before)), "the sampler changed the list it was shown"
        first = suggested(sampler)
        # The same trials in order, at once, in a fresh sampler; and again from the same one.
        assert tested.suggested(trials) == first
        assert suggested(sampler) == first
        assert trials == before, "the sampler changed the trials it was shown"
        assert first[0] not in {trial.design for trial in trials}

    def test_the_global_generators_are_left_alone(self, tested: SamplerUnderTest) -> None:
        """Training draws from its own generators; a sampler that moves the global ones changes other results."""
        import torch

        np.random.seed(1)  # noqa: NPY002 - whether a library draws from it is the question
        torch.manual_seed(1)
        threads = torch.get_num_threads()
        tested.suggested(_history(4))
        assert torch.get_num_threads() == threads
        after = (np.random.random(), torch.rand(1).item())  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)
        assert after == (np.random.random(), torch.rand(1).item())  # noqa: NPY002

    def test_another_seed_gives_another_start(self, tested: SamplerUnderTest) -> None:
        """Studies with different seeds are different studies."""
        assert suggested(tested.build(seed=1)) != suggested(tested.build(seed=2))

    def test_the_first_designs_lie_inside_and_differ(self, tested: SamplerUnderTest) -> None:
        """Every type of parameter keeps its range."""
        assert len(set(tested.suggested([], MIXED_SPACE, count=16))) == 16

    @pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
    def test_a_difficult_history_still_gives_designs(self, tested: SamplerUnderTest, case: _Case) -> None:
        """Whatever happened to the trials, the search goes on."""
        assert tested.suggested(case.trials)

    def test_several_designs_at_once_differ(self, tested: SamplerUnderTest) -> None:
        """A batch is not one design several times."""
        assert len(set(tested.suggested(_history(4), count=3))) == 3

    def test_a_small_space_is_used_up_before_anything_is_repeated(self, tested: SamplerUnderTest) -> None:
        """And then designs come again rather than not at all."""
        space = SearchSpace(
            [OrdinalParameter(name="width", values=(4, 8)), CategoricalParameter(name="k", values=("a", "b"))]
        )
        trials: list[Trial] = []
        sampler = tested.build(space)
        for number in range(5):
            (design,) = suggested(sampler, space)
            values = float(space.encode(design).sum())
            trials.append(done(number, design, error=values / 2, flash_bytes=1e4 * (1 - values / 2), ram_bytes=1.0))
            sampler.observe(trials[-1:])
        assert len({trial.design for trial in trials[:4]}) == 4

    def test_designs_of_a_conditional_space_have_exactly_their_active_parameters(
        self, tested: SamplerUnderTest
    ) -> None:
        """A parameter whose condition does not hold is no part of the design."""
        first = tested.suggested([], CONDITIONAL_SPACE, count=16)
        trials = _history(5, CONDITIONAL_SPACE)
        later = tested.suggested(trials, CONDITIONAL_SPACE)
        assert len({frozenset(design) for design in first}) > 1
        assert len(set(first)) == 16
        assert len(set(later) | {trial.design for trial in trials}) == 6

    def test_what_is_inactive_makes_no_new_design(self, tested: SamplerUnderTest) -> None:
        """Two points that differ in an inactive parameter alone are one design."""
        space = SearchSpace(
            [
                CategoricalParameter(name="family", values=("a", "b", "c")),
                OrdinalParameter(name="kernel", values=(3, 5), when={"family": ("c",)}),
            ]
        )
        trials: list[Trial] = []
        sampler = tested.build(space)
        for number in range(4):
            (design,) = suggested(sampler, space)
            value = float(space.encode(design).sum()) / 2
            trials.append(done(number, design, error=value, flash_bytes=1e4 * (1 - value), ram_bytes=1.0))
            sampler.observe(trials[-1:])
        every: list[dict[str, Value]] = [
            {"family": "a"},
            {"family": "b"},
            {"family": "c", "kernel": 3},
            {"family": "c", "kernel": 5},
        ]
        assert {trial.design for trial in trials} == {Design(values) for values in every}

    def test_pending_trials_are_not_proposed_again(self, tested: SamplerUnderTest) -> None:
        """With several jobs a design that is being tried counts as taken."""
        sampler = tested.build()
        sampler.observe(_FIVE)
        first = suggested(sampler)
        sampler.observe(_pending([Trial(number=5, design=first[0], seed=0)]))
        assert suggested(sampler) != first

    def test_a_finished_trial_replaces_the_pending_one_and_not_the_other_way_round(
        self, tested: SamplerUnderTest
    ) -> None:
        """A trial that is finished stays finished."""
        sampler = tested.build()
        sampler.observe(_pending(_FIVE))
        sampler.observe(_FIVE)
        sampler.observe(_pending(_FIVE))
        assert suggested(sampler) == tested.suggested(_FIVE)

    @pytest.mark.parametrize("error", [float("nan"), float("inf"), None])
    def test_an_outcome_that_is_no_finite_number_is_refused_and_nothing_is_taken_in(
        self, tested: SamplerUnderTest, error: float | None
    ) -> None:
        """Such a trial must be recorded as failed."""
        sampler = tested.build()
        bad = replace(_FIVE[1], outcome={**_FIVE[1].outcome, "error": error})
        with pytest.raises(SamplerError, match=r"trial 1 .*'error'"):
            sampler.observe([_FIVE[0], bad])
        assert suggested(sampler) == suggested(tested.build())

    def test_with_known_outcomes_no_design_is_proposed_that_is_known_to_be_infeasible(
        self, tested: SamplerUnderTest
    ) -> None:
        """For a sampler with the setting ``known_outcomes``: outcomes that need no evaluation are obeyed."""
        if "known_outcomes" not in tested.sampler_class.Settings.model_fields:
            pytest.skip("this sampler has no setting known_outcomes")
        sampler = tested.build(known=KnownCosts(), known_outcomes=True)
        for number in range(8):
            (design,) = suggested(sampler)
            assert float(outcome_of(design)["ram_bytes"] or 0.0) <= CONSTRAINTS[0].upper
            sampler.observe([done(number, design)])
