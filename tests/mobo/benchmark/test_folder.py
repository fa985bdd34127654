from pathlib import Path

import pytest

from mobo.benchmark import archive, folder
from mobo.benchmark.cell_store import BenchmarkStore
from mobo.benchmark.errors import BenchmarkError
from tests.mobo.benchmark.small_benchmarks import write_cell


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_cell(tmp_path, "toy", "sobol", 0, [(0.5, 5.0), (0.25, 1.0)])
    write_cell(tmp_path, "toy", "ax", 0, [(0.5, 5.0)])
    return tmp_path


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def test_a_benchmark_begins_with_what_the_archive_holds_and_ends_with_an_archive(out: Path) -> None:
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    cells = folder.read_cells(out)
    folder.begin(out)
    assert names(out) == ["benchmark.db", "cells.csv.gz", "trials.csv.gz"]
    assert folder.read_cells(out) == cells
    folder.end(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_file_of_a_benchmark_that_has_not_ended_is_the_truth(out: Path) -> None:
    folder.begin(out)
    key = ("toy", "sobol", 0)
    with BenchmarkStore.open(out / folder.DATABASE) as store:
        store.forget_trials(key)  # type: ignore[arg-type]
    # Killed here: neither beginning again nor reading falls back to the archive.
    folder.begin(out)
    assert [len(cell.trials) for cell in folder.read_cells(out)] == [1, 0]
    folder.end(out)
    assert [len(cell.trials) for cell in archive.read_archive(out)] == [1, 0]


def test_a_benchmark_killed_while_it_begins_still_has_its_archive(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = folder.read_cells(out)
    saved = BenchmarkStore.save_trial
    calls: list[object] = []

    def killed(store: BenchmarkStore, *arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        saved(store, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(BenchmarkStore, "save_trial", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.begin(out)
    assert not (out / folder.DATABASE).exists()
    folder.begin(out)
    assert names(out) == ["benchmark.db", "cells.csv.gz", "trials.csv.gz"]
    assert folder.read_cells(out) == cells


def test_a_benchmark_killed_while_it_ends_has_everything(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = folder.read_cells(out)
    folder.begin(out)

    def killed(*arguments: object) -> None:
        (out / archive.TRIALS).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(archive, "write_archive", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.end(out)
    assert folder.read_cells(out) == cells
    folder.begin(out)
    folder.end(out)
    assert archive.read_archive(out) == cells


def test_cells_of_an_older_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    old = tmp_path / "zdt1" / "sobol" / "seed-0" / "run.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    message = (
        r"holds cells as an older version wrote them \(zdt1/sobol/seed-0/run\.json\); run the benchmark anew with "
        r"another --out, or read and continue this one with the commit [0-9a-f]{7}$"
    )
    for action in (folder.begin, folder.read_cells):
        with pytest.raises(BenchmarkError, match=message):
            action(tmp_path)
    assert names(tmp_path) == ["zdt1"]


def test_one_folder_takes_one_benchmark_at_a_time(tmp_path: Path) -> None:
    with (
        folder.locked(tmp_path),
        pytest.raises(BenchmarkError, match="another process runs a benchmark in"),
        folder.locked(tmp_path),
    ):
        pass
    with folder.locked(tmp_path):
        pass
