"""The table of rivals on invented rows, the limit on processor time, and what a rival is given; no rival is needed."""

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.rivals import torch_networks as nets
from experiments.rivals.models import convert_torch, measure
from experiments.rivals.splits import study_of, write_splits
from experiments.rivals.table import COLUMNS, HERE, RIVALS, US, extensions_of, run_for, summary, user_lines
from mobo.base.rows import RowFile
from mobo.tinyml.tasks import load_task

LONGEST_SCRIPT = 150

PR_GET_CHILD_SUBREAPER = 37
DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        while True:
            pass
    os._exit(0)
os.wait()
import time
time.sleep(600)
"""


def row(**values: object) -> dict[str, str]:
    defaults = {
        "task": "digits", "minutes": "3", "rival": "optuna", "model": "1", "trained": 7, "validation_error": 0.1,
        "test_error": 0.2, "flash_model_bytes": 2048, "ram_bytes": 1024, "latency_ms": 2.5, "fits_board": True,
        "keeps_limits": True, "install_mib": 900,
    }  # fmt: skip
    return {name: str({**defaults, **values}.get(name, "")) for name in COLUMNS}


class TestSummary:
    def cells(self, *rows: dict[str, str]) -> dict[str, str]:
        head, _, *lines = summary(rows, dict.fromkeys(RIVALS, 120)).splitlines()
        names, *values = ([cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines))
        found = {cells[2]: dict(zip(names, cells, strict=True)) for cells in values}
        assert list(found) == list(RIVALS.values())
        return found[RIVALS[rows[0]["rival"]]]

    def test_validation_chooses_and_test_is_shown(self) -> None:
        cells = self.cells(row(), row(model="2", validation_error=0.05, test_error=0.3, flash_model_bytes=4096))
        assert cells["tool"] == "Optuna"
        assert cells["front"] == "2"
        assert (cells["best test error"], cells["its flash, KiB"]) == ("30.00 %", "4.0")
        assert (cells["lines written"], cells["install, MiB"]) == ("120", "900")

    def test_who_has_no_rows_keeps_a_line(self) -> None:
        assert "| digits | 3 | AutoKeras | - | - | not run yet |" in summary([row()], dict.fromkeys(RIVALS, 120))

    def test_what_is_beyond_the_limits_is_told_apart(self) -> None:
        beyond = row(model="2", validation_error=0.05, test_error=0.3, keeps_limits=False, fits_board=False)
        cells = self.cells(row(), beyond)
        assert (cells["best test error"], cells["fits the board"], cells["keeps the limits"]) == ("30.00 %", "no", "no")
        assert cells["best test error within the limits"] == "20.00 %"
        assert self.cells(beyond)["best test error within the limits"] == "-"

    def test_a_rival_that_delivered_nothing_keeps_a_row(self) -> None:
        nothing = dict.fromkeys(COLUMNS, "") | {
            "task": "digits",
            "minutes": "3",
            "rival": "nni",
            "note": "no server",
        }
        cells = self.cells(nothing)
        assert (cells["tool"], cells["front"], cells["best test error"]) == ("NNI", "0", "no server")


class TestLimit:
    def test_a_daemon_is_counted_and_killed(self, tmp_path: Path) -> None:
        told = tmp_path / "pid"
        used = run_for([sys.executable, "-c", DAEMON, str(told)], 0.4, log=tmp_path / "log.txt", environment=os.environ)
        assert used.exit_code is None
        assert used.processor_s >= 0.4
        assert not Path(f"/proc/{told.read_text()}").exists()
        # Orphans are no longer this process's own.
        is_subreaper = ctypes.c_int(-1)
        assert ctypes.CDLL(None).prctl(PR_GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper), 0, 0, 0) == 0
        assert is_subreaper.value == 0

    def test_what_ends_by_itself_keeps_its_exit_code(self, tmp_path: Path) -> None:
        log = tmp_path / "log.txt"
        used = run_for(
            [sys.executable, "-c", "print('said'); raise SystemExit(3)"], 60.0, log=log, environment=os.environ
        )
        assert used.exit_code == 3
        assert log.read_text() == "said\n"


def test_who_was_killed_while_compiling_does_not_keep_the_next_waiting(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    lock, kept = (tmp_path / "venv" / "torch_extensions" / "logei" / name for name in ("lock", "logei.so"))
    lock.parent.mkdir(parents=True)
    lock.touch()
    kept.touch()
    assert extensions_of(python) == lock.parents[1]
    assert not lock.exists()
    assert kept.exists()


class TestWhatIsGivenAndTaken:
    def test_the_test_split_stays_here(self, tmp_path: Path) -> None:
        with np.load(write_splits("digits", tmp_path)) as arrays:
            assert {name for name in arrays if arrays[name].ndim} == {
                "x_train", "y_train", "x_validation", "y_validation"
            }  # fmt: skip
            assert arrays["x_train"].shape[1:] == (8, 8, 1)

    @pytest.mark.parametrize("kind", nets.KINDS)
    def test_a_torch_network_is_converted_measured_and_priced(self, kind: str, tmp_path: Path) -> None:
        splits = nets.load_splits(write_splits("digits", tmp_path))
        design = {"layers": 2, "filters": 4, "growth": 1.5, "kernel": 3, "kind": kind, "learning_rate": 0.01}
        torch.manual_seed(0)
        network = nets.build(design, splits.shape, splits.classes)
        error = nets.error_of(network, splits)
        nets.keep(tmp_path, 5, network, design, error)
        nets.deliver(tmp_path, [nets.best(tmp_path)])
        config = study_of("digits", tmp_path)
        data = load_task(config.task)
        convert_torch(tmp_path / "delivered", data)
        (model,) = measure(tmp_path / "delivered", data, config)
        assert model.name == "5"
        assert model.validation_error == pytest.approx(error, abs=0.05)
        assert model.latency_ms == pytest.approx(nets.price(network, splits)["latency_ms"])
        assert model.fits_board
        assert model.keeps_limits


def test_the_page_has_the_table_of_its_rows() -> None:
    page = Path(__file__).resolve().parents[3] / "results" / "searches" / "rivals" / "README.md"
    rows = RowFile(page.with_name("rows.csv"), key=COLUMNS[:4], columns=COLUMNS)
    assert summary(rows, {rival: user_lines(rival) for rival in RIVALS}) in page.read_text()


@pytest.mark.parametrize("rival", [name for name in RIVALS if name != US])
def test_every_rival_is_one_short_script_with_requirements(rival: str) -> None:
    script = HERE / rival / "search.py"
    assert len(script.read_text().splitlines()) <= LONGEST_SCRIPT
    assert (HERE / rival / "requirements.txt").is_file()
    assert user_lines(rival) > user_lines(US)
