"""One proposal of ARS-MOBOpt: from the Pareto set, policies trained on the expected improvement lead to points."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from mobo.base.seeds import derive_seed
from mobo.samplers.ars_mobopt.policies import Rollouts, trained_rollouts
from mobo.samplers.ars_mobopt.settings import ArsSettings
from mobo.samplers.history import History
from mobo.samplers.model.acquisition import (
    chebyshev,
    covered,
    directions,
    log_chebyshev_improvement,
    log_hypervolume_improvement,
    standard_normals,
)
from mobo.samplers.model.maximise import Maximiser, Score
from mobo.samplers.model.outcome_model import Beliefs

# Rewards below this are all the same: nothing can be gained there. Keeps returns finite where a design is known to be
# infeasible.
_LOWEST_LOG = -50.0
_SOFTNESS = 1e-3
_NODES = 4


@dataclass(frozen=True)
class Search:
    """What the policies of one proposal did.

    Attributes:
        score: The log expected improvement that was their reward, ``k x d -> k``.
        starts: Where they began, ``l x d``.
        rollouts: Where they led.
    """

    score: Score
    starts: Tensor
    rollouts: Rollouts


def searched(beliefs: Beliefs, settings: ArsSettings, *, seed: int) -> Search:
    """Train policies on the models and return where they lead."""
    generator = torch.Generator().manual_seed(seed)
    score = _score(beliefs, settings, generator)

    def reward(X: Tensor) -> Tensor:
        values = score(_placed(beliefs, X)).clamp_min(_LOWEST_LOG)
        return values.exp() if settings.reward == "improvement" else values

    starts = _centres(beliefs.front_points(), settings.policies, seed)
    with torch.no_grad():
        return Search(score, starts, trained_rollouts(reward, starts, settings, generator))


def best_of_policies(beliefs: Beliefs, history: History, settings: ArsSettings, *, seed: int) -> Tensor | None:
    """Return the point that the best of all trained policies proposes, ``d``.

    Points that were tried, or are known to be infeasible, are passed over; where every point of every rollout was, the
    expected improvement is maximised directly. None if there is nothing left.
    """
    found = searched(beliefs, settings, seed=seed)
    maximiser = Maximiser(
        beliefs.space,
        settings.search,
        generator=np.random.default_rng(seed),
        tried=history.designs,
        allowed=beliefs.known_feasible,
    )
    visited = maximiser.fresh(found.rollouts.points.reshape(-1, found.starts.shape[-1]).numpy())
    if len(visited):
        with torch.no_grad():
            return visited[found.score(visited).argmax()]
    return maximiser.best(found.score, found.starts, screen=found.score, differentiable=beliefs.is_differentiable)


def _placed(beliefs: Beliefs, X: Tensor) -> Tensor:
    """Policies walk through the cube; what they are rewarded for is the design at each place."""
    return torch.from_numpy(beliefs.space.canonical(X.numpy()))


def _centres(points: Tensor, count: int, seed: int) -> Tensor:
    """Return the k-means centres of the Pareto set, at most ``count``."""
    if len(points) <= count:
        return points
    centres, _ = kmeans2(points.numpy(), count, minit="++", rng=np.random.default_rng(derive_seed(seed, 0, "centres")))
    return torch.from_numpy(centres)


def _score(beliefs: Beliefs, settings: ArsSettings, generator: torch.Generator) -> Score:
    """Return the log expected improvement of a Chebyshev scalarisation with random weights, feasibility included."""
    seen = beliefs.incumbents()
    if not len(seen):
        # Nothing feasible yet: any design that is likely to be feasible is an improvement.
        return lambda X: beliefs.predict(X).log_feasibility
    if settings.reward == "log_hypervolume":
        return _hypervolume_score(beliefs, seen, settings, generator)
    low, high = seen.amin(dim=0), seen.amax(dim=0)
    span = torch.where(high > low, high - low, 1.0)
    exponentials = -torch.rand(seen.shape[-1], generator=generator, dtype=seen.dtype).clamp_min(1e-12).log()
    weights = exponentials / exponentials.sum()
    normals = standard_normals(
        seen.shape[-1], settings.samples, seed=int(torch.randint(2**31, (1,), generator=generator))
    )
    best = chebyshev((seen - low) / span, weights, augmentation=settings.augmentation).amin()

    def score(X: Tensor) -> Tensor:
        believed = beliefs.predict(X)
        improvement = log_chebyshev_improvement(
            (believed.mean - low) / span,
            believed.deviation / span,
            normals=normals,
            weights=weights,
            augmentation=settings.augmentation,
            best=best,
            softness=_SOFTNESS,
        )
        return improvement + believed.log_feasibility

    return score


def _hypervolume_score(beliefs: Beliefs, seen: Tensor, settings: ArsSettings, generator: torch.Generator) -> Score:
    """Return the log expected improvement of the hypervolume along rays drawn anew, feasibility included."""
    rays = directions(seen.shape[-1], settings.rays, seed=int(torch.randint(2**31, (1,), generator=generator)))
    reached = covered(seen, rays)

    def score(X: Tensor) -> Tensor:
        believed = beliefs.predict(X)
        improvement = log_hypervolume_improvement(
            believed.mean, believed.deviation, rays=rays, covered_reach=reached, nodes=_NODES
        )
        return improvement + believed.log_feasibility

    return score
