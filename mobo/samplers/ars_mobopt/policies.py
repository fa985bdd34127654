"""Augmented random search on a predicted landscape: many small policies at once, one posterior call per step.

[Mania2018] H. Mania, A. Guy, B. Recht: Simple Random Search of Static Linear Policies is Competitive for Reinforcement
Learning. NeurIPS 2018 (ARS V1-t).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mobo.samplers.ars_mobopt.settings import ArsSettings

# From points ``k x d`` to rewards ``k``.
Reward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rollouts:
    """Where trained policies lead.

    Attributes:
        points: Every point visited, the start apart, ``l x h x d``.
        rewards: Reward at each point, ``l x h``.
    """

    points: Tensor
    rewards: Tensor


def trained_rollouts(reward: Reward, starts: Tensor, settings: ArsSettings, generator: torch.Generator) -> Rollouts:
    """Train one policy per start and return the rollout of each.

    A policy maps the current point ``x`` to a bounded move; the next point is ``x + step * tanh(MLP(x))``, kept inside
    the unit cube. The return ``r`` of a rollout is the sum of its rewards. One iteration of ARS V1-t [Mania2018], for
    every policy ``Theta`` of its own: draw N directions ``d_k ~ N(0, I)``; roll out ``Theta + nu d_k`` and
    ``Theta - nu d_k``; keep the K directions with the largest ``max(r+, r-)``; with ``sigma`` the standard deviation of
    their 2K returns, ``Theta += alpha / (K sigma) * sum (r+ - r-) d_k``.

    Args:
        reward: Reward of points, ``k x d -> k``, finite.
        starts: Where rollouts begin, ``l x d``.
        settings: Numbers of iterations, directions and steps, and the constants.
        generator: Source of all random choices.
    """
    policies = settings.initial_deviation * torch.randn(
        len(starts), _size(starts.shape[-1], settings.hidden), generator=generator, dtype=starts.dtype
    )
    for _ in range(settings.iterations):
        shape = (len(starts), settings.directions, policies.shape[-1])
        directions = torch.randn(shape, generator=generator, dtype=starts.dtype)
        moved = policies.unsqueeze(1) + settings.exploration * torch.cat([directions, -directions], dim=1)
        returns = _rolled_out(reward, starts, moved, settings).rewards.sum(dim=-1)
        policies = policies + _step(directions, returns, settings)
    final = _rolled_out(reward, starts, policies.unsqueeze(1), settings)
    return Rollouts(final.points.squeeze(1), final.rewards.squeeze(1))


def _step(directions: Tensor, returns: Tensor, settings: ArsSettings) -> Tensor:
    """Return the change of each policy, ``l x p``; none where all returns are equal."""
    plus, minus = returns.chunk(2, dim=1)
    top = torch.maximum(plus, minus).topk(settings.top_directions, dim=1).indices
    plus, minus = plus.gather(1, top), minus.gather(1, top)
    deviation = torch.cat([plus, minus], dim=1).std(dim=1, correction=0, keepdim=True)
    weights = torch.where(deviation > 0, (plus - minus) / deviation.clamp_min(torch.finfo(returns.dtype).tiny), 0.0)
    chosen = directions.gather(1, top.unsqueeze(-1).expand(-1, -1, directions.shape[-1]))
    return settings.step_size / settings.top_directions * (weights.unsqueeze(-1) * chosen).sum(dim=1)


def _rolled_out(reward: Reward, starts: Tensor, policies: Tensor, settings: ArsSettings) -> Rollouts:
    """Roll out policies ``l x r x p``, all at once; points ``l x r x h x d``."""
    place = starts.unsqueeze(1).expand(-1, policies.shape[1], -1)
    weights = _layers(policies, starts.shape[-1], settings.hidden)
    points, rewards = [], []
    for _ in range(settings.horizon):
        place = (place + settings.max_move * _action(place, *weights)).clamp(0.0, 1.0)
        points.append(place)
        rewards.append(reward(place.reshape(-1, place.shape[-1])).reshape(place.shape[:-1]))
    return Rollouts(torch.stack(points, dim=-2), torch.stack(rewards, dim=-1))


def _size(dimensions: int, hidden: int) -> int:
    return dimensions * hidden + hidden + hidden * dimensions + dimensions


def _layers(policies: Tensor, dimensions: int, hidden: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    parts = torch.split(policies, [dimensions * hidden, hidden, hidden * dimensions, dimensions], dim=-1)
    shape = policies.shape[:-1]
    return (
        parts[0].reshape(*shape, dimensions, hidden),
        parts[1],
        parts[2].reshape(*shape, hidden, dimensions),
        parts[3],
    )


def _action(place: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor) -> Tensor:
    # The cube's middle is the origin, so that a policy without biases can go either way.
    hidden = torch.tanh(((2.0 * place - 1.0).unsqueeze(-2) @ first).squeeze(-2) + first_bias)
    return torch.tanh((hidden.unsqueeze(-2) @ second).squeeze(-2) + second_bias)
