"""How a design's network is trained: its recipe, and the masks of gradual pruning."""

from collections.abc import Callable, Mapping

from envs.compression.evaluator import CALIBRATION_COUNT
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.structure.groups import group_channels
from envs.compression.training.gradual import GradualPruning
from mobo.base.seeds import derive_seed
from mobo.space.search_space import Value
from mobo.tinyml.candidate import Candidate
from mobo.tinyml.config import CompressionSettings
from mobo.tinyml.fixed_compression import fixed_policy
from mobo.tinyml.training import TrainingSettings


def training_settings(values: Mapping[str, Value]) -> TrainingSettings:
    """Return the recipe among all hyperparameters of a design."""
    return TrainingSettings(
        epochs=int(values["epochs"]),
        learning_rate=float(values["learning_rate"]),
        weight_decay=float(values["weight_decay"]),
        batch_size=int(values["batch_size"]),
        label_smoothing=float(values["label_smoothing"]),
    )


def masking(
    candidate: Candidate,
    values: Mapping[str, Value],
    settings: CompressionSettings,
    train: LabelledSamples,
    *,
    seed: int,
) -> Callable[[float], None]:
    """Return what prunes a candidate of the fixed method while it trains; to be called after every step.

    Args:
        candidate: The network.
        values: All hyperparameters of its design.
        settings: How it is compressed.
        train: Training samples.
        seed: The trial's.
    """
    policy = fixed_policy(candidate.space, values)
    # The seed of the evaluator, so that a random ranking removes what it masked.
    seed = derive_seed(seed, 0, "recovery")
    pruning = GradualPruning(
        candidate.module,
        candidate.trace,
        candidate.groups,
        kept=group_channels(candidate.groups, policy, channel_round=settings.channel_round),
        criterion=settings.criterion,
        samples=train.drawn(CALIBRATION_COUNT, seed=seed),
        seed=seed,
    )
    return pruning.after_step
