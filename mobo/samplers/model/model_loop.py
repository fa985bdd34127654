"""The body of every model-based sampler: a Sobol start, then a choice by models. Torch is imported for a model only."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mobo.samplers.history import History
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.two_phases import TwoPhases
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial

if TYPE_CHECKING:
    from mobo.samplers.model.modelled import Choose
    from mobo.samplers.model.outcome_model import OutcomeModel


class ModelLoop:
    """Takes in trials and proposes designs; what makes one sampler different from another is given to ``suggest``.

    Args:
        space: The search space.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Seed of the study.
        initial_trials: Sobol trials before the first model; None for the number of parameters, 5 to 10.
        known: Outcomes that are taken exactly, and by which infeasible designs are passed over.
        fit: How models are fitted.
        compress_tails: See :class:`~mobo.samplers.model.outcome_model.OutcomeModel`.
    """

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint],
        *,
        seed: int,
        initial_trials: int | None,
        known: KnownOutcomes | None,
        fit: FitSettings,
        compress_tails: bool = False,
    ) -> None:
        self._space, self._objectives, self._constraints = space, tuple(objectives), tuple(constraints)
        self._seed, self._known, self._fit = seed, known, fit
        self._compress_tails = compress_tails
        self._phases = TwoPhases(space, objectives, constraints, seed=seed, initial_trials=initial_trials, known=known)
        self._model: OutcomeModel | None = None

    def observe(self, trials: Sequence[Trial]) -> None:
        """Take in trials: done ones as measured, refused and failed ones as places to avoid, others as pending."""
        self._phases.history.observe(trials)

    def suggest(self, count: int, choose: "Choose") -> list[Design]:
        """Return the next designs: of the Sobol sequence at first, of ``choose`` then."""

        def proposed(history: History, missing: int) -> list[Design]:
            from mobo.samplers.model.modelled import propose

            return propose(history, missing, self._outcome_model(), choose, seed=self._seed)

        return self._phases.suggest(count, proposed)

    def _outcome_model(self) -> "OutcomeModel":
        from mobo.samplers.model.outcome_model import OutcomeModel

        # Kept between suggestions only because it remembers the last fit; a fresh one would come to the same.
        if self._model is None:
            self._model = OutcomeModel(
                self._space,
                self._objectives,
                self._constraints,
                known=self._known,
                settings=self._fit,
                compress_tails=self._compress_tails,
            )
        return self._model
