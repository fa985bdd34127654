from pathlib import Path

import pytest

from mobo.base.errors import SamplerError
from mobo.base.worker_pool import WorkerDied
from mobo.benchmark import folder, run
from mobo.benchmark.cell import Cell
from mobo.benchmark.cell_record import CellState
from mobo.benchmark.cell_run import CellResult
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems.function_problem import ProblemError
from mobo.benchmark.run import attempted, check_names, run_benchmark
from tests.mobo.benchmark.small_benchmarks import config, only_cell


def test_names_and_settings_are_checked_before_anything_runs() -> None:
    check_names(config(samplers=["sobol", "optuna_tpe"]))
    with pytest.raises(BenchmarkError, match="optuna_tpe"):
        check_names(config(samplers=["optuna_tp"]))
    with pytest.raises(ProblemError, match="zdt1"):
        check_names(config(problems=["zdt11"]))
    with pytest.raises(SamplerError, match="seeds"):
        check_names(config(samplers=[{"name": "sobol", "settings": {"seeds": 1}}]))
    with pytest.raises(BenchmarkError, match="startup_trials"):
        check_names(config(samplers=[{"name": "optuna_gp", "settings": {"startup": 1}}]))


def test_a_cell_that_cannot_begin_comes_back_failed(tmp_path: Path) -> None:
    attempted(only_cell(tmp_path))
    result = attempted(only_cell(tmp_path, initial_trials=2))
    assert result.state is CellState.FAILED
    assert "another initial_trials" in result.message


class OneAtATime:
    """Runs nothing: the second cell's worker dies."""

    def __init__(self, build: object, *, jobs: int) -> None:
        self.waiting: list[Cell] = []

    def __enter__(self) -> "OneAtATime":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    def __class_getitem__(cls, item: object) -> type["OneAtATime"]:
        return cls

    def start(self, cell: Cell) -> None:
        self.waiting.append(cell)

    def next_finished(self) -> tuple[Cell, CellResult | WorkerDied]:
        cell = self.waiting.pop()
        if cell.seed == 1:
            return cell, WorkerDied("killed")
        return cell, CellResult(state=CellState.DONE, message="", evaluations=5, suggest_s=0.0)


def test_one_folder_takes_one_benchmark_at_a_time(tmp_path: Path) -> None:
    with (
        folder.locked(tmp_path),
        pytest.raises(BenchmarkError, match="another process runs a benchmark in"),
    ):
        run_benchmark(config(), tmp_path, jobs=1, on_result=lambda cell, result: None)


def test_a_worker_that_dies_fails_its_cell_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "WorkerPool", OneAtATime)
    seen: list[tuple[int, CellState]] = []
    results = run_benchmark(
        config(seeds=[0, 1, 2]), tmp_path, jobs=2, on_result=lambda cell, result: seen.append((cell.seed, result.state))
    )
    assert sorted(seen) == [(0, CellState.DONE), (1, CellState.FAILED), (2, CellState.DONE)]
    assert [result.message for result in results if result.state is CellState.FAILED] == ["killed"]
    assert (tmp_path / "config.toml").read_text().startswith('name = "small"')
    # What ran and what did not: the benchmark has ended, and its file has become the archive.
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.toml", "cells.csv.gz", "trials.csv.gz"}


def test_an_interrupted_benchmark_keeps_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "WorkerPool", OneAtATime)

    def interrupt(cell: Cell, result: CellResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_benchmark(config(), tmp_path, jobs=1, on_result=interrupt)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "config.toml", "benchmark.db"}
