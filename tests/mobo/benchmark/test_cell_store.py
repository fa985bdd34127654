import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from mobo.base.errors import StoreError
from mobo.benchmark.archive import read_archive
from mobo.benchmark.cell_record import CellKey, CellState, KeptCell
from mobo.benchmark.cell_store import SCHEMA_VERSION, BenchmarkStore, CellStore
from mobo.space.trial import TrialState
from tests.mobo.benchmark.small_benchmarks import write_cell


@pytest.fixture
def cells(tmp_path: Path) -> list[KeptCell]:
    for sampler, seed in (("sobol", 10), ("ax", 0), ("sobol", 9)):
        write_cell(tmp_path, "toy", sampler, seed, [(0.5, 5.0 + seed), (0.25, 1.0)])
    return read_archive(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "benchmark.db"


def test_cells_come_back_sorted_as_they_were(path: Path, cells: list[KeptCell]) -> None:
    BenchmarkStore.create(path, reversed(cells)).close()
    with BenchmarkStore.open(path, read_only=True) as store:
        assert list(store.cells()) == cells
    assert [cell.record.key for cell in cells] == [("toy", "ax", 0), ("toy", "sobol", 9), ("toy", "sobol", 10)]


def test_a_cell_is_changed_without_touching_another(path: Path, cells: list[KeptCell]) -> None:
    with BenchmarkStore.create(path, cells) as store:
        key = cells[1].record.key
        store.save_record(cells[1].record.model_copy(update={"state": CellState.FAILED}))
        assert store.trials(key) == cells[1].trials
        store.forget_trials(key)
        assert store.trials(key) == ()
        CellStore(store, key).save(cells[1].trials[1])
        assert CellStore(store, key).trials() == cells[1].trials[1:]
        assert store.record(key).state is CellState.FAILED  # type: ignore[union-attr]
        assert [*store.cells()][::2] == cells[::2]
        assert store.record(CellKey("toy", "ax", 1)) is None


def test_saving_again_replaces_and_times_are_kept_to_the_microsecond(path: Path, cells: list[KeptCell]) -> None:
    with BenchmarkStore.create(path, cells) as store:
        cell = CellStore(store, cells[0].record.key)
        running = replace(cells[0].trials[1], state=TrialState.RUNNING, times_s={"suggest": 1.23456789})
        cell.save(running)
        assert cell.trials() == (cells[0].trials[0], running)
        assert cell.trials()[1].times_s == {"suggest": 1.234568}
        assert (cell.seed, cell.path) == (0, path.parent)


def test_a_trial_needs_its_cell(path: Path, cells: list[KeptCell]) -> None:
    with (
        BenchmarkStore.create(path) as store,
        pytest.raises(StoreError, match="must belong to a trial that is in the benchmark"),
    ):
        store.save_trial(cells[0].record.key, cells[0].trials[0])


def test_two_processes_may_write_cells_of_their_own(path: Path, cells: list[KeptCell]) -> None:
    with BenchmarkStore.create(path, cells) as one, BenchmarkStore.open(path) as other:
        one.forget_trials(cells[0].record.key)
        other.forget_trials(cells[1].record.key)
        assert [len(cell.trials) for cell in one.cells()] == [0, 0, 2]


def test_damage_and_newer_versions_are_named(path: Path, cells: list[KeptCell]) -> None:
    BenchmarkStore.create(path, cells).close()
    for statement, message in (
        ("UPDATE trials SET state = 'flying'", "a trial cannot be read .*flying"),
        ("UPDATE cells SET record = '{}'", "a cell cannot be read"),
    ):
        connection = sqlite3.connect(path)
        with connection:
            connection.execute(statement)
        connection.close()
        with BenchmarkStore.open(path) as store, pytest.raises(StoreError, match=message):
            list(store.cells())
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE meta SET value = ?", (str(SCHEMA_VERSION + 1),))
    connection.close()
    with pytest.raises(StoreError, match=rf"newer version \(schema {SCHEMA_VERSION + 1}"):
        BenchmarkStore.open(path)


def test_a_search_is_no_benchmark(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="holds no benchmark; give the file of one or start it again"):
        BenchmarkStore.open(path)
