"""What earlier studies make one expect: taken where ranks agree, nothing where they do not."""

import math

import numpy as np
import pytest
import torch

from mobo.samplers import build_sampler
from mobo.samplers.model.earlier_means import EarlierMeans, agreement
from mobo.samplers.model.fit_settings import FitSettings
from mobo.space.earlier_study import EarlierStudy
from mobo.space.objectives import Objective
from mobo.space.search_space import FloatParameter, SearchSpace
from mobo.space.trial import Trial, TrialState

SPACE = SearchSpace([FloatParameter(name="a", low=0.0, high=1.0), FloatParameter(name="b", low=0.0, high=1.0)])
OBJECTIVES = (Objective(name="error", reference=2.0), Objective(name="size", reference=2.0))


def error(point: np.ndarray) -> float:
    return float(0.2 + (point[0] - 0.3) ** 2 + 0.5 * math.sin(4 * point[1]) ** 2)


def done(points: np.ndarray, sign: float = 1.0, scale: float = 1.0) -> tuple[Trial, ...]:
    return tuple(
        Trial(
            number=number,
            design=SPACE.decode(point),
            seed=number,
            state=TrialState.DONE,
            outcome={"error": sign * scale * error(point), "size": float(point.sum())},
        )
        for number, point in enumerate(points)
    )


def points(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 2))


def expected(study: EarlierStudy | None, shown: tuple[Trial, ...]):
    X = torch.from_numpy(np.stack([SPACE.encode(trial.design) for trial in shown]))
    y = torch.tensor([trial.outcome["error"] for trial in shown], dtype=torch.float64)
    studies = [] if study is None else [study]
    return EarlierMeans(SPACE, studies, FitSettings()).expectation("error", X, y, None), X, y


def test_agreement_is_the_rank_correlation_beyond_chance() -> None:
    assert agreement(torch.arange(9.0), torch.arange(9.0) ** 3) == pytest.approx(1.0)
    assert agreement(torch.arange(9.0), -torch.arange(9.0)) == 0.0
    assert agreement(torch.arange(9.0), torch.ones(9)) == 0.0
    assert agreement(torch.arange(3.0), torch.arange(3.0)) == 0.0
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: a coefficient of 1 - 6 * 4 / (5 * 24) = 0.8, corrected 1 - 0.36 * 4 / 3 = 0.52.
    measured = torch.tensor([2.0, 1.0, 4.0, 3.0, 5.0])
    assert agreement(torch.arange(5.0), measured) == pytest.approx(math.sqrt(0.52))


def test_what_agrees_is_expected_in_the_present_unit() -> None:
    """An earlier study with ten times the errors: its model predicts the present ones where nothing was measured."""
    found, _, y = expected(EarlierStudy("dearer", done(points(40, seed=1), scale=10.0)), done(points(12, seed=2)))
    assert found is not None
    unseen = points(30, seed=3)
    truth = torch.tensor([error(point) for point in unseen], dtype=torch.float64)
    believed = found.at(torch.from_numpy(unseen)) + y.mean()
    assert (believed - truth).abs().mean() < 0.25 * (truth - y.mean()).abs().mean()


def test_the_contrary_and_too_few_tell_nothing() -> None:
    study = EarlierStudy("contrary", done(points(40, seed=1), sign=-1.0))
    assert expected(study, done(points(12, seed=2)))[0] is None
    same = EarlierStudy("same", done(points(40, seed=1)))
    assert expected(same, done(points(3, seed=2)))[0] is None
    assert expected(EarlierStudy("short", done(points(3, seed=1))), done(points(12, seed=2)))[0] is None
    assert expected(None, done(points(12, seed=2)))[0] is None


def test_gradients_flow_through_what_is_expected() -> None:
    found, _, _ = expected(EarlierStudy("same", done(points(40, seed=1))), done(points(12, seed=2)))
    assert found is not None
    X = torch.tensor([[0.6, 0.4]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(found.at(X).sum(), X)
    step = 1e-4
    with torch.no_grad():
        ahead, behind = (found.at(X + torch.tensor([[sign * step, 0.0]])) for sign in (1, -1))
    assert float(slope[0, 0]) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-3)


def test_the_sampler_predicts_better_with_it_and_the_same_without() -> None:
    shown = done(points(8, seed=2))
    study = EarlierStudy("same", done(points(60, seed=1)))

    def suggested(*earlier: EarlierStudy):
        sampler = build_sampler("polar_ehvi", SPACE, OBJECTIVES, seed=0, earlier=earlier)
        sampler.observe(shown)
        return sampler

    unseen = torch.from_numpy(points(40, seed=5))
    truth = torch.tensor([error(point) for point in unseen.numpy()], dtype=torch.float64)

    def distance(sampler) -> float:
        with torch.no_grad():
            mean = sampler._model.beliefs(sampler.history).predict(unseen).mean[:, 0] * 2.0
        return float((mean - truth).abs().mean())

    assert distance(suggested(study)) < 0.5 * distance(suggested())
    contrary = EarlierStudy("contrary", done(points(60, seed=1), sign=-1.0))
    assert distance(suggested(contrary)) == distance(suggested())
    assert suggested(contrary).suggest(1) == suggested().suggest(1)
