"""The only door to Ax: a fresh client, told everything, asked once.

Imported only when a suggestion is made, because importing Ax takes seconds.

[Daulton2021] S. Daulton, M. Balandat, E. Bakshy: Parallel Bayesian Optimization of Multiple Noisy Objectives with
Expected Hypervolume Improvement. NeurIPS 2021. (Ax uses its logarithmic form, Ament et al., NeurIPS 2023.)
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from ax.adapter.registry import Generators
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.exceptions.core import AxError, SearchSpaceExhausted
from ax.generation_strategy.generation_node import GenerationNode
from ax.generation_strategy.generation_strategy import GenerationStrategy
from ax.generation_strategy.generator_spec import GeneratorSpec
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.errors import BotorchError
from linear_operator.utils.errors import NotPSDError

from mobo.base.errors import SamplerError
from mobo.base.quiet_libraries import one_thread, quiet
from mobo.samplers.ax.settings import AxSettings
from mobo.samplers.uncompiled_botorch import keep_botorch_uncompiled
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import INACTIVE_PLACE, Design, FloatParameter, IntParameter, Parameter, SearchSpace, Value
from mobo.space.trial import Trial, TrialState

keep_botorch_uncompiled()

# With more, the hypervolume's boxes become too many; Ax then scalarises.
_MAX_HYPERVOLUME_OBJECTIVES = 4


def ax_designs(
    space: SearchSpace,
    objectives: Sequence[Objective],
    constraints: Sequence[Constraint],
    trials: Iterable[Trial],
    *,
    count: int,
    seed: int,
    settings: AxSettings,
) -> list[Design]:
    """Return what Ax proposes after the given trials.

    A client that is asked and told in turn keeps state that a resumed study could not rebuild; a fresh one gives the
    same answer to the same trials, bit for bit.

    Args:
        space: The search space.
        objectives: What is minimised; their references become Ax's objective thresholds.
        constraints: What must hold.
        trials: Trials by number, at least one of them done; unfinished ones are pending.
        count: How many designs.
        seed: Seed of everything random in the fit and in the optimisation of the acquisition function.
        settings: How hard to look.

    Returns:
        The designs, possibly some that were tried before; none when the space is so small that all were tried.

    Raises:
        SamplerError: The fit or the optimisation of the acquisition function failed.
    """
    told = list(trials)
    with quiet(), one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        client = Client(random_seed=seed)
        client.configure_experiment(parameters=[ax_parameter(item) for item in space if not is_fixed(item)])
        client.configure_optimization(
            objective=", ".join(f"-objective_{index}" for index in range(len(objectives))),
            outcome_constraints=outcome_constraints(objectives, constraints),
        )
        client.set_generation_strategy(_strategy(settings, hypervolume=_can_improve(told, objectives, constraints)))
        for trial in told:
            finish(client, attach(client, space, trial.design), trial, metrics_of(trial, objectives, constraints))
        try:
            suggested = client.get_next_trials(max_trials=count)
        except SearchSpaceExhausted:
            return []
        except (AxError, BotorchError, torch.linalg.LinAlgError, NotPSDError) as error:  # type: ignore[attr-defined]
            raise SamplerError(
                f"Ax could not propose a design after {len(told)} trials: {type(error).__name__}: {error}. "
                "Every finished trial is kept; a new study with another seed or with the sampler sobol can go on"
            ) from error
    return [design_of(space, parameters) for _, parameters in sorted(suggested.items())]


def _strategy(settings: AxSettings, *, hypervolume: bool) -> GenerationStrategy:
    """Return Ax's modular BoTorch generator alone.

    Args:
        settings: How hard to look.
        hypervolume: Whether to ask for log noisy expected hypervolume improvement [Daulton2021]; else Ax chooses, e.g.
            the probability of feasibility while nothing is feasible. Only the former takes a number of samples.
    """
    acquisition = {"botorch_acqf_class": qLogNoisyExpectedHypervolumeImprovement} if hypervolume else {}
    options: dict[str, Any] = {
        "optimizer_kwargs": {"num_restarts": settings.restarts, "raw_samples": settings.raw_samples}
    }
    if hypervolume:
        options["acquisition_function_kwargs"] = {"mc_samples": settings.mc_samples}
    spec = GeneratorSpec(
        generator_enum=Generators.BOTORCH_MODULAR,
        generator_kwargs=acquisition,
        generator_gen_kwargs={"model_gen_options": options},
    )
    # Ax would deduplicate by fitting and optimising up to five times; the sampler does it for nothing.
    node = GenerationNode(name="MBM", generator_specs=[spec], should_deduplicate=False)
    return GenerationStrategy(name="MBM", nodes=[node])


def _can_improve(trials: Iterable[Trial], objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> bool:
    """Return whether there is a hypervolume to improve: two to four objectives and a trial that counts in it."""
    limits = [Constraint(name=objective.name, upper=objective.reference) for objective in objectives]
    return 2 <= len(objectives) <= _MAX_HYPERVOLUME_OBJECTIVES and any(
        trial.is_feasible([*constraints, *limits]) for trial in trials
    )


def outcome_constraints(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> list[str]:
    """Return thresholds and constraints; a bound on an objective's own metric would only be a threshold to Ax."""
    thresholds = [f"objective_{index} <= {item.reference!r}" for index, item in enumerate(objectives)]
    if len(objectives) == 1:
        # A single objective has no hypervolume and no threshold; Ax refuses one.
        thresholds = []
    return thresholds + [f"constraint_{index} <= {item.upper!r}" for index, item in enumerate(constraints)]


def metrics_of(trial: Trial, objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> dict[str, float]:
    """Return what Ax is told of a trial: its outcome, and for an infeasible one what is known.

    What an infeasible trial never measured is set to the objective's reference or the constraint's limit: worth
    nothing, but no claim beyond that.
    """
    known = {name: float(value) for name, value in trial.outcome.items() if value is not None}
    metrics = {f"objective_{index}": known.get(item.name, item.reference) for index, item in enumerate(objectives)}
    bounds = {f"constraint_{index}": known.get(item.outcome, item.upper) for index, item in enumerate(constraints)}
    return metrics | bounds


def attach(client: Client, space: SearchSpace, design: Design) -> int:
    """Show a design that is not Ax's own to the client, as running; return Ax's number of it."""
    return int(client.attach_trial(_ax_values(space, design)))


def finish(client: Client, index: int, trial: Trial, metrics: Mapping[str, float]) -> None:
    """Tell the client how a trial ended; an unfinished one stays running, and proposals are conditioned on it."""
    if trial.state in (TrialState.FAILED, TrialState.STOPPED):
        client.mark_trial_failed(index)
    elif trial.state.is_finished:
        client.complete_trial(index, raw_data=dict(metrics))


def _ax_values(space: SearchSpace, design: Design) -> dict[str, Value]:
    """Return what a design is to Ax: without fixed parameters, and with inactive ones in the middle of their range.

    Ax knows dependent parameters too, but only as a tree: none may depend on two others.
    """
    return {
        parameter.name: design.get(parameter.name, parameter.decode(INACTIVE_PLACE))
        for parameter in space
        if not is_fixed(parameter)
    }


def is_fixed(parameter: Parameter) -> bool:
    """Return whether there is nothing to choose; Ax refuses such parameters."""
    return not isinstance(parameter, FloatParameter | IntParameter) and len(parameter.values) == 1


def ax_parameter(parameter: Parameter) -> RangeParameterConfig | ChoiceParameterConfig:
    """Return a parameter of ours as Ax's."""
    if isinstance(parameter, FloatParameter | IntParameter):
        return RangeParameterConfig(
            name=parameter.name,
            bounds=(parameter.low, parameter.high),
            parameter_type=parameter.type,
            scaling="log" if parameter.log else "linear",
        )
    kinds: dict[type, Literal["float", "int", "str", "bool"]] = {float: "float", int: "int", str: "str", bool: "bool"}
    values: list[Any] = list(parameter.values)
    return ChoiceParameterConfig(
        name=parameter.name,
        values=values,
        parameter_type=kinds[type(values[0])],
        is_ordered=parameter.type == "ordinal",
    )


def design_of(space: SearchSpace, parameters: Mapping[str, Any]) -> Design:
    """Return Ax's answer as a design of ours: fixed parameters added, inactive ones left out, ranges kept."""
    values: dict[str, Value] = {}
    for parameter in space:
        if not parameter.is_active(values):
            continue
        if not isinstance(parameter, FloatParameter | IntParameter):
            values[parameter.name] = parameters.get(parameter.name, parameter.values[0])
        else:
            # Rounding may lead just past an end.
            value = min(max(parameters[parameter.name], parameter.low), parameter.high)
            values[parameter.name] = float(value) if isinstance(parameter, FloatParameter) else int(value)
    return Design(values)
