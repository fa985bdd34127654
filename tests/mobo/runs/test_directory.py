import csv
import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from mobo.runs.directory import RunDirectory, RunDirectoryError
from mobo.space import columns
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState


def trial(number: int, **changes: object) -> Trial:
    fields: dict[str, object] = {
        "number": number,
        "design": Design({"width": 8, "kernel": "3x3"}),
        "seed": 7,
        "state": TrialState.DONE,
        "outcome": {"validation_error": 0.125, "ram_bytes": 4096.0, "latency_ms": 1.5, "energy_uj": None},
        "times_s": {"train": 2.0},
    }
    return Trial(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_new_run_has_the_config_and_can_be_opened_once_it_has_a_store(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "a" / "b", config_toml="trials = 3\n")
    assert run.config_path.read_text() == "trials = 3\n"
    with pytest.raises(RunDirectoryError, match=r"is not a run: study\.db missing"):
        RunDirectory.open(run.path)
    run.store_path.touch()
    assert RunDirectory.open(run.path) == run


def test_an_existing_folder_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(
        RunDirectoryError, match=r"exists already; continue that run with --resume, or give another --out"
    ):
        RunDirectory.create(tmp_path, config_toml="")


def test_opening_names_everything_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"config\.toml and study\.db missing"):
        RunDirectory.open(tmp_path)
    with pytest.raises(RunDirectoryError, match="is not a folder"):
        RunDirectory.open(tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(RunDirectoryError, match=r"cannot write .*file.*; give a folder you may write with --out"):
        RunDirectory.create(file / "run", config_toml="")
    with pytest.raises(RunDirectoryError, match="cannot write"):
        RunDirectory.create_numbered(file, "quickstart", config_toml="")
    with pytest.raises(RunDirectoryError, match="cannot write"):
        RunDirectory(file).check_writable()


def test_numbers_go_on_after_the_highest_and_other_names_do_not_count(tmp_path: Path) -> None:
    for name in ("quick-001", "quick-007", "quick-start-050", "quick-12", "quick-abc"):
        (tmp_path / name).mkdir()
    (tmp_path / "quick-099").touch()
    assert RunDirectory.create_numbered(tmp_path, "quick", config_toml="").path.name == "quick-008"
    assert RunDirectory.newest(tmp_path, "quick").path.name == "quick-008"


def test_numbers_do_not_stop_at_999(tmp_path: Path) -> None:
    (tmp_path / "quick-999").mkdir()
    assert RunDirectory.create_numbered(tmp_path, "quick", config_toml="").path.name == "quick-1000"
    assert RunDirectory.newest(tmp_path, "quick").path.name == "quick-1000"


def test_a_file_with_the_next_number_is_stepped_over(tmp_path: Path) -> None:
    (tmp_path / "quick-001").touch()
    assert RunDirectory.create_numbered(tmp_path, "quick", config_toml="").path.name == "quick-002"


def test_searches_started_together_get_different_folders(tmp_path: Path) -> None:
    def create(_: int) -> str:
        return RunDirectory.create_numbered(tmp_path, "quick", config_toml="").path.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(create, range(24)))
    assert sorted(names) == [f"quick-{number:03d}" for number in range(1, 25)]


def test_there_is_no_newest_run_before_the_first(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"there is no run .*quick-NNN to resume"):
        RunDirectory.newest(tmp_path, "quick")
    with pytest.raises(RunDirectoryError, match="there is no run"):
        RunDirectory.newest(tmp_path / "nowhere", "quick")


def test_a_model_is_replaced_as_a_whole_and_leftovers_vanish(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    run.save_model(3, {"policy.json": b"{}", "weights.safetensors": b"old"})
    killed = run.models_path / ".3.0badc0de.part"
    killed.mkdir()
    (killed / "policy.json").touch()
    folder = run.save_model(3, {"policy.json": b"[]"})
    assert folder == run.model_directory(3)
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == {"policy.json": b"[]"}
    assert [entry.name for entry in run.models_path.iterdir()] == ["3"]


def test_a_model_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    run.save_model(3, {"policy.json": b"{}"})
    with pytest.raises(OSError):  # noqa: PT011 - any failure of the file system will do
        run.save_model(3, {"policy.json": b"[]", "no/such/folder": b""})
    assert (run.model_directory(3) / "policy.json").read_bytes() == b"{}"


def test_tables_have_units_prefixes_and_empty_cells_for_the_unknown(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    failed = trial(1, state=TrialState.FAILED, outcome={}, times_s={}, message='the loss is NaN, "again"')
    run.write_tables([trial(0), failed], [trial(0)], test_errors={0: 0.25}, confirmed={}, retrained={})
    rows = list(csv.DictReader(run.trials_path.open(newline="")))
    assert rows[0]["trial"] == "0"
    assert rows[0]["state"] == "done"
    assert rows[0]["design_width"] == "8"
    assert rows[0]["ram_bytes"] == "4096"
    assert rows[0]["test_error"] == "0.25"
    assert rows[0]["energy_uj"] == ""
    assert rows[0]["time_train_s"] == "2.0"
    assert rows[1]["message"] == 'the loss is NaN, "again"'
    assert rows[1]["validation_error"] == rows[1]["time_train_s"] == ""
    (front,) = csv.DictReader(run.front_path.open(newline=""))
    assert tuple(front) == (*columns.FRONT, "design_width", "design_kernel")
    assert front["design_kernel"] == "3x3"


def test_the_log_grows_line_by_line(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    run.append_log("one")
    run.append_log("two\n")
    assert run.log_path.read_text() == "one\ntwo\n"


def test_a_pipe_in_the_place_of_a_log_is_not_waited_for(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    for path, add in (
        (run.log_path, lambda: run.append_log("one")),
        (run.machines_path, lambda: run.append_machine(0, "node", "kind")),
    ):
        os.mkfifo(path)
        with pytest.raises(RunDirectoryError, match=f"{path} is no plain file, so nothing can be added to it"):
            add()


@pytest.mark.parametrize("message", ['=cmd|" /c calc"!A1', "+1+1", "-2+3", "@SUM(A1)", "\t=1"])
def test_no_cell_is_a_formula_and_numbers_stay_numbers(tmp_path: Path, message: str) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    failed = trial(1, state=TrialState.FAILED, outcome={"energy_uj": -1.5}, times_s={}, message=message)
    run.write_tables([failed], [], test_errors={}, confirmed={}, retrained={})
    (row,) = csv.DictReader(run.trials_path.open(newline=""))
    assert row["message"] == f"'{message}"
    assert row["energy_uj"] == "-1.5"


def test_a_store_that_was_cut_off_while_it_was_made_is_none(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config_toml="")
    assert not run.has_store
    made = tmp_path / "made.db"
    with closing(sqlite3.connect(made, isolation_level=None)) as connection:
        # So small a cache that pages reach the file before the transaction ends.
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE trials (number INTEGER PRIMARY KEY, state TEXT)")
        connection.executemany("INSERT INTO trials VALUES (?, ?)", [(number, "x" * 500) for number in range(100)])
        # What lies on disk now is what a kill would leave.
        shutil.copy(made, run.store_path)
        shutil.copy(f"{made}-journal", f"{run.store_path}-journal")
    assert run.store_path.stat().st_size > 0
    assert not run.has_store
    assert run.store_path.stat().st_size == 0
