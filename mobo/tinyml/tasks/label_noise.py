"""Samples whose label their likes contradict: equal samples of two classes, and samples among those of another class.

The second is the nearest-neighbour rule of Wilson (1972), "Asymptotic properties of nearest neighbor rules using edited
data", made strict: all neighbours must be of one other class. It finds single wrong labels of classes that lie apart,
not whole recordings with a wrong label, whose windows are each other's neighbours.
"""

from collections import Counter, defaultdict

import torch

from envs.compression.float_network.purpose import Classification
from envs.compression.float_network.stored_inputs import in_memory
from mobo.tinyml.tasks.data import TaskData

NEIGHBOURS = 10
_MOST_SAMPLES = 4000
_MOST_FEATURES = 512
_CHUNK = 500
_SHOWN_CLASSES = 4


def label_warnings(data: TaskData) -> tuple[str, ...]:
    """Return what is doubtful about the labels, one sentence each; nothing where they are no classes to be told apart.

    Args:
        data: The splits, of which that for the test is not read. Of more than 4,000 samples so many are drawn.
    """
    if not isinstance(data.train.purpose, Classification):
        return ()
    learnt = {"train": data.train, "reward": data.reward, "validation": data.validation}
    total = sum(map(len, learnt.values()))
    # As many of each split as it has of all.
    drawn = [
        part.drawn(max(1, len(part) * _MOST_SAMPLES // max(total, _MOST_SAMPLES)), seed=0) for part in learnt.values()
    ]
    x = torch.cat([in_memory(part.x) for part in drawn])
    y = torch.cat([part.y for part in drawn])
    of = "" if len(y) == total else f" (of {len(y)} that were drawn)"
    equal, doubtful = contradicted(x, y), surrounded(x, y)
    found = []
    if equal:
        found.append(f"{equal} of the samples are equal to one of another class{of}")
    if len(doubtful):
        by_class = Counter(data.class_names[label] for label in y[doubtful].tolist()).most_common()
        shown = ", ".join(f"{name} {count}" for name, count in by_class[:_SHOWN_CLASSES])
        more = " and others" if len(by_class) > _SHOWN_CLASSES else ""
        found.append(
            f"{len(doubtful)} of the samples have another label than all of their {NEIGHBOURS} nearest neighbours, "
            f"which agree{of}: {shown}{more}; some of these labels may be wrong"
        )
    return tuple(found)


def contradicted(x: torch.Tensor, y: torch.Tensor) -> int:
    """Return how many samples, ``N x C x H x W``, are equal to one that has another label of ``y``, ``N``."""
    labels: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
    for values, label in zip(x.numpy(), y.tolist(), strict=True):
        labels[values.tobytes()][label] += 1
    return sum(count.total() for count in labels.values() if len(count) > 1)


def surrounded(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the places of the samples that have only neighbours of one other class.

    Args:
        x: Samples, ``N x C x H x W``. Of signals, which have a height of 1, the logarithms of their spectra are
            compared, for a shift in time is no difference; of more than 512 values random projections.
        y: Labels, ``N``.
    """
    features = _projected(x)
    if len(y) <= NEIGHBOURS:
        return torch.zeros(0, dtype=torch.int64)
    found = []
    for own in torch.split(torch.arange(len(y)), _CHUNK):
        distances = torch.cdist(features[own], features)
        distances[torch.arange(len(own)), own] = torch.inf
        labels = y[distances.topk(NEIGHBOURS, largest=False).indices]
        found.append(own[(labels == labels[:, :1]).all(dim=1) & (labels[:, 0] != y[own])])
    return torch.cat(found)


def _projected(x: torch.Tensor) -> torch.Tensor:
    """Return what is compared of samples, ``N x features``."""
    if x.shape[2] == 1 and x.shape[3] > 1:
        x = torch.fft.rfft(x, dim=3).abs().log1p()
    x = x.flatten(1)
    if x.shape[1] <= _MOST_FEATURES:
        return x
    directions = torch.randn(x.shape[1], _MOST_FEATURES, generator=torch.Generator().manual_seed(0))
    return torch.matmul(x, directions).div(x.shape[1] ** 0.5)
