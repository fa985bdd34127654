"""A search of policies in every trial: an agent or one of its rivals, inside targets that the design proposes."""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from pathlib import Path

from envs.compression.evaluator import PolicyEvaluator
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.policy import CompressionPolicy
from envs.episode.targets import Targets
from envs.search.problem import CompressionProblem
from envs.search.registry import find_policy
from hw_models.files import FileError, read_bytes
from mobo.base.errors import MoboError
from mobo.base.seeds import derive_seed
from mobo.space.columns import REWARD_ERROR
from mobo.space.search_space import Design, FloatParameter
from mobo.tinyml.config import CompressionSettings, SpaceEntry, StudyConfig
from mobo.tinyml.designs import Designs
from mobo.tinyml.hyperparameters import FLASH_TARGET, LATENCY_TARGET, RAM_TARGET
from mobo.tinyml.methods.bounded import BoundedMethod
from mobo.tinyml.methods.method import ChosenPolicy
from mobo.tinyml.model_names import AGENT
from mobo.tinyml.training import error_rate
from mobo.tinyml.trainings import Training

_TOLD_AT_PERCENT = (25, 50, 75)


class SearchedMethod(BoundedMethod):
    """One of the methods of :mod:`envs.search.registry` looks for the policy of every trained network.

    Args:
        designs: The designs of the study.
        on_policy: Called whenever a policy was measured.

    Raises:
        MoboError: A checkpoint to start from that cannot be read.
    """

    def __init__(self, designs: Designs, *, on_policy: Callable[[], None]) -> None:
        super().__init__(designs, on_policy=on_policy)
        self._warm_start = _checkpoint(designs.config.compression.warm_start)

    @staticmethod
    def entries(config: StudyConfig) -> dict[str, SpaceEntry]:
        """Return the targets of a trial, fractions of the bounds; that of the latency only where it is bounded."""
        bounded = {constraint.name for constraint in config.constraints}
        names = (FLASH_TARGET, RAM_TARGET, *([LATENCY_TARGET] if "latency_ms" in bounded else []))
        return {name: FloatParameter(name=name, low=0.3, high=1.0) for name in names}

    @staticmethod
    def check_entries(entries: Mapping[str, SpaceEntry], settings: CompressionSettings) -> None:
        """Refuse nothing: any fraction of a bound will do."""

    def targets(self, design: Design) -> Targets:
        """Return the trial's own limits: the fractions that the design proposes, of the budget.

        ``flash_target`` is a fraction of the bound on the model's flash where there is one, else of the whole image's.
        Bounds without a fraction (energy, MACs) stay as they are.
        """
        budget, values = self._designs.budget, self._designs.values(design)
        flash = "flash_model_bytes" if "flash_model_bytes" in budget.limits else "flash_image_bytes"
        fractions = {flash: FLASH_TARGET, "ram_bytes": RAM_TARGET, "latency_ms": LATENCY_TARGET}
        return Targets(
            {
                name: limit * (float(values[fractions[name]]) if fractions.get(name) in values else 1.0)
                for name, limit in budget.limits.items()
            },
            budget.confidences,
        )

    def choose(self, training: Training, evaluator: PolicyEvaluator, *, seed: int) -> ChosenPolicy:
        """Search for the policy of least error inside the targets.

        Raises:
            BudgetError: Not even the most compressed network fits.
        """
        designs, network, settings = self._designs, training.split, self._designs.config.compression
        reward = designs.data_of(training.design).reward
        attainable = self.attainable(network.space, training.design)

        def evaluate(policy: CompressionPolicy) -> float:
            share = _share(evaluator.error(policy), reward)
            self._on_policy()
            return share

        problem = CompressionProblem(
            space=network.space,
            cost_of=designs.cost_function(training.design),
            targets=attainable.targets,
            evaluate=evaluate,
            baseline_error=_share(error_rate(network.module, reward, device=designs.device), reward),
            importance=evaluator.importance if settings.ranks_globally else None,
        )
        found = find_policy(
            settings.method,
            problem,
            evaluations=settings.evaluations,
            seed=derive_seed(seed, 0, "agent"),
            warm_start=self._warm_start,
        )
        findings = {
            REWARD_ERROR: found.error * reward.purpose.worst,
            **_earned(found.history, reward.purpose.worst),
            "target_relaxation": attainable.relaxation,
            "agent_evaluations": float(found.evaluations),
        }
        return ChosenPolicy(found.policy, findings, found.agent)


def _earned(history: Sequence[float | None], worst: float) -> dict[str, float]:
    """Return the least error after each quarter of a search's evaluations but the last, where one was inside."""
    found = {share: history[ceil(len(history) * share / 100) - 1] for share in _TOLD_AT_PERCENT}
    return {f"{REWARD_ERROR}_at_{share}": error * worst for share, error in found.items() if error is not None}


def _share(error: float, samples: LabelledSamples) -> float:
    """Return an error as an agent knows errors, 0 to 1: one in the unit of labels as a share of that of a constant."""
    return min(1.0, error / samples.purpose.worst)


def _checkpoint(path: Path | None) -> bytes | None:
    """Return the checkpoint that the agent of every trial starts from, if one is named."""
    try:
        return None if path is None else read_bytes(path)
    except FileError as error:
        raise MoboError(
            f"compression.warm_start: {error}; name the {AGENT} of a finished trial, or drop warm_start"
        ) from error
