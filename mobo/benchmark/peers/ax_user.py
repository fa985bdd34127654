"""Ax as its users call it: a ``Client`` with nothing set but the experiment, asked and told."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial


class AxUserSettings(BaseModel):
    """There is nothing to set: everything is Ax's default, five initial trials (the shared start counts) included."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def ax_user(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    *,
    seed: int,
    settings: AxUserSettings,
) -> "AxUser":
    """Return Ax's own choice of method."""
    return AxUser(space, objectives, constraints, seed=seed)


class AxUser:
    """One Ax client behind our two verbs; references become objective thresholds, as our sampler ``ax`` has it.

    Args:
        space: What to search.
        objectives: What is minimised.
        constraints: What must hold.
        seed: Ax's seed.
    """

    def __init__(
        self, space: SearchSpace, objectives: Sequence[Objective], constraints: Sequence[Constraint], *, seed: int
    ) -> None:
        # Importing Ax takes seconds.
        from ax.api.client import Client

        from mobo.samplers.ax.client import ax_parameter, is_fixed, outcome_constraints

        self._space = space
        self._objectives = tuple(objectives)
        self._constraints = tuple(constraints)
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(parameters=[ax_parameter(item) for item in space if not is_fixed(item)])
        self._client.configure_optimization(
            objective=", ".join(f"-objective_{index}" for index in range(len(self._objectives))),
            outcome_constraints=outcome_constraints(self._objectives, self._constraints),
        )
        # Proposed and not yet told, by design.
        self._open: dict[Design, int] = {}

    def suggest(self, count: int) -> list[Design]:
        """Return the next designs."""
        from mobo.base.quiet_libraries import one_thread, quiet
        from mobo.samplers.ax.client import design_of

        with quiet(), one_thread():
            suggested: dict[int, Any] = dict(self._client.get_next_trials(max_trials=count))
        designs = {index: design_of(self._space, parameters) for index, parameters in suggested.items()}
        self._open |= {design: index for index, design in designs.items()}
        return [designs[index] for index in sorted(designs)]

    def observe(self, trials: Sequence[Trial]) -> None:
        """Tell finished trials, each once; designs that are not Ax's own are attached."""
        from mobo.base.quiet_libraries import quiet
        from mobo.samplers.ax.client import attach, finish, metrics_of

        with quiet():
            for trial in trials:
                if trial.state.is_finished:
                    index = self._open.pop(trial.design, None)
                    if index is None:
                        index = attach(self._client, self._space, trial.design)
                    finish(self._client, index, trial, metrics_of(trial, self._objectives, self._constraints))
