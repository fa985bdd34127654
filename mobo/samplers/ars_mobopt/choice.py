"""One proposal of ARS-MOBOpt: from the Pareto set, policies trained on the expected improvement lead to points."""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from mobo.base.seeds import derive_seed
from mobo.samplers.ars_mobopt.policies import trained_rollouts
from mobo.samplers.ars_mobopt.settings import ArsSettings
from mobo.samplers.history import History
from mobo.samplers.model.acquisition import chebyshev, log_chebyshev_improvement, standard_normals
from mobo.samplers.model.maximise import Maximiser, Score
from mobo.samplers.model.outcome_model import Beliefs

# Rewards below this are all the same: nothing can be gained there. Keeps returns finite where a design is known to be
# infeasible.
_LOWEST_LOG = -50.0
_SOFTNESS = 1e-3


def best_of_policies(beliefs: Beliefs, history: History, settings: ArsSettings, *, seed: int) -> Tensor | None:
    """Return the point that the best of all trained policies proposes, ``d``.

    Points that were tried, or are known to be infeasible, are passed over; where every point of every rollout was, the
    expected improvement is maximised directly. None if there is nothing left.
    """
    generator = torch.Generator().manual_seed(seed)
    score = _score(beliefs, settings, generator)

    def reward(X: Tensor) -> Tensor:
        values = score(_placed(beliefs, X)).clamp_min(_LOWEST_LOG)
        return values if settings.reward == "log_improvement" else values.exp()

    starts = _centres(beliefs.front_points(), settings.policies, seed)
    with torch.no_grad():
        rollouts = trained_rollouts(reward, starts, settings, generator)
    maximiser = Maximiser(
        beliefs.space,
        settings.search,
        generator=np.random.default_rng(seed),
        tried=history.designs,
        allowed=beliefs.known_feasible,
    )
    visited = maximiser.fresh(rollouts.points.reshape(-1, starts.shape[-1]).numpy())
    if len(visited):
        with torch.no_grad():
            return visited[score(visited).argmax()]
    return maximiser.best(score, starts, screen=score, differentiable=beliefs.is_differentiable)


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
