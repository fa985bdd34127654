"""Running one cell: a study of its own, with the shared start and the cell's caps, in the benchmark's store."""

import os
import platform
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter, process_time

from pydantic import BaseModel

from mobo.base.errors import MoboError
from mobo.base.seeds import derive_seed
from mobo.benchmark.cell import Cell
from mobo.benchmark.cell_record import CellRecord, CellState, Contestant
from mobo.benchmark.cell_store import BenchmarkStore, CellStore
from mobo.benchmark.contestants import RECORDED_PEERS, build_contestant, can_continue, contestant_settings
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems import build_problem, problem_settings
from mobo.samplers.sobol import sobol_designs
from mobo.space.problem import Problem
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial
from mobo.study.executor import InProcessExecutor
from mobo.study.loop import CHECK, SUGGEST, Study
from mobo.study.store import RECORDED_PACKAGES, recorded_versions

SUGGEST_CPU = "suggest_cpu"
"""Stage of a trial's times: the suggestion in processor time, which other work on the machine does not lengthen."""

EVALUATE = "evaluate"
"""Stage of a trial's times: judging the design, by the clock."""

_CLOCKS = {SUGGEST: perf_counter, SUGGEST_CPU: process_time}
_CAPPED_STAGES = (SUGGEST_CPU, CHECK, EVALUATE)
_ENDED = (CellState.DONE, CellState.CAPPED)


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """What a worker reports of a cell.

    Attributes:
        state: How it ended.
        message: Why it was capped, failed or skipped; else empty.
        evaluations: How many evaluations it has.
        suggest_s: Time of all suggestions.
    """

    state: CellState
    message: str
    evaluations: int
    suggest_s: float


def initial_designs(space: SearchSpace, *, problem: str, seed: int, count: int) -> list[Design]:
    """Return the start that every sampler shares on one problem with one seed: scrambled Sobol points.

    Args:
        space: The search space.
        problem: The problem's label; another problem has another start.
        seed: The cell's seed.
        count: How many.
    """
    return sobol_designs(space, seed=derive_seed(seed, 0, f"start {problem}"), start=0, count=count)


def run_cell(cell: Cell) -> CellResult:
    """Bring a cell to its end and return how it went; what is in the store already is not done again.

    A sampler of ours goes on from the evaluations of the store exactly as if it had not been stopped. A peer keeps
    state of its own that cannot be rebuilt, so an interrupted cell of a peer starts again.

    Raises:
        BenchmarkError: The store holds another cell in its place.
        StoreError: The store is damaged or cannot be written.
    """
    problem = build_problem(cell.problem.name, cell.problem.settings)
    with BenchmarkStore.open(cell.database) as store:
        old = store.record(cell.key)
        record = _opened(cell, problem, old)
        trials = store.trials(cell.key)
        is_over = len(trials) >= cell.evaluations or _is_time_up(cell, trials)
        if old is not None and old.state in _ENDED and is_over:
            # Not written again: it says when and with what it was made.
            return _result(old, trials)
        store.save_record(record)
        if not is_over and not can_continue(cell.sampler.chosen):
            store.forget_trials(cell.key)
        ended = _skipped(record, cell, problem) or _searched(record, cell, problem, CellStore(store, cell.key))
        store.save_record(ended)
        return _result(ended, store.trials(cell.key))


def attempted(cell: Cell) -> CellResult:
    """Run a cell; one that cannot even begin comes back failed, and what is kept of it stays as it was."""
    try:
        return run_cell(cell)
    except MoboError as error:
        return CellResult(state=CellState.FAILED, message=str(error), evaluations=0, suggest_s=0.0)


def _skipped(record: CellRecord, cell: Cell, problem: Problem) -> CellRecord | None:
    """Return the record of a cell that is left out; None if it is not."""
    limit = cell.sampler.max_objectives
    if limit is None or len(problem.objectives) <= limit:
        return None
    message = f"{len(problem.objectives)} objectives, more than max_objectives = {limit}"
    return _ended(record, CellState.SKIPPED, message)


def _searched(record: CellRecord, cell: Cell, problem: Problem, store: CellStore) -> CellRecord:
    """Run the cell's study until there are enough trials or the time is up; return the record of how it ended."""
    try:
        study = Study(
            problem,
            build_contestant(cell.sampler.chosen, problem, seed=cell.seed, settings=cell.sampler.settings),
            store,
            _TimedExecutor(problem),
            seed=cell.seed,
            start=initial_designs(problem.space, problem=cell.problem.label, seed=cell.seed, count=cell.initial_trials),
            is_enough=lambda trials: _is_time_up(cell, trials),
            suggest_clocks=_CLOCKS,
        )
        count = len(study.run(cell.evaluations))
    except MoboError as error:
        return _ended(record, CellState.FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - a broken sampler must not end the benchmark; it is written down
        trace = "".join(traceback.format_exception(error))
        return _ended(record, CellState.FAILED, f"{type(error).__name__}: {error}\n{trace}")
    if count < cell.evaluations:
        return _ended(record, CellState.CAPPED, f"max_minutes = {cell.max_minutes:g} after {count} evaluations")
    if cell.evaluations < cell.wanted:
        return _ended(record, CellState.CAPPED, f"max_evaluations = {cell.evaluations}")
    return _ended(record, CellState.DONE, "")


class _TimedExecutor(InProcessExecutor):
    """Adds to each trial how long judging it took."""

    def next_finished(self) -> Trial:
        """Run the trial and return it with its time."""
        begin = perf_counter()
        trial = super().next_finished()
        return replace(trial, times_s={**trial.times_s, EVALUATE: perf_counter() - begin})


def _is_time_up(cell: Cell, trials: Sequence[Trial]) -> bool:
    """Return whether a cell has used up its minutes, on a busy machine no sooner than on an idle one."""
    spent_minutes = sum(trial.times_s.get(stage, 0.0) for trial in trials for stage in _CAPPED_STAGES) / 60
    return cell.max_minutes is not None and spent_minutes > cell.max_minutes


def _opened(cell: Cell, problem: Problem, old: CellRecord | None) -> CellRecord:
    """Return the cell's record as running; refuse to go on with another cell."""
    new = CellRecord(
        problem=_contestant(cell.problem.label, cell.problem.name, problem_settings, cell.problem.settings),
        sampler=_contestant(cell.sampler.label, cell.sampler.chosen, contestant_settings, cell.sampler.settings),
        seed=cell.seed,
        initial_trials=cell.initial_trials,
        objectives=problem.objectives,
        constraints=problem.constraints,
        versions=recorded_versions((*RECORDED_PACKAGES, *RECORDED_PEERS)),
        machine={
            "processor": platform.processor() or platform.machine(),
            "system": platform.platform(),
            "cores": str(os.cpu_count()),
        },
        started_utc=_now() if old is None else old.started_utc,
    )
    if old is not None and old.identity != new.identity:
        keys = [key for key in new.identity if new.identity[key] != old.identity[key]]
        raise BenchmarkError(
            f"the cell {cell.key} in {cell.out} was made with another {' and '.join(keys)}; give another folder with "
            "--out, or another label"
        )
    return new


def _contestant(
    label: str, name: str, resolve: Callable[[str, dict[str, object]], BaseModel], settings: dict[str, object]
) -> Contestant:
    return Contestant(label=label, name=name, settings=resolve(name, settings).model_dump(mode="json"))


def _ended(record: CellRecord, state: CellState, message: str) -> CellRecord:
    return record.model_copy(update={"state": state, "message": message, "finished_utc": _now()})


def _result(record: CellRecord, trials: Sequence[Trial]) -> CellResult:
    return CellResult(
        state=record.state,
        message=record.message,
        evaluations=sum(trial.state.is_finished for trial in trials),
        suggest_s=sum(trial.times_s.get(SUGGEST, 0.0) for trial in trials),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
