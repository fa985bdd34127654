"""The trainings of a study, as a sampler sees them: which points would be further compressions of a trained network."""

from collections.abc import Hashable, Sequence
from math import inf, log2

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.space.search_space import Design, RememberedDesigns, SearchSpace
from mobo.space.trial import Trial
from mobo.space.work import Seconds, Work, training_part

# Coordinates that are nearer stand for the same value: the way to the cube and back may cost a last digit.
_SAME = 1e-9

# A head start of so many doublings is one unit of the axis that the models see.
_DOUBLINGS = 4.0


class SharedTrainings:
    """What was trained, and what could share it.

    Args:
        space: The search space.
        work: What is shared, and what evaluations cost.
        done: The done trials, by number; each training is that of the first with its training part.

    Attributes:
        compression_axes: Which axes of the cube a child chooses, ``d``, bool.
        points: A point of each training, ``t x d``.
        decoded: Returns the designs of points.
        has_head_starts: Whether any fine-tuning went on from an earlier one; else there is nothing to be learnt of it.
    """

    def __init__(self, space: SearchSpace, work: Work, done: Sequence[Trial]) -> None:
        self._space, self._work = space, work
        self._known_keys: dict[int, frozenset[Hashable]] = {}
        self._seconds: dict[bytes, float] = {}
        self.decoded = RememberedDesigns(space)
        self.compression_axes = np.array([name not in work.training_names for name in space.names])
        children: dict[Design, list[Trial]] = {}
        for trial in done:
            children.setdefault(training_part(trial.design, work.training_names), []).append(trial)
        self._parts = list(children)
        self._children = [[trial.design for trial in trials] for trials in children.values()]
        self._finetuned = [[trial for trial in trials if trial.finetuned] for trials in children.values()]
        # Seconds of fine-tuning, those of the siblings before included, by the number of the trial.
        self._tuned_s: dict[int, float] = {}
        for trial in (trial for trials in self._finetuned for trial in trials):
            before = trial.sibling and self._tuned_s.get(trial.sibling.trial)
            self._tuned_s[trial.number] = self._own_s(trial.design) + (before or 0.0)
        self._head_starts: dict[Design, float] = {}
        self.has_head_starts = any(trial.sibling is not None for trials in self._finetuned for trial in trials)
        rows = [space.encode(designs[0]) for designs in self._children]
        self.points = torch.from_numpy(np.array(rows).reshape(-1, len(space)))

    def __len__(self) -> int:
        return len(self._parts)

    def serving(self, X: Tensor) -> Tensor:
        """Return the training that would serve each point, its place in ``points``; -1 where there is none, ``k``."""
        if not len(self):
            return torch.full((len(X),), -1)
        axes = torch.from_numpy(~self.compression_axes)
        apart = (X[:, None, axes] - self.points[None, :, axes]).abs().amax(dim=-1) if axes.any() else None
        if apart is None:
            return torch.zeros(len(X), dtype=torch.long)
        nearest = apart.min(dim=1)
        return torch.where(nearest.values < _SAME, nearest.indices, -1)

    def with_compressions(self, X: Tensor, compressions: Tensor) -> Tensor:
        """Return each point with each compression in the place of its own, ``k c x d``.

        Args:
            X: Points, ``k x d``.
            compressions: Points of which the compression axes count, ``c x d``.
        """
        axes = torch.from_numpy(self.compression_axes)
        return torch.where(axes, compressions.repeat(len(X), 1), X.repeat_interleave(len(compressions), dim=0))

    def designed(self, point: Tensor) -> Design:
        """Return the design of a point, ``d``; what it shares with a training to the last digit."""
        design = self._space.decode(point.numpy())
        place = int(self.serving(point[None])[0])
        return design if place < 0 else Design({**design, **self._parts[place]})

    @property
    def mean_seconds(self) -> float:
        """Counted seconds of a done trial in the mean, its share of the trainings included; infinite before any."""
        children = [design for designs in self._children for design in designs]
        if not children:
            return inf
        trained = [designs[0] for designs in self._children]
        return float(self._work.child_s(children).sum() + self._work.training_s(trained).sum()) / len(children)

    def seconds(self, X: Tensor) -> Tensor:
        """Return what evaluating each point costs: the training only where there is none that serves it, ``k``."""
        places = X.detach().numpy()
        keys = [place.tobytes() for place in places]
        new = {key: row for row, key in enumerate(keys) if key not in self._seconds}
        if new:
            rows = list(new.values())
            found = self._new_seconds(self.decoded(places[rows]), self.serving(X[rows]).numpy() < 0)
            self._seconds |= dict(zip(new, found.tolist(), strict=True))
        return torch.tensor([self._seconds[key] for key in keys], dtype=torch.float64)

    def _new_seconds(self, designs: Sequence[Design], trained_first: NDArray[np.bool_]) -> Seconds:
        seconds = self._work.child_s(designs)
        those = [design for design, is_trained in zip(designs, trained_first, strict=True) if is_trained]
        seconds[trained_first] += self._work.training_s(those)
        return seconds

    def child_seconds(self, X: Tensor) -> Tensor:
        """Return what each point costs once it is trained, ``k``."""
        return torch.from_numpy(self._work.child_s(self.decoded(X.detach().numpy())))

    def is_news(self, X: Tensor) -> Tensor:
        """Return which points are no second measurement of a network that the same training gave before, ``k``."""
        serving = self.serving(X).tolist()
        designs = self.decoded(X.detach().numpy())
        return torch.tensor(
            [
                place < 0 or self._work.child_key(design) not in self._keys(place)
                for place, design in zip(serving, designs, strict=True)
            ],
            dtype=torch.bool,
        )

    def head_starts(self, X: Tensor) -> Tensor:
        """Return how far ahead the fine-tuning of points would begin, ``k``.

        0 from the trained network; from a network that was fine-tuned, with everything that went before, as long as
        the point's own fine-tuning takes, a quarter; three times as long, a half.
        """
        pairs = zip(self.decoded(X.detach().numpy()), self.serving(X).tolist(), strict=True)
        return torch.tensor([self._head_start(design, place) for design, place in pairs], dtype=X.dtype)

    def head_starts_of(self, trials: Sequence[Trial]) -> Tensor:
        """Return how far ahead the fine-tuning of trials began, ``n``; see :meth:`head_starts`."""
        before_s = [self._tuned_s.get(trial.sibling.trial, 0.0) if trial.sibling else 0.0 for trial in trials]
        starts = [self._ahead(trial.design, s) if s else 0.0 for trial, s in zip(trials, before_s, strict=True)]
        return torch.tensor(starts, dtype=torch.float64)

    def _head_start(self, design: Design, place: int) -> float:
        if place < 0 or not self._finetuned[place]:
            return 0.0
        if design not in self._head_starts:
            finetuned = self._finetuned[place]
            sibling = self._work.sibling(design, [trial.design for trial in finetuned])
            before_s = 0.0 if sibling is None else self._tuned_s[finetuned[sibling].number]
            self._head_starts[design] = self._ahead(design, before_s)
        return self._head_starts[design]

    def _ahead(self, design: Design, before_s: float) -> float:
        return log2(1.0 + before_s / self._own_s(design)) / _DOUBLINGS

    def _own_s(self, design: Design) -> float:
        return float(self._work.child_s([design])[0])

    def _keys(self, place: int) -> frozenset[Hashable]:
        if place not in self._known_keys:
            self._known_keys[place] = frozenset(map(self._work.child_key, self._children[place]))
        return self._known_keys[place]
