"""What to buy next: the new training, or the further compression of a trained network, that promises most per second.

A child is worth the improvement that is expected of it. A new training is worth what its best children are expected to
bring *together*, for the price of the training and of all of them: as many as make the bargain best. Its first child is
proposed; whether the others follow is decided when that is measured.

Improvement per cost of the evaluation is the rule of [Snoek2012] (there for one objective and no sharing).

[Snoek2012] J. Snoek, H. Larochelle, R. P. Adams: Practical Bayesian Optimization of Machine Learning Algorithms.
NeurIPS 2012.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mobo.samplers.history import History
from mobo.samplers.model.acquisition import hypervolume_gain, reaches_together
from mobo.samplers.model.maximise import Maximiser, Score
from mobo.samplers.model.outcome_model import Beliefs
from mobo.samplers.model.search_settings import SearchSettings
from mobo.samplers.model.shared_trainings import SharedTrainings
from mobo.samplers.sobol import sobol_points

# Compressions that every network is asked for; enough for a mesh of a few axes.
_COMPRESSIONS = 16
_CASES = 24
_MOST_CHILDREN = 8
# Counted seconds of a suggestion that looks at as many points as its settings say: 0.25 s on the machine on which a
# trial of the demo, 3.2 counted ones, takes 0.5 s.
_SUGGESTION_S = 1.6


@dataclass(frozen=True)
class Bargain:
    """Something that could be bought.

    Attributes:
        point: What to propose, ``d``.
        gain: The hypervolume that is expected of it, up to a constant.
        price_s: Counted seconds that this takes.
    """

    point: Tensor
    gain: float
    price_s: float

    @property
    def rate(self) -> float:
        """What a second brings."""
        return self.gain / self.price_s


class PerSecond:
    """Chooses by improvement per counted second.

    Args:
        beliefs: What the models say.
        history: The trials they come from.
        trainings: What was trained.
        settings: How hard to look.
        rays: Directions along which the hypervolume is measured, ``r x m``.
        covered_reach: What is reached already, ``r``.
        share: Of the time of a trial, what a suggestion may take: fewer points are looked at where trials are short.
        seed: Decides where to look.
    """

    def __init__(
        self,
        beliefs: Beliefs,
        history: History,
        trainings: SharedTrainings,
        settings: SearchSettings,
        *,
        rays: Tensor,
        covered_reach: Tensor,
        share: float,
        seed: int,
    ) -> None:
        self._beliefs, self._trainings = beliefs, trainings
        # There are two searches in the place of one.
        halved = settings.model_copy(update={"rounds": max(1, settings.rounds // 2)})
        self._settings = halved.scaled(min(1.0, share * trainings.mean_seconds / _SUGGESTION_S))
        self._tried, self._rays, self._covered = history.designs, rays, covered_reach
        self._generator = np.random.default_rng(seed)
        # The same for every suggestion, so that their costs are computed once.
        mesh = sobol_points(len(beliefs.space), seed=0, start=0, count=_COMPRESSIONS)
        self._compressions = torch.from_numpy(beliefs.space.canonical(mesh))

    def best(self, score: Score, screen: Score) -> Tensor | None:
        """Return the point of the best bargain, ``d``; None where nothing is left to be tried.

        Args:
            score: Log expected improvement of points, ``k x d -> k``.
            screen: A quicker estimate of it.
        """
        points = [found[0] for found in (self._children(score, screen),) if len(found)]
        bargains = [self._alone(point) for point in points]
        new = self._new(score, screen)
        bargains += [self._with_children(point) for point in new]
        if not bargains:
            return None
        best = max(bargains, key=lambda bargain: bargain.rate)
        if best.gain > 0.0:
            return best.point
        # Nothing is expected of anything: the least hopeless by the tails of the predictions.
        candidates = torch.stack([*points, *new])
        return candidates[self._per_second(score)(candidates).argmax()]

    def _new(self, score: Score, screen: Score) -> Tensor:
        """Return the best points of all, by what each brings alone, ``few x d``."""
        maximiser = self._maximiser(movable=None)
        pool = maximiser.pool(self._beliefs.front_points())
        return self._ranked(maximiser, pool, score, screen)

    def _children(self, score: Score, screen: Score) -> Tensor:
        """Return the best further compressions of what was trained, ``few x d``."""
        if not len(self._trainings) or not self._trainings.compression_axes.any():
            return torch.zeros(0, len(self._beliefs.space), dtype=torch.float64)
        maximiser = self._maximiser(movable=self._trainings.compression_axes)
        pool = self._trainings.with_compressions(self._trainings.points, self._compressions)
        return self._ranked(maximiser, maximiser.fresh(pool.numpy()), score, screen)

    def _ranked(self, maximiser: Maximiser, pool: Tensor, score: Score, screen: Score) -> Tensor:
        return maximiser.ranked(
            pool,
            self._per_second(score),
            screen=self._per_second(screen),
            differentiable=False,
        )

    def _maximiser(self, movable: np.ndarray | None) -> Maximiser:
        def allowed(X: Tensor) -> Tensor:
            news = self._beliefs.known_feasible(X)
            # Most points of a tight study are not feasible, and need not be told apart.
            news[news.clone()] = self._trainings.is_news(X[news])
            return news

        return Maximiser(
            self._beliefs.space,
            self._settings,
            generator=self._generator,
            tried=self._tried,
            allowed=allowed,
            movable=movable,
        )

    def _per_second(self, score: Score) -> Score:
        return lambda X: score(X) - self._trainings.seconds(X).log()

    def _alone(self, point: Tensor) -> Bargain:
        reached, odds = self._reaches(point[None])
        gain = hypervolume_gain(reached[0], self._covered, self._rays.shape[-1]) * odds[0]
        return Bargain(point, float(gain), float(self._trainings.seconds(point[None])[0]))

    def _with_children(self, point: Tensor) -> Bargain:
        """Return a point with as many children of its training as make the bargain best; the first child is it."""
        if int(self._trainings.serving(point[None])[0]) >= 0:
            return self._alone(point)
        children = torch.cat([point[None], self._trainings.with_compressions(point[None], self._compressions)])
        children = children[self._beliefs.known_feasible(children)]
        reached, odds = self._reaches(children)
        prices = self._trainings.child_seconds(children)
        training_s = float((self._trainings.seconds(children[:1]) - prices[:1])[0])
        covered, gain, price, best, first = self._covered.expand(reached.shape[1:]), 0.0, training_s, None, None
        for _ in range(min(_MOST_CHILDREN, len(children))):
            gains = hypervolume_gain(reached, covered, self._rays.shape[-1]) * odds
            # The most per second of those left; a child that adds nothing is none.
            chosen = int((gains / prices).argmax())
            gain, price = gain + float(gains[chosen]), price + float(prices[chosen])
            first = children[chosen] if first is None else first
            if best is not None and gain / price <= best.rate:
                break
            best = Bargain(first, gain, price)
            covered = torch.maximum(covered, reached[chosen])
        return best if best is not None else self._alone(point)

    def _reaches(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far points reach in cases that they share, ``k x cases x r``, and how likely each is feasible."""
        with torch.no_grad():
            believed = self._beliefs.predict(X)
        reached = reaches_together(believed.mean, believed.deviation, self._rays, cases=_CASES)
        return reached, believed.log_feasibility.exp()
