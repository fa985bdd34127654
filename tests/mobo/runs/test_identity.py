"""A run is one study's: its config, its store and its models say so, and every command looks."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import CHANGEABLE, PLACES, IdentityError, differing_keys, owner, study_identity
from mobo.runs.record import read_run
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_names import OWNER
from tests.mobo.problems_for_tests import as_of_version
from tests.mobo.small_study import TEXT, small_config

OTHERS = {
    "board": "device.name=nucleo-f446re",
    "seed": "seed=4",
    "space": "space.epochs=2",
    "sampler": "sampler.name=random",
}
SAID = {
    "board": "device.name is 'nucleo-f446re' in it and 'nucleo-l4r5zi' in the config",
    "seed": "it has seed 4, the config 0",
    "space": "space.epochs is 2 in it and 1 in the config",
    "sampler": "sampler.name is 'random' in it and 'sobol' in the config",
}


def mobo(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two trials each: the small study, and one of every other."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "study.toml").write_text(TEXT, encoding="utf-8")
    for name, overrides in {"run": [], **{name: [override] for name, override in OTHERS.items()}}.items():
        result = mobo("search", folder / "study.toml", *overrides, "trials=2", "--out", folder / name)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, to be spoilt."""
    monkeypatch.chdir(shutil.copytree(finished, tmp_path / "runs"))
    return tmp_path / "runs"


COMMANDS: dict[str, tuple[str, ...]] = {
    "search": ("search", "study.toml", "--trials", "3", "--out", "run", "--resume"),
    "front": ("front", "run"),
    "report": ("report", "run"),
    "confirm": ("confirm", "run"),
    "retrain": ("retrain", "run"),
    "pick": ("pick", "run", "--device", "nucleo-l4r5zi"),
    "export": ("export", "run", "0", "--format", "c", "--out", "out"),
    "compress": ("compress", "run", "0", "--device", "nucleo-l4r5zi", "--out", "out"),
    "goal": ("goal", "run"),
}


def refused(message: str, *commands: str) -> None:
    """Make sure that commands refuse the run with one line, and change nothing."""
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    for command in commands or COMMANDS:
        result = mobo(*COMMANDS[command])
        assert result.exit_code == 2, (command, result.output)
        (line,) = result.stderr.splitlines()
        assert message in line, command
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("other", OTHERS)
def test_a_store_of_another_study_is_refused_by_every_command(folder: Path, other: str) -> None:
    shutil.copy(f"{other}/study.db", "run/study.db")
    refused(f"run/study.db is the store of another study than the config beside it: {SAID[other]}")


def test_both_configs_edited_alike_are_refused(folder: Path) -> None:
    for path in (Path("study.toml"), Path("run/config.toml")):
        path.write_text(path.read_text().replace("nucleo-l4r5zi", "nucleo-f446re"))
    refused("device.name is 'nucleo-l4r5zi' in it and 'nucleo-f446re' in the config")


def test_the_model_of_another_study_or_trial_is_refused(folder: Path) -> None:
    shutil.rmtree("run/models/1")
    for source in ("board/models/1", "run/models/0"):
        shutil.copytree(source, "run/models/1")
        refused("run/models/1 is not the model of trial 1 of this run")
        shutil.rmtree("run/models/1")


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [remove, empty])
def test_a_run_without_its_store_is_refused_and_no_model_is_overwritten(
    folder: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(Path("run/study.db"))
    refused("run has no trials in study.db, but front.csv and log.txt and models", "search")
    for name in ("front.csv", "trials.csv", "report.html", "log.txt"):
        Path("run", name).unlink()
    refused("run has no trials in study.db, but models", "search")


def test_a_store_without_the_trials_of_the_models_is_refused(folder: Path) -> None:
    with closing(sqlite3.connect("run/study.db", isolation_level=None)) as connection:
        for table in ("test_errors", "trainings", "trials"):
            connection.execute(f"DELETE FROM {table} WHERE number = 1")
    refused("run/models/1 is the model of no trial in run/study.db, which has 1")


def test_a_store_without_an_earlier_trial_is_refused(folder: Path) -> None:
    with closing(sqlite3.connect("run/study.db", isolation_level=None)) as connection:
        for table in ("test_errors", "trainings", "trials"):
            connection.execute(f"DELETE FROM {table} WHERE number = 0")
    refused("run/study.db is damaged: it has no trial 0, though later ones")


def test_a_pipe_in_the_place_of_the_store_is_refused(folder: Path) -> None:
    Path("run/study.db").unlink()
    os.mkfifo("run/study.db")
    refused("is no plain file", "search")
    refused("study.db missing", *(name for name in COMMANDS if name != "search"))


def test_a_run_of_an_earlier_version_is_taken_where_the_configs_agree(folder: Path) -> None:
    as_of_version(Path("run/study.db"), 2)
    for path in Path("run/models").glob(f"*/{OWNER}"):
        path.unlink()
    before = read_run(Path("run")).trials
    result = mobo(*COMMANDS["search"])
    assert result.exit_code == 0, result.output
    record = read_run(Path("run"))
    assert record.trials[:2] == before
    with Store.open(Path("run/study.db"), read_only=True) as store:
        assert store.identity == study_identity(record.config)
        assert set(store.inputs) == {"task", *(key for key in PLACES if not key.startswith("task."))}
        assert json.loads(Path("run/models/2", OWNER).read_text()) == {"study": store.identity, "trial": 2}
    as_of_version(Path("board/study.db"), 2)
    shutil.copy("board/study.db", "run/study.db")
    refused("device.name is 'nucleo-f446re' in it")


def test_a_run_of_mobo_compress_has_an_identity_too(folder: Path) -> None:
    packed = ("--method", "uniform", "--evaluations", "1", "--out", "out")
    result = mobo("compress", "run", 0, "--device", "nucleo-f446re", *packed)
    assert result.exit_code == 0, result.output
    with Store.open(Path("out/study.db"), read_only=True) as store:
        assert Path("out/models/0", OWNER).read_text() == owner(store.identity, 0)
    assert mobo("front", "out").exit_code == 0
    shutil.copytree("run/models/0", "out/models/0", dirs_exist_ok=True)
    with pytest.raises(IdentityError, match="is not the model of trial 0 of this run"):
        read_run(Path("out"))


def samples(path: Path, shift: float) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 8, 8, 1)) + shift * (np.arange(300) == 0)[:, None, None, None]
    np.savez(path, x_train=x, y_train=np.arange(300) % 3)


def test_other_data_under_the_same_name_are_refused_and_the_same_data_elsewhere_are_not(folder: Path) -> None:
    Path("elsewhere").mkdir()
    samples(Path("data.npz"), 0.0)
    shutil.copy("data.npz", "elsewhere/data.npz")
    task = 'task={name = "npz", file = "data.npz"}'
    assert mobo("search", "study.toml", task, "--trials", 1, "--out", "own").exit_code == 0
    samples(Path("data.npz"), 1.0)
    again = ("search", "study.toml", task, "--trials", 2, "--out", "own", "--resume")
    for result in (mobo(*again), mobo("confirm", "own")):
        assert result.exit_code == 2
        assert "the content of task is not what the run of own/study.db was made with (SHA-256 " in result.stderr
    assert RunDirectory(Path("own")).config_path.read_text().count("trials = 1") == 1
    moved = mobo(*again, "task.file='elsewhere/data.npz'")
    assert moved.exit_code == 0, moved.output


def test_every_key_but_those_that_are_listed_decides() -> None:
    config = small_config()
    for key in StudyConfig.model_fields:
        assert (key in CHANGEABLE) == (key in ("trials", "hours", "keep", "confirm", "retrain", "goal"))
    same = small_config("trials=9", "keep.models_mib=1", "confirm.seeds=2", "retrain.front=true")
    assert study_identity(same) == study_identity(config)
    assert differing_keys(same, config) == {}
    for override in (*OTHERS.values(), "compute.jobs=2", "constraints.0.upper=9999", "stopping.chance=0.05"):
        other = small_config(override)
        assert study_identity(other) != study_identity(config)
        assert len(differing_keys(other, config)) == 1
