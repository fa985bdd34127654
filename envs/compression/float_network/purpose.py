"""What a network is trained for and judged by: telling classes apart, estimating quantities, reconstructing the normal.

[Laplace1814] P.-S. Laplace: Essai philosophique sur les probabilités. 1814 (the rule of succession).
[Huber1964] P. Huber: Robust estimation of a location parameter. Annals of Mathematical Statistics 35(1), 1964.
[Birnbaum1957] Z. Birnbaum, O. Klose: Bounds for the variance of the Mann-Whitney statistic. Annals of Mathematical
Statistics 28(4), 1957.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from envs.compression.float_network.error_kinds import DistanceKind, ShareKind
from envs.compression.float_network.stored_inputs import Inputs, in_memory
from envs.errors import EnvError


class Measured(NamedTuple):
    """An error, and what is known of its noise.

    Attributes:
        error: The error.
        standard_error: Its standard error in the same unit, as samples that are independent have it; None where only a
            bound is known.
        samples: How many independent samples it is worth: the variance of an error e is at most e (1 - e) / so many
            where errors are shares, and e^2 / so many where they are in the unit of the labels.
    """

    error: float
    standard_error: float | None
    samples: int


class Purpose(Protocol):
    """The loss and the error of a kind of task; both are minimised."""

    @property
    def worst(self) -> float:
        """The error of a network that has learnt nothing: what lies above is of no more use, and no less."""
        ...

    def check_labels(self, y: torch.Tensor, count: int) -> None:
        """Refuse labels of another form than so many samples need; raises EnvError."""
        ...

    def output_count(self, class_count: int, input_size: int) -> int:
        """Return how many outputs a network needs for so many classes and input values."""
        ...

    def loss(
        self,
        outputs: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> torch.Tensor:
        """Return what training minimises.

        Args:
            outputs: The network's outputs, N x outputs.
            x: Its inputs, N x C x H x W.
            y: Labels, N, or N x outputs where they are real numbers.
            label_smoothing: Smoothing of the labels.
            reduction: Over the samples.
        """
        ...

    def distillation(self, outputs: torch.Tensor, taught: torch.Tensor, *, temperature: float) -> torch.Tensor:
        """Return how far the outputs are from a teacher's, the mean over the samples.

        Args:
            outputs: The network's outputs, N x outputs.
            taught: The teacher's outputs for the same inputs.
            temperature: Softens the classes of a classification; nothing else has any.
        """
        ...

    def error(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> float:
        """Return what networks are compared by, 0 or more, arguments as for :meth:`loss`.

        It is a share, or of a regression in the unit of the labels.
        """
        ...

    def measured(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> Measured:
        """Return :meth:`error` with its noise."""
        ...


def _check_classes(y: torch.Tensor, count: int) -> None:
    if y.dtype != torch.int64 or tuple(y.shape) != (count,):
        raise EnvError(
            f"y is {y.dtype} of shape {tuple(y.shape)}; it must be int64 with one label for each of the {count} samples"
        )


@dataclass(frozen=True)
class Classification:
    """One output per class; the error is the share of samples that get a wrong class, or one that weighs classes alike.

    Attributes:
        judged_by: ``share`` of wrong samples; ``balanced``, 1 minus the mean over the classes of the share recognised;
            ``macro_f1``, 1 minus the mean over the classes of F1. Classes without a sample do not count.
        class_weights: What a sample of each class counts in the loss; empty where all count alike.
    """

    judged_by: ShareKind = "share"
    class_weights: tuple[float, ...] = ()

    @property
    def worst(self) -> float:  # noqa: D102
        return 1.0

    def check_labels(self, y: torch.Tensor, count: int) -> None:  # noqa: D102
        _check_classes(y, count)

    def output_count(self, class_count: int, input_size: int) -> int:  # noqa: D102
        return class_count

    def loss(  # noqa: D102
        self,
        outputs: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> torch.Tensor:
        weights = torch.tensor(self.class_weights, device=outputs.device) if self.class_weights else None
        return F.cross_entropy(outputs, y, weight=weights, label_smoothing=label_smoothing, reduction=reduction)

    def distillation(  # noqa: D102
        self, outputs: torch.Tensor, taught: torch.Tensor, *, temperature: float
    ) -> torch.Tensor:
        student, teacher = (F.log_softmax(values / temperature, dim=1) for values in (outputs, taught))
        # Gradients shrink with the square of the temperature.
        return F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2

    def error(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> float:  # noqa: D102
        # The first of equal outputs, as on the target: numpy promises it, torch does not.
        found, labels = np.argmax(outputs.numpy(), axis=1), y.numpy()
        if self.judged_by == "share":
            return float(np.mean(found != labels))
        classes = max(int(labels.max()), int(found.max())) + 1
        right = np.bincount(labels[found == labels], minlength=classes)
        there, said = (np.bincount(values, minlength=classes) for values in (labels, found))
        if self.judged_by == "balanced":
            return float(1.0 - np.mean(right[there > 0] / there[there > 0]))
        known = there + said > 0
        return float(1.0 - np.mean(2 * right[known] / (there + said)[known]))

    def measured(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> Measured:
        """Return the error with its noise.

        The mean of the errors of C classes varies at most as that of C times the samples of the rarest (the errors'
        variances add, and e (1 - e) is concave); of F1 scores the same is taken for want of a bound.
        """
        error = self.error(outputs, x, y)
        if self.judged_by == "share":
            return Measured(error, standard_error(error, len(y)), len(y))
        counts = torch.bincount(y)
        return Measured(error, None, int((counts > 0).sum() * counts[counts > 0].min()))


def standard_error(share: float, samples: int) -> float:
    """Return the binomial standard error of a share that was counted on so many independent samples [Laplace1814].

    The variance is that of the share with one sample more of either kind: no measurement is certain, not even 0.

    >>> f"{standard_error(0.1, 1000):.4f} {standard_error(0.0, 1000):.4f}"
    '0.0095 0.0010'
    """
    share = (share * samples + 1) / (samples + 2)
    return float(np.sqrt(share * (1 - share) / samples))


class Reconstruction:
    """One output per input value; what the network, trained on normal samples, reconstructs badly is anomalous.

    The error is 1 minus the area under the ROC curve of the squared reconstruction error; label 1 is anomalous.
    """

    @property
    def worst(self) -> float:  # noqa: D102
        return 1.0

    def check_labels(self, y: torch.Tensor, count: int) -> None:  # noqa: D102
        _check_classes(y, count)

    def output_count(self, class_count: int, input_size: int) -> int:  # noqa: D102
        return input_size

    def loss(  # noqa: D102
        self,
        outputs: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> torch.Tensor:
        if label_smoothing:
            raise EnvError(f"label_smoothing is {label_smoothing:g}; a reconstruction has no labels, so it must be 0")
        scores = self.scores(outputs, x)
        return scores.mean() if reduction == "mean" else scores.sum()

    def distillation(  # noqa: D102
        self, outputs: torch.Tensor, taught: torch.Tensor, *, temperature: float
    ) -> torch.Tensor:
        return (outputs - taught).square().mean()

    def error(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> float:  # noqa: D102
        if len(torch.unique(y)) < 2:
            raise EnvError("all samples have one label; the area under the ROC curve needs normal and anomalous ones")
        from sklearn.metrics import roc_auc_score  # takes a while to import

        return 1.0 - float(roc_auc_score(y.numpy(), self.scores(outputs, in_memory(x)).numpy()))

    def measured(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> Measured:
        """Return the error with its noise, bounded by the smaller of the two classes [Birnbaum1957]."""
        return Measured(self.error(outputs, x, y), None, int(torch.bincount(y).min()))

    @staticmethod
    def scores(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the mean squared reconstruction error of every sample; the higher, the more anomalous."""
        return (outputs - x.flatten(1)).square().mean(dim=1)


# Of a deviation of the labels: where the loss of an absolute error turns from a parabola into a line.
_HUBER_BEND = 0.1
_MOST_SAMPLES = 2**50


@dataclass(frozen=True)
class Regression:
    """One output per label, a real number; the error is in the labels' unit, which all labels of a sample share.

    Labels stay as they are; a network's outputs are standardised, ``(label - mean) / deviation``. There is one
    deviation for all labels, for their errors count alike. What training minimises is the square of the difference, or,
    where networks are judged by the absolute one, its Huber loss [Huber1964].

    Attributes:
        judged_by: ``mae``, the mean absolute error over samples and labels; ``rmse``, the root of the mean square.
        mean: Of every label in the training split.
        deviation: Root mean square of the labels' differences from these means.
        worst: The error of what says of all samples the same: of ``mae`` the medians of the training split, of ``rmse``
            the means.
    """

    judged_by: DistanceKind
    mean: tuple[float, ...]
    deviation: float
    worst: float

    @classmethod
    def of(cls, y: npt.NDArray[Any], judged_by: DistanceKind) -> "Regression":
        """Return the regression of training labels, N x labels; raises EnvError where they do not differ."""
        values = y.astype(np.float64)
        mean = values.mean(axis=0)
        deviation = float(np.sqrt(np.square(values - mean).mean()))
        if not deviation > 0:
            raise EnvError("all labels of the training split are equal, so there is nothing to estimate")
        constant = float(np.abs(values - np.median(values, axis=0)).mean()) if judged_by == "mae" else deviation
        return cls(judged_by, tuple(mean.tolist()), deviation, constant)

    def check_labels(self, y: torch.Tensor, count: int) -> None:  # noqa: D102
        if y.dtype != torch.float32 or tuple(y.shape) != (count, len(self.mean)):
            raise EnvError(
                f"y is {y.dtype} of shape {tuple(y.shape)}; it must be float32 with {len(self.mean)} labels for each "
                f"of the {count} samples"
            )

    def output_count(self, class_count: int, input_size: int) -> int:  # noqa: D102
        return len(self.mean)

    def values(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return what outputs say in the labels' unit, float64."""
        return outputs.double() * self.deviation + torch.tensor(self.mean, dtype=torch.float64, device=outputs.device)

    def loss(  # noqa: D102
        self,
        outputs: torch.Tensor,
        x: torch.Tensor,
        y: torch.Tensor,
        *,
        label_smoothing: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> torch.Tensor:
        if label_smoothing:
            raise EnvError(f"label_smoothing is {label_smoothing:g}; a regression has no classes, so it must be 0")
        wanted = (y - torch.tensor(self.mean, device=y.device)) / self.deviation
        if self.judged_by == "rmse":
            losses = F.mse_loss(outputs, wanted, reduction="none")
        else:
            losses = F.smooth_l1_loss(outputs, wanted, reduction="none", beta=_HUBER_BEND)
        return losses.mean() if reduction == "mean" else losses.mean(dim=1).sum()

    def distillation(  # noqa: D102
        self, outputs: torch.Tensor, taught: torch.Tensor, *, temperature: float
    ) -> torch.Tensor:
        return (outputs - taught).square().mean()

    def error(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> float:  # noqa: D102
        mean = float(self._distances(outputs, y).mean())
        return mean if self.judged_by == "mae" else sqrt(mean)

    def measured(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> Measured:
        """Return the error with its noise.

        A mean absolute error varies as the mean of its samples' distances does. The root of a mean square m, whose own
        standard error is s, varies as s / (2 sqrt(m)): the first term of its Taylor series (the delta method).
        """
        error, distances = self.error(outputs, x, y), self._distances(outputs, y)
        if len(distances) < 2:
            return Measured(error, None, len(distances))
        spread = float(distances.std(ddof=1)) / sqrt(len(distances))
        if self.judged_by == "rmse":
            spread = spread / (2 * error) if error else 0.0
        worth = (error / spread) ** 2 if spread else float(len(distances))
        return Measured(error, spread, max(1, min(_MOST_SAMPLES, round(worth))))

    def _distances(self, outputs: torch.Tensor, y: torch.Tensor) -> npt.NDArray[np.float64]:
        """Return what every sample adds to the error, averaged over its labels: |difference|, or its square."""
        differences = (self.values(outputs) - y.double()).numpy()
        each = np.abs(differences) if self.judged_by == "mae" else np.square(differences)
        averaged: npt.NDArray[np.float64] = each.mean(axis=1)
        return averaged


CLASSIFICATION: Purpose = Classification()
RECONSTRUCTION: Purpose = Reconstruction()
