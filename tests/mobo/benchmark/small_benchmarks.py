"""Benchmarks of a few seconds, and cells written by hand, for the tests of this folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mobo.benchmark import archive, folder
from mobo.benchmark.cell import Cell, cells
from mobo.benchmark.cell_record import CellRecord, CellState, Contestant, KeptCell
from mobo.benchmark.cell_store import BenchmarkStore
from mobo.benchmark.config import BenchmarkConfig
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState

# A name, or a whole table of the config.
Choice = str | dict[str, object]

OBJECTIVES = (Objective(name="f1", reference=1.0), Objective(name="f2", reference=10.0))
CONSTRAINTS = (Constraint(name="g", upper=0.0),)


def config(
    *, problems: Sequence[Choice] = ("zdt1",), samplers: Sequence[Choice] = ("sobol",), **changes: object
) -> BenchmarkConfig:
    data: dict[str, object] = {
        "name": "small",
        "seeds": [0],
        "evaluations": 5,
        "initial_trials": 3,
        "problems": [{"name": item} if isinstance(item, str) else item for item in problems],
        "samplers": [{"name": item} if isinstance(item, str) else item for item in samplers],
    }
    return BenchmarkConfig.model_validate(data | changes)


def only_cell(out: Path, **changes: object) -> Cell:
    """Return the cell of a benchmark that has one, and make the file that it runs in."""
    (cell,) = cells(config(**changes), out)  # type: ignore[arg-type]
    out.mkdir(exist_ok=True)
    folder.begin(out)
    return cell


def kept(cell: Cell) -> KeptCell:
    """Return what is kept of a cell."""
    with BenchmarkStore.open(cell.database) as store:
        record = store.record(cell.key)
        assert record is not None
        return KeptCell(record, store.trials(cell.key))


def cut_short(cell: Cell, count: int) -> tuple[Trial, ...]:
    """Leave of a cell what it had after so many evaluations, and return that."""
    before = kept(cell)
    with BenchmarkStore.open(cell.database) as store:
        store.save_record(before.record.model_copy(update={"state": CellState.RUNNING, "finished_utc": ""}))
        store.forget_trials(cell.key)
        for trial in before.trials[:count]:
            store.save_trial(cell.key, trial)
    return before.trials[:count]


def write_cell(out: Path, *which: Any, **how: Any) -> None:
    """Write a cell as :func:`made_cell` makes it."""
    write_cells(out, [made_cell(*which, **how)])


def made_cell(
    problem: str,
    sampler: str,
    seed: int,
    values: Sequence[tuple[float, float]],
    *,
    state: CellState = CellState.DONE,
    message: str = "",
    excess: Sequence[float] | None = None,
    refused: Sequence[int] = (),
    suggest_s: float = 1.0,
    objectives: tuple[Objective, ...] = OBJECTIVES,
) -> KeptCell:
    """Return a cell with given objectives per evaluation; an excess above 0 makes one infeasible, some are refused."""
    record = CellRecord(
        problem=Contestant(label=problem, name=problem, settings={}),
        sampler=Contestant(label=sampler, name=sampler, settings={}),
        seed=seed,
        initial_trials=1,
        state=state,
        message=message,
        objectives=objectives,
        constraints=CONSTRAINTS,
        versions={"python": "3.11"},
        machine={"processor": "cpu", "system": "linux", "cores": "1"},
        started_utc="2026-01-01T00:00:00+00:00",
    )
    trials = [
        Trial(
            number=number,
            design=Design({"x": 0.5}),
            seed=number,
            state=TrialState.INFEASIBLE if number in refused else TrialState.DONE,
            outcome={"f1": f1, "f2": f2, "g": 0.0 if excess is None else excess[number]},
            times_s={"evaluate": 0.5} | ({"suggest": suggest_s, "suggest_cpu": suggest_s / 2} if number else {}),
        )
        for number, (f1, f2) in enumerate(values)
    ]
    return KeptCell(record, tuple(trials))


def write_cells(out: Path, cells: Sequence[KeptCell]) -> None:
    """Put cells into a folder's archive, in the place of those with the same key."""
    there = {cell.record.key: cell for cell in folder.read_cells(out)} | {cell.record.key: cell for cell in cells}
    archive.write_archive(out, [there[key] for key in sorted(there)])
