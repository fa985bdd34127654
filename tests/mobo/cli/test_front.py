import json
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.space import columns
from mobo.space.trial import TrialState
from tests.mobo.synthetic_run import CONFIG, TRIALS, MadeUp, make_run

cli = CliRunner()


def test_json_has_exactly_the_agreed_keys_and_the_front_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    objects = json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)
    assert list(objects[0]) == [
        "trial",
        "validation_error",
        "test_error",
        "flash_model_bytes",
        "flash_image_bytes",
        "ram_bytes",
        "latency_ms",
        "energy_uj",
        "macs",
        "download_bytes",
        "kept_channels_ratio",
        "kept_parameters_ratio",
        *columns.BARS,
    ]
    # Trial 3 costs what trial 2 costs and errs more; 4 failed; 5 was ruled out.
    assert {entry["trial"]: entry["test_error"] for entry in objects} == {0: 0.31, 1: 0.22, 2: 0.125}
    # conv 8x8x1 -> 8 channels: 8*8*9*8 = 4608 MACs; dense 8 -> 10: 80 MACs.
    assert next(entry["macs"] for entry in objects if entry["trial"] == 0) == 4688
    # Runs of before downloads were measured stay readable.
    assert {entry["download_bytes"] for entry in objects} == {None}


def test_an_unread_test_error_is_null_and_an_unmeasured_power_is_estimated(tmp_path: Path) -> None:
    # No power figure is known for this board.
    config = CONFIG.replace("nucleo-l4r5zi", "nucleo-f411re")
    run = make_run(tmp_path / "run", (MadeUp(width=8),), config_toml=config)
    (entry,) = json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)
    assert entry["test_error"] is None
    # 0.57 mW/MHz, the typical power of a Cortex-M4, at 100 MHz.
    assert entry["energy_uj"] == pytest.approx(57.0 * entry["latency_ms"])
    row = cli.invoke(app, ["front", str(run.path)]).stdout.splitlines()[1].split()
    assert row[2] == "-"


def test_the_table_shows_units_and_percent(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = cli.invoke(app, ["front", str(run.path)]).stdout.splitlines()
    assert "model flash KiB" in lines[0]
    assert lines[1].split()[:3] == ["2", "10.00", "12.50"]


def test_a_front_without_feasible_trials_is_empty_and_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", (MadeUp(width=8, state=TrialState.FAILED, message="NaN"),))
    result = cli.invoke(app, ["front", str(run.path)])
    assert (result.exit_code, result.stdout) == (0, "the front is empty: none of 1 finished trials is feasible yet\n")
    assert json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout) == []


def test_a_folder_that_is_no_run_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    result = cli.invoke(app, ["front", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "config.toml and study.db missing" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", TRIALS[:1])
    with sqlite3.connect(run.store_path) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    result = cli.invoke(app, ["front", str(run.path)])
    assert result.exit_code == 2
    assert "written by a newer version" in result.stderr
