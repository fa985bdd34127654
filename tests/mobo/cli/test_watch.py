import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.cli.watch import screen, watched
from mobo.runs.record import read_run
from mobo.space.trial import TrialState
from mobo.study.store import Store
from mobo.tinyml.config import parse_config
from tests.mobo.synthetic_run import CONFIG, TRIALS, MadeUp, make_run, trial

NOW = datetime(2025, 1, 1, 0, 1, tzinfo=UTC)
cli = CliRunner()


def under_way(path: Path, config_toml: str = CONFIG.replace("trials = 6", "trials = 10")) -> Path:
    """Return a run with the made-up trials, one that runs and one that waits."""
    run = make_run(path, config_toml=config_toml)
    config = parse_config(config_toml)
    with Store.open(run.store_path) as store:
        for number, state in ((6, TrialState.RUNNING), (7, TrialState.PROPOSED)):
            pending = trial(config, number, MadeUp(width=8))
            store.save(replace(pending, state=state, outcome={}, times_s={}, finished_utc=""))
    return run.path


def seen(path: Path) -> dict[str, Any]:
    return watched(read_run(path), NOW)


def test_a_trial_that_waits_for_a_worker_is_not_shown_as_running(tmp_path: Path) -> None:
    path = under_way(tmp_path / "run")
    with Store.open(path / "study.db"):
        found = seen(path)
    assert found["is_searched"]
    assert found["running"] == [{"trial": 6, "proposed_s_ago": 60.0}]
    assert found["waiting"] == [{"trial": 7, "proposed_s_ago": 60.0}]
    lines = screen(found).splitlines()
    assert "running: 6 (proposed 1 min 0 s ago)" in lines
    assert "waiting for a worker: 7 (proposed 1 min 0 s ago)" in lines


def test_trials_of_a_search_that_was_killed_are_not_shown_as_running(tmp_path: Path) -> None:
    found = seen(under_way(tmp_path / "run"))
    assert not found["is_searched"]
    lines = screen(found).splitlines()
    assert "running: none; no search has this run open, as far as this machine sees" in lines
    (left,) = [line for line in lines if line.startswith("under way")]
    assert left == (
        "under way when it was stopped: 6 (proposed 1 min 0 s ago), 7 (proposed 1 min 0 s ago); "
        "`mobo search` with --resume goes on"
    )


def test_what_is_seen_is_what_the_store_says(tmp_path: Path) -> None:
    path = under_way(tmp_path / "run")
    found, record = seen(path), read_run(path)
    assert (found["finished"], found["trials"]) == (6, 10)
    assert found["states"] == {"done": 4, "failed": 1, "infeasible": 1}
    assert found["hypervolume"] == record.front.hypervolume == found["hypervolume_history"][-1]
    assert len(found["hypervolume_history"]) == 6
    assert [entry["trial"] for entry in found["front"]] == [entry["trial"] for entry in record.front_objects()]
    # Six trials of 3.501 s and 0 to 5 s more each: 36.006 s; four are left.
    assert found["time_left_s"] == pytest.approx(4 * 36.006 / 6)
    text = screen(found)
    assert "trials: 6 of 10 finished (4 done, 1 failed, 1 infeasible); time left: 24.0 s" in text
    assert "front (3 models):" in text


@pytest.mark.parametrize(
    ("change", "left_s"),
    [
        ("trials = 6\nhours = 0.01", 0.0),
        ("hours = 0.011", 3600 * 0.011 - 36.006),
        ("trials = 10\nhours = 0.011", 3600 * 0.011 - 36.006),
        ("trials = 10\n[compute]\njobs = 2", 4 * 36.006 / 6 / 2),
    ],
)
def test_the_time_left_is_that_of_what_ends_first(tmp_path: Path, change: str, left_s: float) -> None:
    head, _, tables = CONFIG.partition("[device]")
    config = head.replace("trials = 6", change) + "[device]" + tables
    assert seen(under_way(tmp_path / "run", config))["time_left_s"] == pytest.approx(left_s)


def test_nobody_knows_the_time_left_before_the_first_trial(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", ())
    found = seen(run.path)
    assert found["time_left_s"] is None
    text = screen(found)
    assert "time left: unknown" in text
    assert "the front is empty: no finished trial is feasible yet" in text


def test_the_command_prints_one_screen_and_changes_nothing(tmp_path: Path) -> None:
    path = under_way(tmp_path / "run")
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    for options in ([], ["--once"]):
        result = cli.invoke(app, ["watch", str(path), *options])
        assert result.exit_code == 0
        assert "under way when it was stopped: 6" in result.stdout
    (found,) = json.loads(cli.invoke(app, ["watch", str(path), "--json"]).stdout)
    assert found.keys() == seen(path).keys()
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such terminals")
def test_on_a_terminal_it_ends_with_the_search(tmp_path: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mobo", "watch", str(make_run(tmp_path / "run").path)]
    with subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL) as process:
        os.close(theirs)
        assert process.wait(60) == 0
    shown = os.read(ours, 2**16).decode()
    os.close(ours)
    assert "trials: 6 of 6 finished" in shown


def test_many_trials_are_one_short_line(tmp_path: Path) -> None:
    found = seen(make_run(tmp_path / "run", TRIALS * 20).path)
    line = next(line for line in screen(found).splitlines() if line.startswith("hypervolume"))
    assert len(line) <= 80
    assert line.endswith("█")


def test_the_front_is_told_in_what_the_study_minimises_and_limits(tmp_path: Path) -> None:
    config = CONFIG.replace('name = "latency_ms"', 'name = "macs"').replace('unit = "ms"\n', "")
    found = seen(make_run(tmp_path / "run", config_toml=config).path)
    assert found["costs"] == ["flash_model_bytes", "macs", "ram_bytes"]
    assert "trial  error %  model flash KiB  multiply-accumulates  RAM KiB" in screen(found).splitlines()
    narrow = screen(found, columns=50).splitlines()
    assert "trial  error %  model flash KiB  multiply-accumulates" not in narrow
    assert "trial  error %  model flash KiB" in narrow


def test_a_low_window_holds_the_best_models_and_says_how_many_more_there_are(tmp_path: Path) -> None:
    found = seen(make_run(tmp_path / "run").path)
    lines = screen(found, rows=12).splitlines()
    assert len(lines) <= 12
    assert "front (3 models):" in lines
    assert lines[-1] == "and 1 more: a higher window or `mobo front` shows them"
    assert lines[-3].split()[0] == str(found["front"][0]["trial"])


def test_many_trials_that_run_are_a_line_in_a_window(tmp_path: Path) -> None:
    found = seen(make_run(tmp_path / "run").path)
    running = [{"trial": 100 + number, "proposed_s_ago": 7100.0 - number} for number in range(16)]
    (line,) = [
        line
        for line in screen({**found, "running": running, "is_searched": True}).splitlines()
        if line.startswith("running")
    ]
    assert line == "running: 100 (proposed 1 h 58 min ago), 101 (proposed 1 h 58 min ago), 14 more"
    assert len(line) <= 80


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    result = cli.invoke(app, ["watch", str(tmp_path)])
    assert result.exit_code == 2
    assert "is not a run" in result.output
