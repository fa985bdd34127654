"""The finished models of a run as candidates for a device: recorded costs for its own, estimates for another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hw_models.cost import UnknownCostError, estimate
from hw_models.device import Device
from hw_models.files import FileError
from hw_models.front_end import FrontEndWork
from hw_models.graph.from_file import read_graph as saved_graph
from hw_models.graph.layer_graph import LayerGraph
from hw_models.runtime import Runtime
from mobo.base.errors import MoboError
from mobo.runs.directory import RunDirectory
from mobo.runs.front_table import whole
from mobo.runs.pick import Basis, Candidate, Limit
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.space.objectives import Constraint
from mobo.space.pareto import non_dominated
from mobo.space.trial import Trial, TrialState
from mobo.tinyml.model_names import GRAPH
from mobo.tinyml.saved_front_end import load_front_end


class CandidateError(MoboError):
    """The models of a run cannot be costed for a device."""


@dataclass(frozen=True)
class Candidates:
    """What there is to choose from.

    Attributes:
        models: The candidates, by trial.
        left_out: Trials that are done but whose model is not on disk, so that it cannot be costed for another device.
    """

    models: tuple[Candidate, ...]
    left_out: tuple[int, ...] = ()


def recorded_candidates(record: RunRecord) -> Candidates:
    """Return the run's feasible models with the costs recorded for the run's own device."""
    feasible = [trial for trial in record.trials if trial.is_feasible(record.front.constraints)]
    return Candidates(tuple(_candidate(record, trial, trial.outcome) for trial in feasible))


@dataclass(frozen=True)
class SavedGraphs:
    """The layer graphs of a run's finished models.

    Attributes:
        by_trial: Graph by trial.
        left_out: Trials that are done but have none on disk.
    """

    by_trial: Mapping[int, LayerGraph]
    left_out: tuple[int, ...]


def saved_graphs(record: RunRecord) -> SavedGraphs:
    """Return what is on disk of a run's finished models.

    Raises:
        CandidateError, NetworkFileError: A file is damaged.
    """
    done = [trial.number for trial in record.trials if trial.state is TrialState.DONE]
    saved = [number for number in done if _graph_path_exists(record.directory, number)]
    graphs = {number: read_graph(record.directory, number) for number in saved}
    return SavedGraphs(graphs, tuple(number for number in done if number not in graphs))


def estimated_candidates(
    record: RunRecord, device: Device, runtime: Runtime, graphs: SavedGraphs | None = None
) -> Candidates:
    """Return every finished model of a run, costed for another device from its saved layer graph.

    The run's constraints were made for its own device and do not count here; the errors stay, for every runtime
    computes the same integers.

    Args:
        record: The run.
        device: The board.
        runtime: The engine.
        graphs: The models' graphs, if they were read already.

    Raises:
        CandidateError: No finished trial has its model on disk.
    """
    found = saved_graphs(record) if graphs is None else graphs
    if found.left_out and not found.by_trial:
        raise CandidateError(
            f"no trial of {record.directory.path} has a models/<trial>/{GRAPH}; "
            "without the layer graphs only the run's own device can be picked for"
        )
    models = tuple(
        _candidate(
            record,
            trial,
            _costs(found.by_trial[trial.number], device, runtime, _front_end(record.directory, trial.number)),
        )
        for trial in record.trials
        if trial.number in found.by_trial
    )
    return Candidates(models, found.left_out)


def best_of(
    candidates: Sequence[Candidate], costs: Sequence[str], basis: Basis = Basis.SINGLE
) -> tuple[Candidate, ...]:
    """Return the candidates that no other one beats in error and the named costs: the front for these costs.

    Args:
        candidates: The models, all with the error that counts.
        costs: Cost names; one that is unknown for any model is left out, for it cannot be compared.
        basis: Which error counts.
    """
    known = [name for name in costs if all(candidate.costs.get(name) is not None for candidate in candidates)]
    if not candidates:
        return ()
    rows = [[candidate.error(basis), *(candidate.cost(name) for name in known)] for candidate in candidates]
    keep = non_dominated(np.array(rows, dtype=np.float64))
    return tuple(candidate for candidate, kept in zip(candidates, keep, strict=True) if kept)


def device_limits(device: Device) -> tuple[Limit, ...]:
    """Return what the chip itself allows: the whole image in its flash, the arena in one piece of its SRAM."""
    return (
        Limit("flash_image_bytes", device.flash_bytes, device.name),
        Limit("ram_bytes", device.arena_bytes, device.name),
    )


def constraint_limits(constraints: Sequence[Constraint]) -> tuple[Limit, ...]:
    """Return the run's constraints on costs as limits."""
    return tuple(Limit(item.name, item.upper, "the run") for item in constraints if item.name in columns.COSTS)


def read_graph(run: RunDirectory, number: int) -> LayerGraph:
    """Return the layer graph of a saved model.

    Raises:
        CandidateError: The file cannot be read, or is not JSON.
        NetworkFileError: It does not hold a layer graph.
    """
    path = run.model_directory(number) / GRAPH
    try:
        return saved_graph(path)
    except FileError as error:
        raise CandidateError(f"the layer graph of trial {number}: {error}; the file was changed or damaged") from error


def _graph_path_exists(run: RunDirectory, number: int) -> bool:
    return (run.model_directory(number) / GRAPH).is_file()


def _front_end(run: RunDirectory, number: int) -> FrontEndWork | None:
    try:
        return load_front_end(run.model_directory(number))
    except FileError as error:
        raise CandidateError(f"the front end of trial {number}: {error}; it was changed or damaged") from error


def _costs(
    graph: LayerGraph, device: Device, runtime: Runtime, front_end: FrontEndWork | None
) -> dict[str, float | None]:
    cost = estimate(graph, device, runtime, front_end=front_end)
    values: dict[str, float | None] = {}
    for name in columns.COSTS:
        try:
            values[name] = cost.value(name)
        except UnknownCostError:
            values[name] = None
    return values


def _candidate(record: RunRecord, trial: Trial, costs: Mapping[str, float | None]) -> Candidate:
    validation_error = trial.outcome.get(columns.VALIDATION_ERROR)
    if validation_error is None:
        raise CandidateError(
            f"trial {trial.number} is done but has no {columns.VALIDATION_ERROR}; the store is damaged"
        )
    return Candidate(
        trial=trial.number,
        validation_error=validation_error,
        test_error=record.test_errors.get(trial.number),
        costs={name: whole(costs.get(name)) for name in columns.COSTS},
        confirmation=record.confirmed.get(trial.number),
    )
