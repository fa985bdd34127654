"""Running one cell: the shared start, then suggestion after suggestion, every evaluation on disk before the next."""

import os
import platform
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import perf_counter, process_time

from mobo.base.errors import MoboError
from mobo.base.seeds import derive_seed, trial_seed
from mobo.benchmark.cell import Cell
from mobo.benchmark.cell_files import CellFolder, CellRecord, CellState
from mobo.benchmark.contestants import RECORDED_PEERS, build_contestant, can_continue, contestant_settings
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems import build_problem, problem_settings
from mobo.samplers.base import Sampler
from mobo.samplers.sobol import sobol_designs
from mobo.space.problem import Problem
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated, failed
from mobo.study.store import RECORDED_PACKAGES, recorded_versions

SUGGEST = "suggest"
"""Stage of a trial's times: being told the last outcome and proposing the design; only after the shared start."""

SUGGEST_CPU = "suggest_cpu"
"""The same in processor time, which other work on the machine does not lengthen."""

EVALUATE = "evaluate"
"""Stage of a trial's times: checking and judging the design."""

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
    """Bring a cell to its end and return how it went; what is on disk already is not done again.

    A sampler of ours goes on from the evaluations on disk exactly as if it had not been stopped. A peer keeps state of
    its own that cannot be rebuilt, so an interrupted cell of a peer starts again.

    Raises:
        BenchmarkError: The folder holds another cell or is damaged.
    """
    folder = CellFolder(cell.folder)
    problem = build_problem(cell.problem.name, cell.problem.settings)
    old = folder.read_record()
    record = _opened(cell, problem, old)
    trials = folder.read_trials(problem.space)
    if old is not None and old.state in _ENDED and _is_over(cell, trials):
        # Not written again: it says when and with what it was made.
        return _result(old.state, old.message, trials)
    if _is_skipped(cell, problem):
        limit = cell.sampler.max_objectives
        message = f"{len(problem.objectives)} objectives, more than max_objectives = {limit}"
        return _ended(folder, record, CellState.SKIPPED, message, [])
    if not _is_over(cell, trials) and not can_continue(cell.sampler.chosen):
        trials = []
    folder.write_record(record)
    try:
        state, message = _filled(cell, problem, folder, trials)
    except MoboError as error:
        state, message = CellState.FAILED, str(error)
    except Exception as error:  # noqa: BLE001 - a broken sampler must not end the benchmark; it is written down
        message = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}"
        state = CellState.FAILED
    return _ended(folder, record, state, message, trials)


def _filled(cell: Cell, problem: Problem, folder: CellFolder, trials: list[Trial]) -> tuple[CellState, str]:
    """Append trials until there are enough or the time is up; return how it ended."""
    sampler = build_contestant(cell.sampler.chosen, problem, seed=cell.seed, settings=cell.sampler.settings)
    start = initial_designs(problem.space, problem=cell.problem.label, seed=cell.seed, count=cell.initial_trials)
    unseen = list(trials)
    while len(trials) < cell.evaluations:
        if _is_over(cell, trials):
            return CellState.CAPPED, f"max_minutes = {cell.max_minutes:g} after {len(trials)} evaluations"
        times: dict[str, float] = {}
        if len(trials) < len(start):
            design = start[len(trials)]
        else:
            design, times = _suggested(sampler, unseen)
            problem.space.check(design)
            unseen = []
        trial = Trial(number=len(trials), design=design, seed=trial_seed(cell.seed, len(trials)), times_s=times)
        trials.append(_judged(problem, trial))
        unseen.append(trials[-1])
        folder.write_trials(trials)
    if cell.evaluations < cell.wanted:
        return CellState.CAPPED, f"max_evaluations = {cell.evaluations}"
    return CellState.DONE, ""


def _is_over(cell: Cell, trials: Sequence[Trial]) -> bool:
    """Return whether there are enough trials or the time is up, on a busy machine no sooner than on an idle one."""
    spent_minutes = sum(trial.times_s.get(stage, 0.0) for trial in trials for stage in (SUGGEST_CPU, EVALUATE)) / 60
    return len(trials) >= cell.evaluations or (cell.max_minutes is not None and spent_minutes > cell.max_minutes)


def _suggested(sampler: Sampler, unseen: Sequence[Trial]) -> tuple[Design, dict[str, float]]:
    begin, cpu_begin = perf_counter(), process_time()
    sampler.observe(unseen)
    (design,) = sampler.suggest(1)
    return design, {SUGGEST: perf_counter() - begin, SUGGEST_CPU: process_time() - cpu_begin}


def _judged(problem: Problem, trial: Trial) -> Trial:
    """Return the trial finished: refused by what is known, or evaluated."""
    begin = perf_counter()
    try:
        feasibility = problem.check(trial.design)
    except Exception as error:  # noqa: BLE001 - recorded with the trial
        return failed(trial, error)
    if feasibility.feasible:
        finished = evaluated(problem, trial)
    else:
        finished = replace(
            trial, state=TrialState.INFEASIBLE, outcome=dict(feasibility.known), message=feasibility.reason
        )
    return replace(finished, times_s={**trial.times_s, EVALUATE: perf_counter() - begin})


def _is_skipped(cell: Cell, problem: Problem) -> bool:
    limit = cell.sampler.max_objectives
    return limit is not None and len(problem.objectives) > limit


def _opened(cell: Cell, problem: Problem, old: CellRecord | None) -> CellRecord:
    """Return the cell's record as running; refuse a folder that holds another cell."""
    new = CellRecord(
        problem={
            "label": cell.problem.label,
            "name": cell.problem.name,
            "settings": problem_settings(cell.problem.name, cell.problem.settings).model_dump(mode="json"),
        },
        sampler={
            "label": cell.sampler.label,
            "name": cell.sampler.chosen,
            "settings": contestant_settings(cell.sampler.chosen, cell.sampler.settings).model_dump(mode="json"),
        },
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
            f"{cell.folder} was made with another {' and '.join(keys)}; give another folder with --out, another label, "
            "or remove it"
        )
    return new


def _ended(folder: CellFolder, record: CellRecord, state: CellState, message: str, trials: list[Trial]) -> CellResult:
    folder.write_record(record.model_copy(update={"state": state, "message": message, "finished_utc": _now()}))
    return _result(state, message, trials)


def _result(state: CellState, message: str, trials: Sequence[Trial]) -> CellResult:
    return CellResult(
        state=state,
        message=message,
        evaluations=len(trials),
        suggest_s=sum(trial.times_s.get(SUGGEST, 0.0) for trial in trials),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
