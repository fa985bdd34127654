from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app

cli = CliRunner()
CONFIG = """
name = "tiny"
seeds = [0, 1]
evaluations = 6
initial_trials = 4
[[problems]]
name = "zdt1"
[[problems]]
name = "mixed_dtlz2"
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


def test_a_benchmark_runs_in_worker_processes_resumes_and_reports(tmp_path: Path, config: str) -> None:
    out = tmp_path / "out"
    first = cli.invoke(app, ["benchmark", config, "--out", str(out), "--jobs", "2"])
    assert first.exit_code == 0, first.output
    assert "[8/8]" in first.output
    assert (out / "log.txt").read_text().count("  done  6 evaluations") == 8
    assert (out / "summary" / "README.md").is_file()
    cells = {path: path.read_bytes() for path in out.rglob("trials.csv")}
    assert len(cells) == 8

    # One cell is gone: only that one is run again, with the same designs.
    lost = out / "zdt1" / "optuna_tpe" / "seed-1" / "trials.csv"
    lost.unlink()
    again = cli.invoke(app, ["benchmark", config, "--out", str(out)])
    assert again.exit_code == 0, again.output
    for path, before in cells.items():
        if path == lost:
            assert path.read_bytes().splitlines()[1].split(b",")[3:5] == before.splitlines()[1].split(b",")[3:5]
        else:
            assert path.read_bytes() == before


def test_a_failed_cell_is_said_and_the_exit_code_is_1(tmp_path: Path, config: str) -> None:
    out = tmp_path / "out"
    assert cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]"]).exit_code == 0
    result = cli.invoke(app, ["benchmark", config, "--out", str(out), "seeds=[0]", "initial_trials=3"])
    assert result.exit_code == 1
    assert "made with another initial_trials" in result.output
    assert "4 cells failed" in result.output


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
