"""Moments at which a process kills itself; the page of what was disturbed; and a short campaign."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from experiments.code.kill_and_resume import has_passed, page
from experiments.code.kill_moments import MOMENTS

ARMED = """
import sqlite3, sys
from pathlib import Path
from experiments.code.kill_moments import MOMENTS, Trap
from mobo.base.atomic_write import write_text

folder, what, arrival = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
moment = next(moment for moment in MOMENTS if moment.what == what)
(folder / "armed").touch()
Trap(moment, "search", arrival, 0.0, folder / "armed").lay(jobs=1)
for text in ("first", "second"):
    write_text(folder / "front.csv", text)
store = sqlite3.connect(folder / "study.db", isolation_level=None)
store.execute("CREATE TABLE trials (number, state)")
for number in range(2):
    store.execute("BEGIN IMMEDIATE")
    store.execute("INSERT INTO trials VALUES (?, ?)", (number, "done"))
    store.execute("COMMIT")
"""


def killed(folder: Path, what: str, arrival: int) -> bool:
    """Run a process that writes a table and two trials, armed; return whether it killed itself."""
    done = subprocess.run([sys.executable, "-c", ARMED, str(folder), what, str(arrival)], check=False)
    assert done.returncode in (0, -signal.SIGKILL)
    assert (folder / "armed").exists() == (done.returncode == 0)
    return done.returncode != 0


@pytest.mark.parametrize(("arrival", "left"), [(1, None), (2, "first"), (3, "second")])
def test_a_process_kills_itself_before_a_file_takes_its_name(tmp_path: Path, arrival: int, left: str | None) -> None:
    assert killed(tmp_path, "front.csv takes its name", arrival) == (arrival < 3)
    table = tmp_path / "front.csv"
    assert (table.read_text() if table.exists() else None) == left
    assert len(list(tmp_path.glob(".front.csv.*.part"))) == (arrival < 3)


@pytest.mark.parametrize("what", ["a finished trial is written", "a finished trial is to be committed"])
def test_a_process_kills_itself_before_a_statement(tmp_path: Path, what: str) -> None:
    assert killed(tmp_path, what, 2)
    with sqlite3.connect(tmp_path / "study.db") as store:
        assert store.execute("SELECT number FROM trials").fetchall() == [(0,)]


def test_no_two_moments_have_one_name() -> None:
    assert max(Counter((moment.stage, moment.what) for moment in MOMENTS).values()) == 1


def row(**changes: Any) -> dict[str, Any]:
    usual = {"stage": "report", "moment": "report.html is written", "victim": "search", "reached": True, "lost": []}
    usual |= {"left_behind": [], "fault": "", "exit_code": -signal.SIGKILL}
    return usual | {"cut_off": False, "half_written": 0} | changes


def test_the_page_counts_what_was_met_and_says_what_differs() -> None:
    disturbances = [
        row(), row(half_written=1, fault="Traceback"), row(reached=False),
        row(stage="random", moment="random", victim="worker", cut_off=True, lost=[3]),
        row(stage="disk", moment="the disk is full", victim=""),
    ]  # fmt: skip
    portion = {
        "command": "COMMAND", "jobs": 2, "trials": 9, "children": 4, "siblings": 3, "stopped": 2, "agent": 1, "front": 5,
        "model_files": 60, "differing": ["front"], "half_written": [], "disturbances": disturbances,
    }  # fmt: skip
    text = page([portion])
    assert "2 times the search was killed by itself or from outside, 1 times one of its workers" in text
    assert "1 times the disk was full; 2 of these kills at chosen moments. Finished trials lost: 1." in text
    assert (
        "cut off: 1, a half-written file or folder: 1, a worker that complained of the death of its search: 1." in text
    )
    assert "Moments that a search did not come by, not counted: 1." in text
    assert "| 1 | 2 | 9 | 4 | 3 | 2 | 1 | 5 | 60 | 5 | front | NO |" in text
    assert "| report | report.html is written | search | 2 |" in text


@pytest.mark.parametrize(
    ("changes", "passed"),
    [({}, True), ({"fault": "Traceback"}, True), ({"fault": "exit code 1", "exit_code": 1}, False),
     ({"lost": [2]}, False), ({"left_behind": [99]}, False)],
)  # fmt: skip
def test_a_study_passes_where_nothing_is_lost_and_no_search_gave_up_as_it_should_not(
    changes: dict[str, Any], passed: bool
) -> None:
    portion = {"differing": [], "half_written": [], "disturbances": [row(), row(**changes)]}
    assert has_passed(portion) == passed
    assert not has_passed(portion | {"differing": ["trials"]})


@pytest.mark.slow
@pytest.mark.parametrize(("jobs", "stages"), [(1, ("rename", "journal")), (2, ("rename", "scoring"))])
def test_a_short_campaign_finds_nothing_lost(tmp_path: Path, jobs: int, stages: tuple[str, ...]) -> None:
    overrides = ("space.epochs=1", "compression.start_from=finetuned", "compression.finetune.steps=5",
                 "space.finetune_steps=5", "sampler.name=sobol")  # fmt: skip
    command = [sys.executable, "-m", "experiments.code.kill_and_resume", "--out", str(tmp_path), "--jobs", str(jobs)]
    command += ["--trials", "16", "--kills", "1", *(text for stage in stages for text in ("--stage", stage))]
    command += [text for change in overrides for text in ("--override", change)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (portion,) = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert portion["differing"] == []
    assert sum(row["reached"] for row in portion["disturbances"]) >= 8
