"""Buying by the second: what a training and its children are worth together, and which one is bought."""

from collections.abc import Hashable, Sequence
from dataclasses import replace
from math import log2

import moocore
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.samplers import build_sampler
from mobo.samplers.base import BaseSampler
from mobo.samplers.history import History
from mobo.samplers.model.acquisition import (
    covered,
    directions,
    hypervolume_gain,
    log_hypervolume_improvement,
    reaches_together,
)
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.maximise import Maximiser
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.samplers.model.shared_trainings import SharedTrainings
from mobo.space.search_space import Design, FloatParameter, OrdinalParameter, SearchSpace
from mobo.space.trial import FinetuningReference, Trial, TrialState
from mobo.space.work import Work
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE, outcome_of

SPACE = SearchSpace(
    [
        OrdinalParameter(name="width", values=(4, 8, 16)),
        FloatParameter(name="rate", low=1e-4, high=1e-1, log=True),
        FloatParameter(name="x", low=0.0, high=1.0),
    ]
)


class Prices:
    """Fixed prices; ``x`` is the compression."""

    training_names = frozenset({"width", "rate"})

    def __init__(self, training_s: float, child_s: float = 1.0) -> None:
        self._training_s, self._child_s = training_s, child_s

    def child_key(self, design: Design) -> Hashable:
        return design["x"]

    def sibling(self, design: Design, finetuned: Sequence[Design]) -> int | None:
        larger = [(other["x"], place) for place, other in enumerate(finetuned) if other["x"] >= design["x"]]
        return min(larger)[1] if larger else None

    def training_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.full(len(designs), self._training_s)

    def child_s(self, designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.full(len(designs), self._child_s)


def done(number: int, design: Design) -> Trial:
    return Trial(number=number, design=design, seed=number, state=TrialState.DONE, outcome=outcome_of(design))


def some_trials(count: int, seed: int = 0) -> list[Trial]:
    draw = np.random.default_rng(seed)
    return [done(number, SPACE.decode(draw.random(3))) for number in range(count)]


def test_without_doubt_the_gain_is_the_hypervolume_that_is_added() -> None:
    generator = torch.Generator().manual_seed(0)
    front, new = (torch.rand(count, 3, generator=generator, dtype=torch.float64) for count in (6, 4))
    rays = directions(3, 2**14, seed=0)
    reached = reaches_together(new, torch.zeros_like(new), rays, cases=2)
    gain = hypervolume_gain(reached.amax(dim=0), covered(front, rays), 3)

    def volume(Y: Tensor) -> float:
        return float(moocore.hypervolume(Y.numpy(), ref=np.ones(3)))

    sphere = np.pi / 6  # the eighth of the unit ball
    added = volume(torch.cat([front, new])) - volume(front)
    assert float(gain) / 2**14 * sphere == pytest.approx(added, rel=0.02)


def test_one_uncertain_objective_is_integrated_exactly_but_for_the_number_of_cases() -> None:
    mean = torch.tensor([[0.5, 0.4]], dtype=torch.float64)
    deviation = torch.tensor([[0.2, 0.0]], dtype=torch.float64)
    rays = directions(2, 256, seed=0)
    reached = covered(torch.tensor([[0.45, 0.6], [0.8, 0.2]], dtype=torch.float64), rays)
    exact = log_hypervolume_improvement(mean, deviation, rays=rays, covered_reach=reached, nodes=32).exp()
    by_cases = hypervolume_gain(reaches_together(mean, deviation, rays, cases=400), reached, 2)
    assert float(by_cases[0]) == pytest.approx(float(exact[0]), rel=0.01)


def test_children_share_their_luck() -> None:
    # Two equal children of one training bring no more than one; independent ones would.
    mean, deviation = torch.full((2, 2), 0.5, dtype=torch.float64), torch.full((2, 2), 0.1, dtype=torch.float64)
    rays = directions(2, 64, seed=0)
    reached = reaches_together(mean, deviation, rays, cases=16)
    both = torch.maximum(reached[0], reached[1])
    nothing = torch.zeros(64, dtype=torch.float64)
    assert float(hypervolume_gain(both, nothing, 2)) == float(hypervolume_gain(reached[0], nothing, 2))


def test_a_child_has_every_digit_of_what_its_training_depends_on() -> None:
    trials = some_trials(6)
    shared = SharedTrainings(SPACE, Prices(10.0), trials)
    points = shared.with_compressions(shared.points, torch.rand(5, 3, dtype=torch.float64))
    assert (shared.serving(points) >= 0).all()
    designs = [shared.designed(point) for point in points]
    parts = [(design["width"], design["rate"]) for design in designs]
    assert set(parts) == {(trial.design["width"], trial.design["rate"]) for trial in trials}
    assert len(set(designs)) == 30


def test_a_training_is_paid_once() -> None:
    trials = some_trials(3)
    shared = SharedTrainings(SPACE, Prices(10.0), trials)
    new = torch.tensor([[0.9, 0.123, 0.5]], dtype=torch.float64)
    seconds = shared.seconds(torch.cat([shared.points, new]))
    assert seconds.tolist() == [1.0, 1.0, 1.0, 11.0]


def test_what_a_trial_takes_in_the_mean_has_its_share_of_the_trainings() -> None:
    trials = some_trials(3)
    child = done(3, Design({**trials[0].design, "x": 0.75}))
    assert SharedTrainings(SPACE, Prices(10.0), [*trials, child]).mean_seconds == (4 * 1.0 + 3 * 10.0) / 4
    assert SharedTrainings(SPACE, Prices(10.0), []).mean_seconds == np.inf


@pytest.mark.parametrize(("training_s", "points"), [(1000.0, 1024), (7.0, 512), (0.01, 128)])
def test_where_trials_are_short_a_suggestion_looks_at_fewer_points(
    training_s: float, points: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools = []

    def looked(self: Maximiser, centres: Tensor) -> Tensor:
        pools.append(self._settings.pool)
        return pool(self, centres)

    pool = Maximiser.pool
    monkeypatch.setattr(Maximiser, "pool", looked)
    sampler = build_sampler("polar_ehvi", SPACE, OBJECTIVES, seed=0, work=Prices(training_s))
    sampler.observe(some_trials(12))
    sampler.suggest(1)
    assert pools == [points]


def chain(*xs: float, width: int = 8, rate: float = 0.01, first: int = 0) -> list[Trial]:
    """Compressions of one training, each going on from the one before."""
    trials: list[Trial] = []
    for number, x in enumerate(xs, start=first):
        sibling = FinetuningReference(trial=trials[-1].number, digest="weights") if trials else None
        trial = done(number, Design({"width": width, "rate": rate, "x": x}))
        trials.append(replace(trial, sibling=sibling, finetuned="weights"))
    return trials


def test_a_head_start_counts_all_the_fine_tuning_that_went_before_in_doublings() -> None:
    trials = chain(0.9, 0.6, 0.5)
    shared = SharedTrainings(SPACE, Prices(10.0), trials)
    # Every child takes a second: none, one and two went before.
    expected = [log2(1 + before) / 4 for before in (0, 1, 2)]
    assert shared.head_starts_of(trials).tolist() == pytest.approx(expected)


def test_a_point_has_the_head_start_of_the_sibling_it_would_get() -> None:
    shared = SharedTrainings(SPACE, Prices(10.0), [*chain(0.9, 0.6), *chain(0.5, width=16, first=2)])
    same = {"width": 8, "rate": 0.01}
    designs = [Design({**same, "x": x}) for x in (0.95, 0.7, 0.6, 0.1)] + [Design({**same, "width": 4, "x": 0.1})]
    points = torch.from_numpy(np.array([SPACE.encode(design) for design in designs]))
    # Larger than every sibling: from the trained network. Another training has none.
    assert shared.head_starts(points).tolist() == pytest.approx([0, log2(2) / 4, log2(3) / 4, log2(3) / 4, 0])


def test_the_models_tell_a_head_start_from_the_same_design_without() -> None:
    # Of two compressions that are alike in all, the one that went on from a sibling is far better.
    trials = [
        replace(trial, outcome={**trial.outcome, "error": 0.1 if trial.sibling else 0.9})
        for place, rate in enumerate(np.geomspace(1e-3, 1e-1, 8))
        for trial in chain(0.5, 0.5 - 0.01 * place, rate=float(rate), first=2 * place)
    ]
    model = OutcomeModel(SPACE, OBJECTIVES, (), known=None, settings=FitSettings())
    history = History(OBJECTIVES)
    history.observe(trials)
    shared = SharedTrainings(SPACE, Prices(10.0), trials)
    beliefs = model.beliefs(history, shared)
    child, new = Design({**trials[0].design, "x": 0.45}), Design({"width": 8, "rate": 0.0015, "x": 0.45})
    points = torch.from_numpy(np.array([SPACE.encode(design) for design in (child, new)]))
    column = [item.name for item in OBJECTIVES].index("error")
    predicted = beliefs.predict(points).mean[:, column]
    assert float(predicted[0]) < float(predicted[1]) - 0.3
    alone = SharedTrainings(SPACE, Prices(10.0), [replace(trial, sibling=None) for trial in trials])
    assert (shared.has_head_starts, alone.has_head_starts) == (True, False)
    blind = model.beliefs(history, alone).predict(points).mean[:, column]
    assert abs(float(blind[0] - blind[1])) < 0.1, "without it they look alike"


class Tenths(Prices):
    """Tenths of ``x`` decide; others leave the same network."""

    def child_key(self, design: Design) -> Hashable:
        return round(float(design["x"]), 1)


def test_the_same_network_of_the_same_training_is_no_news() -> None:
    first = Design({"width": 8, "rate": 0.01, "x": 0.5})
    shared = SharedTrainings(SPACE, Tenths(10.0), [done(0, first)])
    same, other = Design({**first, "x": 0.52}), Design({**first, "x": 0.7})
    elsewhere = Design({**same, "rate": 0.02})
    points = torch.from_numpy(np.array([SPACE.encode(design) for design in (same, other, elsewhere)]))
    assert shared.is_news(points).tolist() == [False, True, True]


def suggestions(work: Work | None, count: int = 10, **settings: object) -> list[Design]:
    chosen = {"initial_trials": 6, "search": {"pool": 64, "moves": 8, "polish_iterations": 5}, **settings}
    sampler = build_sampler("polar_ehvi", SPACE, OBJECTIVES, seed=0, settings=chosen, work=work)
    for number in range(count):
        (design,) = sampler.suggest(1)
        sampler.observe([done(number, design)])
    return [trial.design for trial in sampler.history.trials] if isinstance(sampler, BaseSampler) else []


def trained(designs: Sequence[Design]) -> int:
    return len({(design["width"], design["rate"]) for design in designs})


def test_of_no_points_none_is_news() -> None:
    trainings = SharedTrainings(SPACE, Prices(1.0), some_trials(3))
    news = trainings.is_news(torch.zeros(0, 3, dtype=torch.float64))
    assert news.dtype == torch.bool
    assert news.shape == (0,)


def test_dear_trainings_get_children_and_free_ones_none() -> None:
    assert trained(suggestions(Prices(1000.0))[6:]) <= 2
    free = suggestions(Prices(0.0), first_children=0)
    # Where a training costs nothing there is no reason to stay with an old one.
    assert trained(free) > trained(suggestions(Prices(1000.0), first_children=0))


def test_the_start_has_as_many_children_as_it_is_told() -> None:
    assert trained(suggestions(Prices(10.0), 6, first_children=2)) == 2
    assert trained(suggestions(Prices(10.0), 6, first_children=0)) == 6


def test_without_prices_it_is_what_it_was() -> None:
    assert suggestions(None) == suggestions(Prices(10.0), per_second=False)


def test_a_space_of_recipes_alone_is_searched_as_well() -> None:
    class NothingToCompress(Prices):
        training_names = frozenset(SMALL_SPACE.names)

    designs = suggestions(NothingToCompress(10.0))
    assert len(set(designs)) == len(designs)
