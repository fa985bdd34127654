import csv
import json
import re
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.cli.output import front_text
from mobo.runs.adopted import hyperparameters_of
from mobo.runs.directory import RunDirectory
from mobo.runs.mistakes import mistakes_of
from mobo.runs.record import read_run
from mobo.space import columns
from mobo.space.confirmation import Repeat
from mobo.space.search_space import Design
from mobo.space.trial import TrialState
from mobo.study.store import Store
from tests.mobo.synthetic_run import CONFIG, TRIALS, MadeUp, make_run

cli = CliRunner()


def test_json_has_exactly_the_agreed_keys_and_the_front_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    objects = json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)
    assert list(objects[0]) == [
        "trial",
        "validation_error",
        "test_error",
        "float_validation_error",
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
    lines = cli.invoke(app, ["front", str(run.path)]).stdout.splitlines()
    assert lines[1].split()[2] == "-"
    told = "energy is of 57 mW, at no stated supply, typical of other boards with this core"
    assert any(line.startswith(told) for line in lines)


def test_the_table_shows_units_and_percent(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    lines = cli.invoke(app, ["front", str(run.path)]).stdout.splitlines()
    assert "model flash KiB" in lines[0]
    assert lines[1].split()[:3] == ["2", "10.00", "12.50"]


def test_a_confirmed_run_has_columns_of_its_own_everywhere(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with Store.open(run.store_path) as store:
        for repeat, error in enumerate((0.18, 0.22, None)):
            store.save_repeat(
                Repeat(trial=2, repeat=repeat, seed=1, trained_folds=0, samples=200, error=error, message="NaN")
            )
        store.save_repeat(Repeat(trial=1, repeat=0, seed=1, trained_folds=0, samples=200, error=0.25))
    objects = json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)
    first = ["trial", "validation_error", "test_error", *columns.CONFIRMED, "float_validation_error"]
    assert list(objects[0])[:9] == [*first, columns.COSTS[0]]
    by_trial = {entry["trial"]: [entry[name] for name in columns.CONFIRMED] for entry in objects}
    error, low, high, repeats = by_trial[2]
    # The first measurement, 0.10, is not in the mean.
    assert (error, repeats) == (pytest.approx(0.2), 2)
    assert low < 0.18 < 0.22 < high
    assert by_trial[1] == [0.25, None, None, 1]
    assert by_trial[0] == [None] * 4
    lines = cli.invoke(app, ["front", str(run.path)]).stdout.splitlines()
    assert "confirmed %  80 % of it  repeats" in lines[0].replace("   ", "  ")
    assert lines[1].split()[:6] == ["2", "10.00", "12.50", "20.00", f"{100 * low:.2f}-{100 * high:.2f}", "2"]
    record = read_run(run.path)
    record.write_tables()
    with run.front_path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["trial"]: row["confirmed_error"] for row in rows} == {"0": "", "1": "0.25", "2": "0.2"}
    assert list(record.front_frame().columns)[2:6] == list(columns.CONFIRMED)
    assert "confirmed" not in run.trials_path.read_text(encoding="utf-8").splitlines()[0]


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


def test_mistakes_are_shown_where_they_were_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    missing = cli.invoke(app, ["front", str(run.path), "--mistakes", "2"])
    assert missing.exit_code == 2
    assert "no mistakes of trial 2 are kept: they are written when the test split is read" in missing.stderr
    folder = run.model_directory(2)
    folder.mkdir(parents=True, exist_ok=True)
    mistakes_of(np.array([1, 1, 0]), np.array([0, 1, 0]), ("cat", "dog"), np.array(["a", "a", "b"])).write(folder)
    lines = cli.invoke(app, ["front", str(run.path), "--mistakes", "2"]).stdout.splitlines()
    assert lines[1].split() == ["cat", "dog", "1", "2", "50.0"]
    assert lines[4].split() == ["a", "2", "1", "50.00"]
    (found,) = json.loads(cli.invoke(app, ["front", str(run.path), "--mistakes", "2", "--json"]).stdout)
    assert found["confusion"] == [[1, 1], [0, 1]]
    assert cli.invoke(app, ["front", str(run.path), "--mistakes", "77"]).exit_code == 2


def noisy_run(path: Path, luck: float) -> RunDirectory:
    """Return a run of 24 trials whose error falls with the width; one narrow network was lucky."""
    config = CONFIG + '[space]\nwidth = {type = "int", low = 8, high = 31}\n'
    entries = tuple(MadeUp(width=8 + number, error=0.5 - 0.01 * number) for number in range(24))
    run = make_run(path, entries, config_toml=config)
    space = hyperparameters_of(read_run(run.path).config, (8, 8, 1)).space
    middle = space.decode(np.full(len(space), 0.5))
    with Store.open(run.store_path) as store:
        for trial in store.trials():
            error = float(trial.outcome["validation_error"] or 0.0) - (luck if trial.number == 12 else 0.0)
            told = {"validation_error": error, columns.standard_error_of("validation_error"): 0.02}
            store.save(
                replace(
                    trial,
                    design=Design({**middle, "width": 8 + trial.number}),
                    outcome={**trial.outcome, **told},
                )
            )
    return run


def test_the_expected_front_takes_no_lucky_measurement_at_its_word(tmp_path: Path) -> None:
    run = noisy_run(tmp_path / "run", luck=0.08)
    measured = [entry["trial"] for entry in json.loads(cli.invoke(app, ["front", str(run.path), "--json"]).stdout)]
    assert not {13, 14, 15} & set(measured)
    result = cli.invoke(app, ["front", str(run.path), "--expected", "--json"])
    expected = {entry["trial"]: entry for entry in json.loads(result.stdout)}
    assert {12, 14, 15, 16} <= set(expected)
    lucky = expected[12]
    assert list(lucky)[-3:] == list(columns.EXPECTED)
    assert lucky["validation_error"] == pytest.approx(0.3)
    assert lucky["expected_low"] < lucky["expected_error"] < lucky["expected_high"]
    assert lucky["expected_error"] > 0.34
    assert re.search(r" expected % +80 % of it ", front_text(json.loads(result.stdout)).splitlines()[0])


def test_without_standard_errors_nothing_is_expected(tmp_path: Path) -> None:
    result = cli.invoke(app, ["front", str(make_run(tmp_path / "run").path), "--expected"])
    assert result.exit_code == 2
    assert "tells the standard error" in result.stderr
