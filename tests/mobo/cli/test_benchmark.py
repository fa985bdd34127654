from pathlib import Path
from shutil import rmtree

import pytest
from typer.testing import CliRunner

import mobo.benchmark.run
from mobo.benchmark.archive import read_archive, write_archive
from mobo.benchmark.cell_record import KeptCell
from mobo.cli.app import app
from tests.mobo.worker_tasks import InThisProcess

cli = CliRunner()
CONFIG = """
name = "tiny"
seeds = [0, 1]
evaluations = 6
initial_trials = 4
[[problems]]
name = "zdt1"
[[samplers]]
name = "optuna_tpe"
[[samplers]]
name = "sobol"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(CONFIG)
    return str(path)


@pytest.fixture
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobo.benchmark.run, "WorkerPool", InThisProcess)


def test_a_benchmark_runs_in_worker_processes_resumes_and_reports(
    tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = cli.invoke(app, ["benchmark", config, "--out", str(out), "--jobs", "2"])
    assert first.exit_code == 0, first.output
    assert "[4/4]" in first.output
    assert (out / "log.txt").read_text().count("  done  6 evaluations") == 4
    assert (out / "summary" / "README.md").is_file()
    assert {path.name for path in out.iterdir()} == {
        ".lock", "config.toml", "log.txt", "cells.csv.gz", "trials.csv.gz", "summary",
    }  # fmt: skip
    cells = read_archive(out)
    assert len(cells) == 4
    assert all(len(cell.trials) == 6 for cell in cells)

    # One cell has lost its trials: only that one is run again, with the same designs.
    lost = next(cell for cell in cells if cell.record.key == ("zdt1", "optuna_tpe", 1))
    write_archive(out, [KeptCell(cell.record, () if cell is lost else cell.trials) for cell in cells])
    monkeypatch.setattr(mobo.benchmark.run, "WorkerPool", InThisProcess)
    again = cli.invoke(app, ["benchmark", config, "--out", str(out)])
    assert again.exit_code == 0, again.output
    for before, after in zip(cells, read_archive(out), strict=True):
        assert after.trials == before.trials
        same_times = [trial.times_s for trial in after.trials] == [trial.times_s for trial in before.trials]
        assert same_times == (before is not lost)
        # A record tells seconds, and may have ended in the second of the one before.
        assert before is lost or after.record == before.record


@pytest.mark.usefixtures("one_process")
def test_the_report_is_rebuilt_from_the_archive_byte_for_byte(tmp_path: Path, config: str) -> None:
    out = tmp_path / "out"
    assert cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]"]).exit_code == 0
    before = {path: path.read_bytes() for path in (out / "summary").iterdir()}
    rmtree(out / "summary")
    again = cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]", "--report-only"])
    assert again.exit_code == 0, again.output
    assert {path: path.read_bytes() for path in (out / "summary").iterdir()} == before


def test_a_folder_of_an_older_version_is_refused_in_one_line(tmp_path: Path, config: str) -> None:
    old = tmp_path / "old" / "zdt1" / "sobol" / "seed-0" / "run.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    for arguments in ([], ["--report-only"]):
        result = cli.invoke(app, ["benchmark", config, "--out", str(tmp_path / "old"), *arguments])
        assert result.exit_code == 2
        assert "older version wrote them" in result.output
        assert "Traceback" not in result.output


@pytest.mark.usefixtures("one_process")
def test_a_failed_cell_is_said_and_the_exit_code_is_1(tmp_path: Path, config: str) -> None:
    out = tmp_path / "out"
    assert cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]"]).exit_code == 0
    result = cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]", "initial_trials=3"])
    assert result.exit_code == 1
    assert "made with another initial_trials" in result.output
    assert "2 cells failed" in result.output


def test_report_only_runs_nothing(tmp_path: Path, config: str) -> None:
    result = cli.invoke(app, ["benchmark", config, "--out", str(tmp_path / "none"), "--report-only"])
    assert result.exit_code == 2
    assert "has no trials of this config" in result.output
    assert not (tmp_path / "none").exists()


def test_an_unknown_sampler_is_refused_before_anything_runs(tmp_path: Path, config: str) -> None:
    result = cli.invoke(app, ["benchmark", config, "--out", str(tmp_path / "none"), "samplers.0.name=optuna_tp"])
    assert result.exit_code == 2
    assert "optuna_tpe" in result.output
    assert not (tmp_path / "none").exists()
