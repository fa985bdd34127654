"""The trained networks of a study: made by training, or found where they were kept."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from envs.compression.evaluator import CALIBRATION_COUNT
from envs.compression.structure.groups import group_channels
from envs.compression.training.gradual import GradualPruning
from mobo.base.seeds import derive_seed
from mobo.space.search_space import Design
from mobo.tinyml.carried_policy import carried_policy
from mobo.tinyml.designs import Designs
from mobo.tinyml.model_files import load_trained
from mobo.tinyml.network import DesignedNetwork
from mobo.tinyml.training import TrainingSettings, error_rate, train


@dataclass(frozen=True)
class Training:
    """One trained network.

    Attributes:
        design: The design it was trained for.
        network: The network, in evaluation mode; nobody changes its weights any more.
        split: The same with its layers split as the design says, what a compression starts from; the network itself
            where none is.
        float_validation_error: Its error on the validation split.
    """

    design: Design
    network: DesignedNetwork
    split: DesignedNetwork
    float_validation_error: float


class Trainings(Protocol):
    """Where the trained network of a design comes from."""

    def of(self, design: Design, *, seed: int) -> Training:
        """Return the training of a design; ``seed`` is the trial's, and all that is random follows from it.

        Raises:
            TrialFailed: The training diverged.
            MoboError: A kept network is missing, damaged, or that of another design.
        """
        ...


class FreshTrainings:
    """Trains the network of every design that is asked for, by the design's own recipe.

    Args:
        designs: The designs of the study.
    """

    def __init__(self, designs: Designs) -> None:
        self._designs = designs

    def of(self, design: Design, *, seed: int) -> Training:
        """Build and train a design's network.

        Raises:
            TrialFailed: The training diverged.
        """
        network = initial_network(self._designs, design, seed=seed)
        train_network(self._designs, network, design, seed=seed)
        return finished(self._designs, network, design)


class StoredTrainings:
    """Reads the weights of one trial back, in the place of training.

    Args:
        designs: The designs of the study; the only one asked for is the trial's.
        directory: The trial's model directory.
    """

    def __init__(self, designs: Designs, directory: Path) -> None:
        self._designs, self._directory = designs, directory

    def of(self, design: Design, *, seed: int) -> Training:
        """Return the network with the weights that the trial's training ended with.

        Raises:
            MoboError: They are missing, damaged, or those of another network.
        """
        network = initial_network(self._designs, design, seed=seed)
        load_trained(self._directory, network.module)
        return finished(self._designs, network, design)


def initial_network(designs: Designs, design: Design, *, seed: int) -> DesignedNetwork:
    """Return a design's network with the weights its training starts from; ``seed`` is the trial's."""
    return designs.network(design, seed=derive_seed(seed, 0, "init"))


def train_network(designs: Designs, network: DesignedNetwork, design: Design, *, seed: int) -> None:
    """Train a network in place by its design's recipe; ``seed`` is the trial's.

    Raises:
        TrialFailed: The training diverged.
    """
    config, values = designs.config, designs.values(design)
    train(
        network.module,
        designs.data.train,
        TrainingSettings(
            epochs=int(values["epochs"]),
            learning_rate=float(values["learning_rate"]),
            weight_decay=float(values["weight_decay"]),
            batch_size=int(values["batch_size"]),
            label_smoothing=float(values["label_smoothing"]),
        ),
        seed=derive_seed(seed, 0, "train"),
        device=config.compute.device,
        after_step=_masking(designs, network, design, seed=seed) if config.compression.schedule == "agp" else None,
    )


def finished(designs: Designs, network: DesignedNetwork, design: Design) -> Training:
    """Return a network that was trained as a training: its layers split as its design says, and its error measured."""
    split = designs.networks.decomposed(network, designs.values(design))
    return Training(design, network, split, error_rate(network.module, designs.data.validation))


def _masking(designs: Designs, network: DesignedNetwork, design: Design, *, seed: int) -> Callable[[float], None]:
    """Return what prunes a network while it trains to what its design carries; to be called after every step."""
    settings = designs.config.compression
    policy = carried_policy(network.space, designs.values(design))
    # The seed of the evaluator, so that a random ranking removes what it masked.
    seed = derive_seed(seed, 0, "recovery")
    pruning = GradualPruning(
        network.module,
        network.trace,
        network.groups,
        kept=group_channels(network.groups, policy, channel_round=settings.channel_round),
        criterion=settings.criterion,
        samples=designs.data.train.drawn(CALIBRATION_COUNT, seed=seed),
        seed=seed,
    )
    return pruning.after_step
