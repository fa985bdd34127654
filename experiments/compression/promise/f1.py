"""The macro F1 score: the mean over the classes of the harmonic mean of precision and recall."""

import numpy as np
from numpy.typing import NDArray


def macro_f1(labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """Return the mean F1 of the classes that are among the labels.

    A class that is predicted but never occurs lowers the precision of nothing it is averaged over; its false alarms are
    misses of the class they belong to.

    >>> macro_f1(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]))
    0.7333333333333334
    """
    classes = np.unique(labels)
    count = int(max(labels.max(), predictions.max())) + 1
    confusion = np.bincount(labels * count + predictions, minlength=count * count).reshape(count, count)
    hits = np.diag(confusion)[classes]
    return float(np.mean(2 * hits / (confusion.sum(axis=0) + confusion.sum(axis=1))[classes]))
