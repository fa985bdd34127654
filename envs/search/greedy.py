"""The sensitivity-ordered search: measure what each layer's compression adds to the error, compress the least first.

The classic hand-made recipe (Han et al., "Learning both Weights and Connections", NeurIPS 2015, prunes by measured
per-layer sensitivity), with the evaluations that remain spent on neighbours of the best policy.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import Protocol

import numpy as np

from envs.episode.choices import Assignment, ChoiceSpace, LayerChoice, distinct
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.redraws import REDRAWS

# Share of the evaluations that may go into measuring sensitivities.
PROBE_SHARE = 0.5


class ErrorPredictor(Protocol):
    """Foresees what policies do to the error."""

    def added_error(self, assignment: Assignment) -> float:
        """Return a number that is higher the more error a policy is expected to add."""
        ...


class Sensitivities:
    """Predicts the error a policy adds: a sum over layers, quadratic in the removed channels, linear in the bit steps.

    Args:
        space: The choices of the network.
    """

    def __init__(self, space: ChoiceSpace) -> None:
        self._space = space
        self._keep: dict[int, float] = {}
        self._bits: dict[int, float] = {}

    def probes(self) -> Iterator[tuple[int, Assignment]]:
        """Yield policies that compress one layer only, the layers with the most weights first.

        Half the channels of a group first (or the nearest count), then one step of bit width.
        """
        graph = self._space.graph
        order = sorted(
            range(len(self._space.layers)),
            key=lambda i: -self._space.layers[i].weight_count(graph.input_shapes(self._space.layers[i])),
        )
        for index in order:
            options = self._space.channel_options[index]
            if len(options) > 1:
                half = min(options[:-1], key=lambda count: abs(count - options[-1] / 2))
                yield index, self._only(index, replace(self._space.uncompressed[index], channels=half))
        for index in order:
            if len(self._space.weight_bits) > 1:
                yield (
                    index,
                    self._only(
                        index, replace(self._space.uncompressed[index], weight_bits=self._space.weight_bits[-2])
                    ),
                )

    def _only(self, index: int, choice: LayerChoice) -> Assignment:
        whole = self._space.uncompressed
        return (*whole[:index], choice, *whole[index + 1 :])

    def measured(self, index: int, probe: Assignment, added_error: float) -> None:
        """Record what a probe added. Noise can make it negative; compression is not believed to help."""
        removed, steps = self._amounts(index, probe[index])
        if removed:
            self._keep[index] = max(added_error, 0.0) / removed**2
        elif steps:
            self._bits[index] = max(added_error, 0.0) / steps

    def _amounts(self, index: int, choice: LayerChoice) -> tuple[float, int]:
        group, widths = self._space.opened[index], self._space.weight_bits
        removed = 0.0 if group is None or choice.channels is None else 1 - choice.channels / group.channels
        return removed, len(widths) - 1 - widths.index(choice.weight_bits)

    def added_error(self, assignment: Assignment) -> float:
        """Return the predicted error added by a policy; layers not probed count as the mean of those that were."""
        # The small constant orders policies by how much they compress where all measured sensitivities are 0.
        mean_keep = float(np.mean(list(self._keep.values()) or [1.0])) + 1e-3
        mean_bits = float(np.mean(list(self._bits.values()) or [0.1])) + 1e-4
        total = 0.0
        for index, choice in enumerate(assignment):
            removed, steps = self._amounts(index, choice)
            total += (self._keep.get(index, mean_keep) + 1e-3) * removed**2
            total += (self._bits.get(index, mean_bits) + 1e-4) * steps
        return total


def neighbours(
    space: ChoiceSpace, assignment: Assignment, direction: int, *, levels: int | None = None
) -> Iterator[Assignment]:
    """Yield the policies one step of channels or bits away, down (-1) or up (+1).

    Args:
        space: The choices of the network.
        assignment: Where to step from.
        direction: -1 or +1.
        levels: About how many steps lead from the most to the fewest channels of a group; one per count if left out.
    """
    for index, choice in enumerate(assignment):
        options, widths = space.channel_options[index], space.weight_bits
        changed = []
        if choice.channels is not None:
            stride = 1 if levels is None else max(1, round(len(options) / levels))
            position = options.index(choice.channels)
            reached = min(max(position + direction * stride, 0), len(options) - 1)
            if reached != position:
                changed.append(replace(choice, channels=options[reached]))
        position = widths.index(choice.weight_bits) + direction
        if 0 <= position < len(widths):
            changed.append(replace(choice, weight_bits=widths[position]))
        for other in changed:
            yield (*assignment[:index], other, *assignment[index + 1 :])


def compress(
    problem: CompressionProblem, predictor: ErrorPredictor, start: Assignment, *, levels: int | None = None
) -> Assignment:
    """Return a policy inside the targets, compressed where it is predicted to hurt least.

    Steps down where the least predicted error is added per violation removed, until inside; then up again where there
    is room. Asks for costs only, not for evaluations.

    Args:
        problem: The problem; some policy must be inside its targets.
        predictor: What predicts the error.
        start: The policy to start from, e.g. the uncompressed one.
        levels: As of :func:`neighbours`.
    """
    walls, targets = problem.walls, problem.targets

    def violation(assignment: Assignment) -> float:
        return targets.violation(walls.record(assignment).values)

    current = start
    while not walls.inside(current):
        error, excess = predictor.added_error(current), violation(current)
        rates = [
            ((predictor.added_error(step) - error) / (excess - violation(step)), step)
            for step in neighbours(problem.space, current, -1, levels=levels)
            if violation(step) < excess
        ]
        if not rates:
            current = walls.walk(current.__getitem__)
            break
        current = min(rates, key=lambda rate: rate[0])[1]
    return _fill(problem, predictor, current, levels)


def _fill(
    problem: CompressionProblem, predictor: ErrorPredictor, current: Assignment, levels: int | None
) -> Assignment:
    """Step up, the largest predicted gain first, as long as that stays inside."""
    while True:
        up = neighbours(problem.space, current, +1, levels=levels)
        steps = [step for step in up if problem.walls.inside(step)]
        if not steps:
            return current
        current = min(steps, key=predictor.added_error)


def refined(
    problem: CompressionProblem,
    predictor: ErrorPredictor,
    around: Iterable[Assignment],
    *,
    levels: int | None = None,
) -> list[Assignment]:
    """Return policies made to fit again and filled, the best predicted first.

    Args:
        problem: As for :func:`compress`.
        predictor: As for :func:`compress`.
        around: Policies, inside the targets or not.
        levels: As of :func:`neighbours`.
    """
    found = distinct(compress(problem, predictor, step, levels=levels) for step in around)
    return sorted(found, key=predictor.added_error)


def _mutations(problem: CompressionProblem, best: Assignment, rng: np.random.Generator) -> Iterable[Assignment]:
    for _ in range(REDRAWS):
        draw = list(best)
        for index in rng.choice(len(best), size=min(2, len(best)), replace=False):
            options = problem.space.choices(int(index))
            draw[index] = options[int(rng.integers(len(options)))]
        yield problem.walls.walk(draw.__getitem__)


def search_greedy(problem: CompressionProblem, judge: PolicyJudge, seed: int) -> None:
    """Probe sensitivities with up to half the evaluations, compress by them, refine around the best with the rest."""
    rng = np.random.default_rng(seed)
    sensitivities = Sensitivities(problem.space)
    probes = list(islice(sensitivities.probes(), int(PROBE_SHARE * judge.left)))
    for (index, probe), error in zip(probes, judge.errors([probe for _, probe in probes]), strict=True):
        sensitivities.measured(index, probe, error - problem.baseline_error)
    judge.error(compress(problem, sensitivities, problem.space.uncompressed))
    while judge.left and judge.best is not None:
        following = _following(problem, judge, sensitivities, judge.best, rng)
        if following is None:
            return
        judge.error(following)


def _following(
    problem: CompressionProblem,
    judge: PolicyJudge,
    sensitivities: Sensitivities,
    best: Assignment,
    rng: np.random.Generator,
) -> Assignment | None:
    """Return the best neighbour not evaluated yet, or a mutation where there is none."""
    around = (step for direction in (-1, +1) for step in neighbours(problem.space, best, direction))
    candidates = chain(refined(problem, sensitivities, around), _mutations(problem, best, rng))
    return next((candidate for candidate in candidates if not judge.seen(candidate)), None)
