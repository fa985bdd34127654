"""What a network is trained for and judged by: telling classes apart, or reconstructing what is normal."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from envs.compression.float_network.stored_inputs import Inputs, in_memory
from envs.errors import EnvError


class Purpose(Protocol):
    """The loss and the error of a kind of task; both are minimised."""

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
            y: Labels, N.
            label_smoothing: Smoothing of the labels.
            reduction: Over the samples.
        """
        ...

    def distillation(self, outputs: torch.Tensor, taught: torch.Tensor, *, temperature: float) -> torch.Tensor:
        """Return how far the outputs are from a teacher's, the mean over the samples.

        Args:
            outputs: The network's outputs, N x outputs.
            taught: The teacher's outputs for the same inputs.
            temperature: Softens the classes of a classification; a reconstruction has none.
        """
        ...

    def error(self, outputs: torch.Tensor, x: Inputs, y: torch.Tensor) -> float:
        """Return what networks are compared by, 0 to 1; arguments as for :meth:`loss`."""
        ...


ErrorKind = Literal["share", "balanced", "macro_f1"]


@dataclass(frozen=True)
class Classification:
    """One output per class; the error is the share of samples that get a wrong class, or one that weighs classes alike.

    Attributes:
        judged_by: ``share`` of wrong samples; ``balanced``, 1 minus the mean over the classes of the share recognised;
            ``macro_f1``, 1 minus the mean over the classes of F1. Classes without a sample do not count.
        class_weights: What a sample of each class counts in the loss; empty where all count alike.
    """

    judged_by: ErrorKind = "share"
    class_weights: tuple[float, ...] = ()

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


class Reconstruction:
    """One output per input value; what the network, trained on normal samples, reconstructs badly is anomalous.

    The error is 1 minus the area under the ROC curve of the squared reconstruction error; label 1 is anomalous.
    """

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

    @staticmethod
    def scores(outputs: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the mean squared reconstruction error of every sample; the higher, the more anomalous."""
        return (outputs - x.flatten(1)).square().mean(dim=1)


CLASSIFICATION: Purpose = Classification()
RECONSTRUCTION: Purpose = Reconstruction()
