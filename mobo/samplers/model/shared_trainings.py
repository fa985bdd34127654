"""The trainings of a study, as a sampler sees them: which points would be further compressions of a trained network."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.space.work import Work, training_part

Decode = Callable[[NDArray[np.float64]], list[Design]]

# Coordinates that are nearer stand for the same value: the way to the cube and back may cost a last digit.
_SAME = 1e-9


class SharedTrainings:
    """What was trained, and what could share it.

    Args:
        space: The search space.
        work: What is shared, and what evaluations cost.
        done: The done trials, by number; each training is that of the first with its training part.
        decode: Returns the designs of points, ``k x d``, for one that remembers them; the space's own if left out.

    Attributes:
        compression_axes: Which axes of the cube a child chooses, ``d``, bool.
        points: A point of each training, ``t x d``.
    """

    def __init__(
        self,
        space: SearchSpace,
        work: Work,
        done: Sequence[Trial],
        *,
        decode: Decode | None = None,
    ) -> None:
        self._space, self._work = space, work
        self._known_keys: dict[int, frozenset[Hashable]] = {}
        self._decode = space.decode_all if decode is None else decode
        self.compression_axes = np.array([name not in work.training_names for name in space.names])
        children: dict[Design, list[Design]] = {}
        for trial in done:
            children.setdefault(training_part(trial.design, work.training_names), []).append(trial.design)
        self._parts, self._children = list(children), list(children.values())
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

    def seconds(self, X: Tensor) -> Tensor:
        """Return what evaluating each point costs: the training only where there is none that serves it, ``k``."""
        designs = self._decode(X.detach().numpy())
        needed = (self.serving(X) < 0).numpy()
        seconds = self._work.child_s(designs)
        seconds[needed] += self._work.training_s([design for design, new in zip(designs, needed, strict=True) if new])
        return torch.from_numpy(seconds)

    def child_seconds(self, X: Tensor) -> Tensor:
        """Return what each point costs once it is trained, ``k``."""
        return torch.from_numpy(self._work.child_s(self._decode(X.detach().numpy())))

    def is_news(self, X: Tensor) -> Tensor:
        """Return which points are no second measurement of a network that the same training gave before, ``k``."""
        serving = self.serving(X).tolist()
        designs = self._decode(X.detach().numpy())
        return torch.tensor(
            [
                place < 0 or self._work.child_key(design) not in self._keys(place)
                for place, design in zip(serving, designs, strict=True)
            ]
        )

    def _keys(self, place: int) -> frozenset[Hashable]:
        if place not in self._known_keys:
            self._known_keys[place] = frozenset(map(self._work.child_key, self._children[place]))
        return self._known_keys[place]
