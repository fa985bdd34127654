"""The body of every model-based sampler: believe, then choose. Torch is imported for a model only.

A second design is chosen as if the first were running.
"""

from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, TypeVar

from mobo.base.seeds import derive_seed
from mobo.samplers.history import History
from mobo.samplers.model.settings import ModelBasedSettings
from mobo.samplers.sobol_start import SobolStartSampler
from mobo.space.search_space import Design
from mobo.space.trial import Trial

if TYPE_CHECKING:
    from torch import Tensor

    from mobo.samplers.model.outcome_model import Beliefs, FrontOutcomes, OutcomeModel
    from mobo.samplers.model.shared_trainings import SharedTrainings

ModelBasedT = TypeVar("ModelBasedT", bound=ModelBasedSettings)


class ModelBasedSampler(SobolStartSampler[ModelBasedT]):
    """Starts with a Sobol sequence, then fits models to the trials and asks the subclass's ``choose`` where to go.

    Done trials are taken as measured, refused and failed ones as places to avoid, others as pending.

    Attributes:
        compress_tails: See :class:`~mobo.samplers.model.outcome_model.OutcomeModel`.
        takes_earlier: Whether its models look at what earlier studies found.
    """

    compress_tails: ClassVar[bool] = False
    takes_earlier: ClassVar[bool] = False

    @abstractmethod
    def choose(self, beliefs: "Beliefs", history: History, seed: int) -> "Tensor | None":
        """Return the point to try next, ``d``; None where every point looked at was tried or is known to be infeasible.

        Args:
            beliefs: What the models say.
            history: The trials they come from, pending ones and the designs chosen just now included.
            seed: Decides everything random in the choice.
        """

    @property
    def front(self) -> "FrontOutcomes":
        """See :class:`~mobo.samplers.model.outcome_model.OutcomeModel`."""
        return "measured"

    def trainings(self) -> "SharedTrainings | None":
        """Return what was trained, where the sampler counts what evaluations share."""
        return None

    def designed(self, point: "Tensor") -> Design:
        """Return the design of a point that was chosen, ``d``."""
        return self.space.decode(point.numpy())

    def propose(self, count: int) -> list[Design]:
        """Return the designs that ``choose`` leads to, one after the other; fewer where there is nothing left.

        Raises:
            SamplerError: A model cannot be fitted.
        """
        import torch

        from mobo.base.quiet_libraries import one_thread, quiet

        ahead = History()
        ahead.observe(self.history.trials)
        designs: list[Design] = []
        with quiet(), one_thread():
            for _ in range(count):
                step_seed = derive_seed(self.seed, len(ahead), "model")
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(step_seed)
                    point = self.choose(self._model.beliefs(ahead, self.trainings()), ahead, step_seed)
                if point is None:
                    break
                designs.append(self.designed(point))
                number = max((trial.number for trial in ahead.trials), default=-1) + 1
                ahead.observe([Trial(number=number, design=designs[-1], seed=step_seed)])
        return designs

    # Kept between suggestions only because it remembers the last fit; a fresh one would come to the same.
    @cached_property
    def _model(self) -> "OutcomeModel":
        from mobo.samplers.model.outcome_model import OutcomeModel

        return OutcomeModel(
            self.space,
            self.objectives,
            self.constraints,
            known=self.exact,
            settings=self.settings.fit,
            compress_tails=self.compress_tails,
            front=self.front,
            earlier=self.earlier if self.takes_earlier else (),
        )
