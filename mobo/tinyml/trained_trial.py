"""The inner loop alone: the main problem for one trial whose network is trained already."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.policy import CompressionPolicy
from hw_models.device import Device
from hw_models.runtime import Runtime
from mobo.space.search_space import Design
from mobo.tinyml.candidate import Candidate
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_files import load_trained
from mobo.tinyml.problem import SaveModel, TinyMLProblem
from mobo.tinyml.tasks.data import TaskData


class TrainedTrialProblem(TinyMLProblem):
    """The main problem with the trained weights of one trial in the place of training.

    Args:
        config: The study, with the compression that is wanted now.
        data: The task's data.
        device: The board.
        runtime: The inference engine.
        trained: The model directory of the trial; every evaluation must be of its design.
        save_model: Called with the trial's number and its model files.
        on_policy: Called whenever the search of policies has measured one.
        on_finetune: Called when the policy is chosen and the final network is made.

    Raises:
        MoboError: A bad ``[space]``.
    """

    def __init__(
        self,
        config: StudyConfig,
        data: TaskData,
        device: Device,
        runtime: Runtime,
        *,
        trained: Path,
        save_model: SaveModel,
        on_policy: Callable[[], None],
        on_finetune: Callable[[], None],
    ) -> None:
        super().__init__(config, data, device, runtime, save_model=save_model, on_policy=on_policy)
        self._trained, self._on_finetune = trained, on_finetune

    def train(self, candidate: Candidate, design: Design, *, seed: int) -> None:
        """Give a candidate the weights that the trial's training ended with.

        Raises:
            MoboError: They are missing, damaged, or those of another network.
        """
        load_trained(self._trained, candidate.module)

    def finetuned(self, evaluator: PolicyEvaluator, policy: CompressionPolicy) -> tuple[nn.Module, QuantisedNetwork]:
        """Return the final network, in float and in integers; raises EnvError if the fine-tuning diverged."""
        self._on_finetune()
        return super().finetuned(evaluator, policy)
