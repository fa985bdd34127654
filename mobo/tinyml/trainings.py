"""The trained networks of a study: made by training, or found where they were kept."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from envs.compression.evaluator import CALIBRATION_COUNT, FinetunedNetwork
from envs.compression.structure.groups import group_channels
from envs.compression.training.gradual import GradualPruning
from mobo.base.errors import MachineError, MoboError, TrialStopped
from mobo.base.remembered import Remembered
from mobo.base.seeds import derive_seed
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.search_space import Design
from mobo.space.stopping import StoppingRule
from mobo.space.trial import FinetuningReference, TrainingReference
from mobo.space.work import training_part
from mobo.tinyml.carried_policy import carried_policy
from mobo.tinyml.counted_work import training_names
from mobo.tinyml.designs import Designs
from mobo.tinyml.early_stopping import rung_outcomes
from mobo.tinyml.model_files import load_finetuned, load_trained, weights_bytes
from mobo.tinyml.network import DesignedNetwork
from mobo.tinyml.training import TrainingSettings, error_rate, train

# So many trained networks one process keeps at hand: children come mostly to the newest.
REMEMBERED_TRAININGS = 8


@dataclass(frozen=True)
class Training:
    """One trained network.

    Attributes:
        design: The design that is judged with it; what it was trained for has the same training part.
        network: The network, in evaluation mode; nobody changes its weights any more.
        split: The same with its layers split as the design says, what a compression starts from; the network itself
            where none is.
        float_validation_error: Its error on the validation split.
        seed: Seed of the trial that trained it.
        digest: SHA-256 of its weights as they are kept.
        rung_errors: Its error on the validation split at the rungs of its training, by rung; empty if it was read.
    """

    design: Design
    network: DesignedNetwork
    split: DesignedNetwork
    float_validation_error: float
    seed: int
    digest: str
    rung_errors: Mapping[float, float] = field(default_factory=dict)


class Trainings(Protocol):
    """Where the trained network of a design comes from."""

    def of(
        self,
        design: Design,
        *,
        seed: int,
        earlier: TrainingReference | None = None,
        stopping: StoppingRule | None = None,
    ) -> Training:
        """Return the training of a design.

        Args:
            design: The design.
            seed: The trial's; all that is random in a new training follows from it.
            earlier: The training that the trial uses, if it is a child.
            stopping: What a new training is held against at its rungs; without it it is finished.

        Raises:
            TrialFailed: The training diverged.
            TrialStopped: It ended early.
            MachineError: A kept network is missing, damaged, or that of another design.
        """
        ...

    def finetuned(self, sibling: FinetuningReference) -> FinetunedNetwork:
        """Return the fine-tuned network of an earlier trial.

        Raises:
            MachineError: It is missing, damaged, or not the one it was.
        """
        ...


class StudyTrainings:
    """Trains the network of a design by its own recipe; that of a child is read from the trial that trained it.

    The last few are remembered: reading one again would come to the same.

    Args:
        designs: The designs of the study.
        folder_of: Returns the model directory of a trial by its number; None where no trial has children.
        adopted: Model directories of an earlier run whose weights are taken in the place of a training, by the training
            part of the designs they serve.
    """

    def __init__(
        self,
        designs: Designs,
        folder_of: Callable[[int], Path] | None = None,
        adopted: Mapping[Design, Path] | None = None,
    ) -> None:
        self._designs, self._folder_of, self._adopted = designs, folder_of, adopted or {}
        self._names = training_names(designs.config, designs.hyperparameters.space.names)
        self._remembered: Remembered[str, Training] = Remembered(REMEMBERED_TRAININGS)

    def of(
        self,
        design: Design,
        *,
        seed: int,
        earlier: TrainingReference | None = None,
        stopping: StoppingRule | None = None,
    ) -> Training:
        """Return a design's training, new or that of an earlier trial.

        Raises:
            TrialFailed: The training diverged.
            TrialStopped: It ended early.
            MachineError: The weights of the earlier one are missing, damaged or others than they were.
        """
        if earlier is None:
            training = self._trained(design, seed=seed, stopping=stopping)
            self._remembered.get(training.digest, lambda: training)
            return training
        known = self._remembered.get(earlier.digest, lambda: self._read(design, earlier))
        return _for_design(self._designs, replace(known, seed=earlier.seed, rung_errors={}), design)

    def finetuned(self, sibling: FinetuningReference) -> FinetunedNetwork:
        """Return the fine-tuned network of an earlier trial; raises MachineError where it is not what it was."""
        return load_finetuned(self._kept(sibling.trial), sibling.digest)

    def _kept(self, trial: int) -> Path:
        if self._folder_of is None:
            raise MoboError(f"the network of trial {trial} is asked for where none is kept; train it again")
        return self._folder_of(trial)

    def _trained(self, design: Design, *, seed: int, stopping: StoppingRule | None) -> Training:
        adopted = self._adopted.get(training_part(design, self._names))
        if adopted is not None:
            return StoredTrainings(self._designs, adopted).of(design, seed=seed)
        network = initial_network(self._designs, design, seed=seed)
        rungs = Rungs(self._designs, network, design, stopping)
        train_network(self._designs, network, design, seed=seed, after_epoch=rungs.after_epoch)
        return replace(finished(self._designs, network, design, seed=seed), rung_errors=rungs.errors)

    def _read(self, design: Design, earlier: TrainingReference) -> Training:
        folder = self._kept(earlier.trial)
        training = StoredTrainings(self._designs, folder).of(design, seed=earlier.seed)
        if training.digest != earlier.digest:
            raise MachineError(
                f"the weights in {folder} are not those that trial {earlier.trial} was trained to (SHA-256 "
                f"{training.digest[:12]} in place of {earlier.digest[:12]}); restore a copy of the run"
            )
        return training


class StoredTrainings:
    """Reads the weights of one trial back, in the place of training.

    Args:
        designs: The designs of the study; the only one asked for is the trial's.
        directory: The model directory of the trial that trained them.
    """

    def __init__(self, designs: Designs, directory: Path) -> None:
        self._designs, self._directory = designs, directory

    def of(
        self,
        design: Design,
        *,
        seed: int,
        earlier: TrainingReference | None = None,
        stopping: StoppingRule | None = None,
    ) -> Training:
        """Return the network with the weights that the trial's training ended with.

        Raises:
            MachineError: They are missing, damaged, or those of another network.
        """
        network = initial_network(self._designs, design, seed=seed)
        load_trained(self._directory, network.module)
        return finished(self._designs, network, design, seed=seed)

    def finetuned(self, sibling: FinetuningReference) -> FinetunedNetwork:
        """Refuse: it reads one trained network, and that alone; raises MoboError."""
        raise MoboError(f"the network of trial {sibling.trial} is asked for where only {self._directory} is read")


def initial_network(designs: Designs, design: Design, *, seed: int) -> DesignedNetwork:
    """Return a design's network with the weights its training starts from; ``seed`` is the trial's."""
    return designs.network(design, seed=derive_seed(seed, 0, "init"))


class Rungs:
    """Measures a network at the rungs of its training, and ends the training where its rule says so.

    Args:
        designs: The designs of the study.
        network: The network while it is trained.
        design: What it is trained for.
        stopping: What it is held against; without it the errors are only written down.

    Attributes:
        errors: The errors on the validation split, by rung.
    """

    def __init__(
        self, designs: Designs, network: DesignedNetwork, design: Design, stopping: StoppingRule | None
    ) -> None:
        self._designs, self._network, self._stopping = designs, network, stopping
        self._validation = designs.data_of(design).validation
        epochs = int(designs.values(design)["epochs"])
        self._epochs = epochs
        # Of two rungs in one epoch the later one counts.
        self._rungs = {max(1, round(rung * epochs)): rung for rung in sorted(designs.config.stopping.rungs)}
        self.errors: dict[float, float] = {}

    def after_epoch(self, done: int) -> None:
        """Measure the network if the epoch is a rung; raises TrialStopped."""
        rung = self._rungs.get(done)
        if rung is None:
            return
        error = error_rate(self._network.module, self._validation, device=self._designs.device)
        self.errors[rung] = error
        rule, scale = self._stopping, self._designs.config.error_scale
        if rule is not None and rule.stops(rung, error):
            raise TrialStopped(
                f"its training was stopped after {done} of {self._epochs} epochs, at an error of {scale.text(error)}: "
                f"the chance that its end is worth its price was {100 * rule.chance_at(rung, error):.2g} %",
                {**rung_outcomes(self.errors), VALIDATION_ERROR: rule.expected_error(rung, error)},
            )


def train_network(
    designs: Designs,
    network: DesignedNetwork,
    design: Design,
    *,
    seed: int,
    after_epoch: Callable[[int], None] | None = None,
) -> None:
    """Train a network in place by its design's recipe.

    Args:
        designs: The designs of the study.
        network: The network as it starts.
        design: What it is trained for.
        seed: The trial's.
        after_epoch: Called after epochs, see :func:`mobo.tinyml.training.train`.

    Raises:
        TrialFailed: The training diverged.
    """
    config, values = designs.config, designs.values(design)
    train(
        network.module,
        designs.training_samples(design),
        TrainingSettings(
            epochs=int(values["epochs"]),
            learning_rate=float(values["learning_rate"]),
            weight_decay=float(values["weight_decay"]),
            batch_size=int(values["batch_size"]),
            label_smoothing=float(values["label_smoothing"]),
            precision=config.training.precision,
        ),
        seed=derive_seed(seed, 0, "train"),
        device=designs.device,
        after_step=_masking(designs, network, design, seed=seed) if config.compression.schedule == "agp" else None,
        after_epoch=after_epoch,
    )


def finished(designs: Designs, network: DesignedNetwork, design: Design, *, seed: int) -> Training:
    """Return a network that was trained as a training: its layers split as its design says, and its error measured."""
    return Training(
        design,
        network,
        designs.networks.decomposed(network, designs.values(design)),
        error_rate(network.module, designs.data_of(design).validation, device=designs.device),
        seed,
        sha256(weights_bytes(network.module)).hexdigest(),
    )


def _for_design(designs: Designs, training: Training, design: Design) -> Training:
    """Return a training for another design with the same training part."""
    if design == training.design:
        return training
    split = designs.networks.decomposed(training.network, designs.values(design))
    return replace(training, design=design, split=split)


def _masking(designs: Designs, network: DesignedNetwork, design: Design, *, seed: int) -> Callable[[float], None]:
    """Return what prunes a network while it trains to what its design carries; to be called after every step."""
    settings = designs.config.compression
    policy = carried_policy(network.space, designs.values(design), designs.cost_function(design))
    # The seed of the evaluator, so that a random ranking removes what it masked.
    seed = derive_seed(seed, 0, "recovery")
    pruning = GradualPruning(
        network.module,
        network.trace,
        network.groups,
        kept=group_channels(network.groups, policy, channel_round=settings.channel_round),
        criterion=settings.criterion,
        samples=designs.train_of(design).drawn(CALIBRATION_COUNT, seed=seed),
        seed=seed,
    )
    return pruning.after_step
