"""The learning search: an actor-critic on the layer-by-layer environment, made for a few dozen evaluations.

SAC and TD3 as published need thousands of episodes; a trial affords 12 to 64. Five things make it work at that size:

1. Demonstrations: the first evaluations go to the least compressed uniform policies, the one that weights alone
   recommend, and random ones pushed to the wall. They land in the replay buffer like every episode; the uncompressed
   network comes for free.
2. Returns instead of bootstrapping: rewards come only at the end, so the n-step return with n = episode length is used,
   and many gradient steps follow each evaluation.
3. Many are called, one is chosen: of many candidate episodes (the actor's own, the best so far with noise, mutated, or
   crossed, and as many random ones, for the best may lie elsewhere) only the most promising is evaluated. Costing a
   policy without evaluating it takes a millisecond.
4. Who chooses: the critics, and a model of whole policies (:mod:`envs.search.policy_model`), which also counts what it
   is unsure about in a candidate's favour. The model proposes too: what it would compress first, and steps from the
   most promising candidate and the best policy that it thinks lead further.
5. Push to the wall: before it is judged, a candidate's keep actions are shifted together as far up as the targets
   allow, for unused budget is error given away.

Only distinct policies count as evaluations.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from envs.episode.choices import Assignment, distinct
from envs.search.agent.actor_critic import ActorCritic
from envs.search.agent.episodes import Episode, FloatArray, encode, push_to_wall
from envs.search.agent.settings import AgentSettings
from envs.search.evolution import crossed, mutated
from envs.search.greedy import Sensitivities, compress, neighbours, refined
from envs.search.policy_model import LowerBound, PolicyModel
from envs.search.problem import CompressionProblem, PolicyJudge
from envs.search.random_policies import random_assignment
from envs.search.redraws import unseen
from envs.search.uniform_policies import uniform_assignments

# The best policies that candidates descend from.
_ELITE = 6
# Uniform policies among the demonstrations, at most.
_UNIFORM = 3
# Standard deviations of the model's prediction that count in a candidate's favour at the start; none at the end.
_CURIOSITY = 0.5
# Policies measured before the model is asked.
_MODEL_NEEDS = 2
# Weight of the critics' order against the model's.
_CRITICS_SAY = 0.25
# Candidates, the model's favourites, that the critics hear of: walking an episode costs about 75 graphs.
_HEARD = 24
# Steps of the model from each of its starts, about how many lead from the most to the fewest channels of a group, and
# the graphs that may be costed in a turn before it stops.
_CLIMB, _LEVELS, _MOST_COSTED = 3, 8, 1000


def search_with_sac(
    problem: CompressionProblem,
    judge: PolicyJudge,
    seed: int,
    settings: AgentSettings | None = None,
    *,
    warm_start: bytes | None = None,
) -> bytes:
    """Let soft actor-critic search until the evaluations, or the policies it can find, run out.

    Args:
        problem: The problem; some policy must be inside its targets.
        judge: Counts the evaluations and keeps the best policy.
        seed: Fixes every random choice.
        settings: How to learn; the defaults if left out.
        warm_start: A checkpoint to start from.

    Returns:
        A checkpoint of what was learned.

    Raises:
        CheckpointError: ``warm_start`` cannot be read or is another agent's.
    """
    return _Search(problem, judge, seed, settings or AgentSettings(), "sac", warm_start).run()


def search_with_td3(
    problem: CompressionProblem,
    judge: PolicyJudge,
    seed: int,
    settings: AgentSettings | None = None,
    *,
    warm_start: bytes | None = None,
) -> bytes:
    """Let twin-delayed deterministic policy gradients search; all as for :func:`search_with_sac`."""
    return _Search(problem, judge, seed, settings or AgentSettings(), "td3", warm_start).run()


class _Search:
    def __init__(
        self,
        problem: CompressionProblem,
        judge: PolicyJudge,
        seed: int,
        settings: AgentSettings,
        algorithm: str,
        warm_start: bytes | None,
    ) -> None:
        self._problem, self._judge, self._settings = problem, judge, settings
        self._rng = np.random.default_rng(seed)
        self._agent = ActorCritic(problem, judge.left, settings, seed, algorithm=algorithm, warm_start=warm_start)
        self._total = judge.left

    def run(self) -> bytes:
        """Demonstrate, then propose, evaluate and learn; return what was learned."""
        self._demonstrate()
        while following := self._following():
            self._evaluate([following])
        return self._agent.checkpoint().to_bytes()

    def _evaluate(self, assignments: Sequence[Assignment]) -> None:
        for assignment, error in zip(assignments, self._judge.errors(assignments), strict=True):
            self._agent.remember(assignment, error)
        self._agent.learn()

    def _demonstrate(self) -> None:
        problem, judge = self._problem, self._judge
        self._agent.remember(problem.space.uncompressed, problem.baseline_error)
        first = [*islice(uniform_assignments(problem), _UNIFORM)]
        first.insert(1, compress(problem, Sensitivities(problem.space), problem.space.uncompressed))
        wanted = max(1, round(self._settings.demonstration_share * self._total))
        self._evaluate(list(dict.fromkeys(first))[: min(wanted, judge.left)])
        while judge.used < wanted and (drawn := unseen(judge, self._random)):
            self._evaluate([drawn])

    def _random(self) -> Assignment:
        return self._pushed(self._rng.uniform(-1, 1, size=(len(self._problem.space.layers), 2)))

    def _pushed(self, actions: NDArray[np.floating]) -> Assignment:
        clipped: FloatArray = np.clip(actions, -1, 1).astype(np.float32)
        return self._landed(push_to_wall(self._problem, clipped) if self._settings.push else clipped)

    def _landed(self, actions: FloatArray) -> Assignment:
        """Return where an episode of these actions ends; inside the targets it need not be walked."""
        proposed = tuple(self._problem.space.decode(index, action) for index, action in enumerate(actions))
        walls = self._problem.walls
        return proposed if walls.inside(proposed) else walls.walk(proposed.__getitem__)

    def _following(self) -> Assignment | None:
        """Return the most promising candidate not evaluated yet; None where the search is over."""
        if self._judge.left == 0:
            return None
        bound = self._bound()
        candidates = self._candidates(bound)
        if bound is not None:
            candidates = sorted(candidates, key=bound.added_error)[:_HEARD]
        episodes = [self._agent.rehearse(encode(self._problem, candidate)) for candidate in candidates]
        if not episodes:
            return unseen(self._judge, lambda: random_assignment(self._problem, self._rng))
        return candidates[int(np.argmin(self._score(episodes, bound)))]

    def _candidates(self, bound: LowerBound | None) -> list[Assignment]:
        """Return different policies not evaluated yet: those drawn, then those that the model proposes."""
        wanted = self._settings.candidates
        drawn: dict[Assignment, None] = {}
        for assignment in islice(self._proposals(), 3 * wanted):
            if not self._judge.seen(assignment):
                drawn[assignment] = None
            if len(drawn) == wanted:
                break
        if bound is None:
            return list(drawn)
        foreseen = (found for found in self._foreseen(bound, list(drawn)) if not self._judge.seen(found))
        return distinct([*drawn, *foreseen])

    def _proposals(self) -> Iterator[Assignment]:
        """Yield candidates: the actor's own, descendants of the best so far, and as many at random."""
        elite = self._judge.ranking[:_ELITE]
        while True:
            yield self._pushed(self._agent.act())
            yield self._random()
            if elite:
                yield self._pushed(self._noisy(elite))
                yield self._random()
                # Descendants differ in a few layers only, which a push would undo; the walls clip them.
                for make in (self._mutated, self._crossed, self._stepped):
                    yield self._landed(make(elite))
                    yield self._random()

    def _bound(self) -> LowerBound | None:
        """Return what the model of whole policies expects; None where it is not asked or knows too little."""
        settings, judge = self._settings, self._judge
        if not settings.policy_model or settings.candidates == 1 or judge.used < _MODEL_NEEDS:
            return None
        model = PolicyModel(
            self._problem.space,
            [self._problem.space.uncompressed, *judge.measured],
            [self._problem.baseline_error, *judge.measured.values()],
        )
        return model.bound(_CURIOSITY * (1 - judge.used / self._total))

    def _foreseen(self, bound: LowerBound, candidates: Sequence[Assignment]) -> Iterator[Assignment]:
        """Yield what the model proposes: its own compression, and steps from the most promising and the best."""
        costed = self._problem.walls.cost_calls
        yield compress(self._problem, bound, self._problem.space.uncompressed, levels=_LEVELS)
        promising = sorted(candidates, key=bound.added_error)[:1]
        for start in (*promising, *self._judge.ranking[:1]):
            yield from self._climbed(bound, start, costed)

    def _climbed(self, bound: LowerBound, start: Assignment, costed: int) -> Iterator[Assignment]:
        """Yield steps that lead further, each from the one before, and a last one that may not."""
        current = start
        for _ in range(_CLIMB):
            steps = refined(self._problem, bound, self._around(current, costed), levels=_LEVELS)
            step = next((step for step in steps if step != current and not self._judge.seen(step)), None)
            if step is None:
                return
            yield step
            if bound.added_error(step) >= bound.added_error(current):
                return
            current = step

    def _around(self, assignment: Assignment, costed: int) -> Iterator[Assignment]:
        """Yield neighbours in any order, until the turn has costed enough."""
        space = self._problem.space
        found = [step for direction in (-1, +1) for step in neighbours(space, assignment, direction, levels=_LEVELS)]
        for index in self._rng.permutation(len(found)):
            if self._problem.walls.cost_calls - costed > _MOST_COSTED:
                return
            yield found[index]

    def _drawn(self, elite: Sequence[Assignment]) -> Assignment:
        """Return one of the best, the better the likelier."""
        weights = 1 / np.arange(1, len(elite) + 1)
        return elite[self._rng.choice(len(elite), p=weights / weights.sum())]

    def _noisy(self, elite: Sequence[Assignment]) -> FloatArray:
        base = encode(self._problem, self._drawn(elite))
        noise = self._settings.exploration * (1 - 2 / 3 * self._judge.used / self._total)
        changed = self._rng.random(len(base)) < max(0.4, 2 / len(base))
        return base + (self._rng.normal(0, 2 * noise, base.shape) * changed[:, None]).astype(np.float32)

    def _mutated(self, elite: Sequence[Assignment]) -> FloatArray:
        return encode(self._problem, mutated(self._problem.space, self._drawn(elite), self._rng))

    def _crossed(self, elite: Sequence[Assignment]) -> FloatArray:
        child = crossed(self._drawn(elite), self._drawn(elite), self._rng)
        return encode(self._problem, mutated(self._problem.space, child, self._rng))

    def _stepped(self, elite: Sequence[Assignment]) -> FloatArray:
        """Return one of the best with one layer a step up and another a step down."""
        changed = self._drawn(elite)
        for direction in (+1, -1):
            found = list(neighbours(self._problem.space, changed, direction))
            changed = found[self._rng.integers(len(found))] if found else changed
        return encode(self._problem, changed)

    def _score(self, episodes: Sequence[Episode], bound: LowerBound | None) -> NDArray[np.float64]:
        """Return what is expected of candidates; lower is better."""
        if len(episodes) == 1:
            return np.zeros(1)
        critics = _ranks(-self._agent.value(episodes))
        if bound is None:
            return critics
        expected = np.array([bound.added_error(episode.assignment) for episode in episodes])
        return _ranks(expected) + _CRITICS_SAY * critics


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(np.float64)
