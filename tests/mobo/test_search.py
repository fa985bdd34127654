"""The whole way from config to scored front, small, and what stands in its way."""

import csv
import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import hw_models
from mobo.base import atomic_write
from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.search import SearchEvent, run_search
from mobo.space.trial import TrialState
from mobo.study.store import Store
from mobo.tinyml.model_names import GRAPH, TRAINED
from mobo.tinyml.setup import load_setup
from tests.mobo.small_study import TEXT, TWO_FAMILIES, small_config


def search(folder: Path, *overrides: str, resume: bool = False) -> list[SearchEvent]:
    config = small_config(*overrides)
    run = RunDirectory.open(folder) if resume else RunDirectory.create(folder, config_toml=config.to_toml())
    events: list[SearchEvent] = []
    run_search(config, run, resume=resume, on_event=events.append)
    return events


def test_a_search_ends_with_a_scored_front(tmp_path: Path) -> None:
    events = search(tmp_path / "run")
    kinds = [event.kind for event in events]
    assert kinds.count("started") == kinds.count("finished") == 3
    scored = {event.trial.number for event in events if event.kind == "scored"}
    with Store.open(tmp_path / "run" / "study.db", read_only=True) as store:
        assert set(store.test_errors()) == scored
        assert all(trial.state is TrialState.DONE for trial in store.trials())
        assert all("test_error" not in trial.outcome for trial in store.trials())


def test_a_resumed_search_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    search(tmp_path / "whole")
    search(tmp_path / "parts", "trials=1")
    search(tmp_path / "parts", resume=True)
    trials = []
    for name in ("whole", "parts"):
        with Store.open(tmp_path / name / "study.db", read_only=True) as store:
            trials.append(store.trials())
    assert trials[0] == trials[1]


# Four trials of the start: a training with two children, and another; then two by the second.
SHARING = (
    "compression.method=fixed",
    "compression.start_from=finetuned",
    "sampler.name=polar_ehvi",
    "sampler.settings={initial_trials=4, first_children=2, rays=16, search={pool=32, moves=4, rounds=1}}",
    "trials=6",
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole search with children in one process; only looked at."""
    folder = tmp_path_factory.mktemp("shared") / "run"
    search(folder, *SHARING)
    return folder


@pytest.mark.parametrize("parallel", [(), pytest.param(("compute.jobs=2", "compute.lag=2"), marks=pytest.mark.slow)])
def test_a_search_with_children_that_was_stopped_ends_like_an_unbroken_one(
    shared: Path, tmp_path: Path, parallel: tuple[str, ...]
) -> None:
    whole = shared
    if parallel:
        whole = tmp_path / "whole"
        search(whole, *SHARING, *parallel)
    search(tmp_path / "parts", *SHARING, *parallel, "trials=2")
    search(tmp_path / "parts", *SHARING, *parallel, resume=True)
    trials = []
    for folder in (whole, tmp_path / "parts"):
        with Store.open(folder / "study.db", read_only=True) as store:
            trials.append(store.trials())
    assert trials[0] == trials[1]
    children = [trial for trial in trials[0] if trial.is_child]
    assert children
    # With a lag of two each of the few children came before there was a larger sibling in view.
    assert any(child.sibling for child in children) or parallel
    run = RunDirectory.open(tmp_path / "parts")
    for trial in trials[0]:
        has_weights = (run.model_directory(trial.number) / TRAINED).is_file()
        assert has_weights == (trial.state is TrialState.DONE and not trial.is_child)
    record = read_run(run.path)
    frame = record.trials_frame()
    for child in children:
        assert child.training is not None
        # Where `mobo compress` and a goal's baseline find the float weights.
        assert record.trained_directory(child.number) == run.model_directory(child.training.trial)
        assert frame["training"][child.number] == child.training.trial
        if child.sibling is not None:
            assert frame["sibling"][child.number] == child.sibling.trial


def test_a_search_keeps_no_more_models_than_it_is_told_and_finds_the_same(shared: Path, tmp_path: Path) -> None:
    search(tmp_path / "few", *SHARING, "keep.models_mib=0")
    records = [read_run(folder) for folder in (shared, tmp_path / "few")]
    assert records[0].trials == records[1].trials
    assert records[0].test_errors == records[1].test_errors
    on_front = {trial.number for trial in records[1].front}
    models = records[1].directory.models_path
    assert {int(path.parent.name) for path in models.glob(f"*/{GRAPH}")} == on_front
    assert len(on_front) < len(records[0].trials)
    trained = {trial.training.trial for trial in records[1].trials if trial.training is not None}
    assert {int(path.parent.name) for path in models.glob(f"*/{TRAINED}")} == trained


def test_the_clock_ends_a_study_and_decides_on_nothing_else(shared: Path, tmp_path: Path) -> None:
    search(tmp_path / "short", *SHARING, "hours=1e-9")
    found = []
    for folder in (tmp_path / "short", shared):
        with Store.open(folder / "study.db", read_only=True) as store:
            found.append(store.trials())
    # The time of a study is over before its first trial, so it has none; what it has is a beginning of the whole.
    assert found[0] == found[1][: len(found[0])]
    assert len(found[0]) < 6


def test_worker_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    # With the lag of two jobs one job's suggestions see the same trials.
    start = (*SHARING, "trials=4", "compute.lag=2")
    search(tmp_path / "one", *start)
    events = search(tmp_path / "two", *start, "compute.jobs=2")
    found = []
    for name in ("one", "two"):
        run = RunDirectory.open(tmp_path / name)
        with Store.open(run.store_path, read_only=True) as store:
            found.append((store.trials(), store.test_errors()))
        assert all((run.model_directory(trial.number) / GRAPH).is_file() for trial in found[-1][0])
        assert not list(run.models_path.glob(".*"))
    assert found[0] == found[1]
    assert any(trial.is_child for trial in found[0][0])
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["started", "started"]
    assert kinds.count("started") == kinds.count("finished") == 4


def processes(session: int) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def stopped(command: list[str], store: Path, *, after: int, stop: Callable[[subprocess.Popen[str]], None]) -> int:
    """Run a search until so many trials are finished, stop it, and return its exit code once nothing of it is left.

    One at least is finished by this process: before that it may not have come further than its imports.
    """

    def finished() -> int:
        if not store.is_file() or store.stat().st_size == 0:
            return 0
        with Store.open(store, read_only=True) as reader:
            return sum(trial.state.is_finished for trial in reader.trials())

    after = max(after, finished() + 1)
    # What a shell starts in the background ignores interrupts, and with it whatever that starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, start_new_session=True, text=True, stdout=subprocess.DEVNULL) as process:
        signal.signal(signal.SIGINT, before)
        while process.poll() is None and finished() < after:
            time.sleep(0.05)
        assert process.poll() is None, "the search ended before it could be stopped"
        stop(process)
        code = process.wait(60)
        deadline = time.monotonic() + 60
        while (left := processes(process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
    return code


@pytest.mark.slow
def test_a_parallel_search_that_was_killed_and_interrupted_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    sampler = ["sampler.name=ax", "sampler.settings={initial_trials=2, raw_samples=16, restarts=2}"]
    options = [*sampler, "space.epochs=8", "--trials", "7", "--jobs", "2", "--out"]
    command = [sys.executable, "-m", "mobo", "search", str(tmp_path / "study.toml"), *options]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, stdout=subprocess.DEVNULL)
    parts, store = [*command, str(tmp_path / "parts")], tmp_path / "parts" / "study.db"
    assert stopped(parts, store, after=1, stop=lambda process: process.kill()) == -signal.SIGKILL
    # A terminal sends Ctrl-C to every process of the group; the workers leave it to the search.
    resumed = [*parts, "--resume"]
    assert stopped(resumed, store, after=3, stop=lambda process: os.killpg(process.pid, signal.SIGINT)) == 130
    assert stopped(resumed, store, after=5, stop=lambda process: process.kill()) == -signal.SIGKILL
    subprocess.run(resumed, check=True, stdout=subprocess.DEVNULL)
    trials = []
    for name in ("whole", "parts"):
        with Store.open(tmp_path / name / "study.db", read_only=True) as reader:
            trials.append((reader.trials(), reader.test_errors()))
    assert len(trials[0][0]) == 7
    assert trials[0] == trials[1]


def mobo(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def arrays(**changes: object) -> dict[str, object]:
    generator = np.random.default_rng(0)
    return {"x_train": generator.normal(size=(200, 8, 8, 1)), "y_train": np.arange(200) % 4} | changes


BAD_DATA = {
    "missing file": (None, "does not exist"),
    "wrong shapes": (arrays(y_train=np.zeros(7, int)), "it must be (200,)"),
    "one class only": (arrays(y_train=np.zeros(200, int)), "at least two classes"),
    "NaN in the data": (arrays(x_train=np.full((200, 8, 8, 1), np.nan)), "NaN or infinite values"),
}

BAD_CONFIG = {
    "unknown key": (["trails=3"], "unknown key 'trails'; did you mean 'trials'"),
    "unknown device": (["device.name=nucleo-l4r5z"], "unknown device 'nucleo-l4r5z'; did you mean 'nucleo-l4r5zi'"),
    "unknown runtime": (["device.runtime=tflm"], "unknown runtime 'tflm'"),
    "bit width the runtime lacks": (["device.runtime=stm32cubeai-9"], "asks for 4-bit weights, which 'stm32cubeai-9'"),
    "unknown sampler": (["sampler.name=sobl"], "unknown sampler 'sobl'; did you mean 'sobol'"),
    "own sampler that is nowhere": (
        ['sampler={class="nowhere:Mine"}'],
        "class 'nowhere:Mine' cannot be imported: No mod",
    ),
    "a core the runtime does not cover": (
        ["device.name=ek-ra8d1", "device.runtime=microtvm"],
        "device 'ek-ra8d1' cannot be searched: its core cortex-m85 is not covered by the runtime 'microtvm'",
    ),
    "impossible budget": (["constraints.0.upper=100"], "flash_model_bytes would need at least"),
}


@pytest.mark.parametrize("command", ["search", "validate"])
@pytest.mark.parametrize("case", [*BAD_CONFIG, *BAD_DATA])
def test_bad_input_is_one_clear_message_and_exit_code_2(
    case: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    if case in BAD_CONFIG:
        overrides, message = BAD_CONFIG[case]
    else:
        data, message = BAD_DATA[case]
        if data is not None:
            np.savez(tmp_path / "data.npz", **{key: np.asarray(value) for key, value in data.items()})
        overrides = ['task.name="npz"', 'task.file="data.npz"']
    result = mobo(command, "study.toml", *overrides)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_a_nan_loss_fails_the_trial_and_the_search_goes_on(tmp_path: Path) -> None:
    range_with_an_exploding_end = "space.learning_rate={type='ordinal', values=[0.01, 1e30]}"
    search(tmp_path / "run", range_with_an_exploding_end, "trials=4")
    with Store.open(tmp_path / "run" / "study.db", read_only=True) as store:
        states = {trial.design["learning_rate"]: trial.state for trial in store.trials()}
        messages = [trial.message for trial in store.trials() if trial.state is TrialState.FAILED]
    assert states == {0.01: TrialState.DONE, 1e30: TrialState.FAILED}
    assert all("training loss became" in message for message in messages)


CONDITIONAL = [
    "space.stages={type='int', low=1, high=2}",
    "space.width_growth={type='ordinal', values=[1.5, 2.0], when={stages=[2]}, otherwise=1.0}",
]


def test_a_conditional_hyperparameter_goes_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    assert mobo("validate", "study.toml", *CONDITIONAL).exit_code == 0
    command = ["search", "study.toml", *CONDITIONAL, "--out", "run"]
    assert mobo(*command, "--trials", "2").exit_code == 0
    result = mobo(*command, "--trials", "4", "--resume")
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    growth = {(row["design_stages"], row["design_width_growth"]) for row in rows}
    assert ("1", "") in growth
    assert growth <= {("1", ""), ("2", "1.5"), ("2", "2.0")}
    assert len(growth) > 1
    assert {row["state"] for row in rows} == {"done"}
    assert mobo("pick", "run", "--device", "nucleo-f446re").exit_code == 0
    assert mobo("front", "run").exit_code == 0


def test_two_families_go_the_whole_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    overrides = [*SHARING, "sampler.settings.first_children=1", *TWO_FAMILIES]
    checked = mobo("validate", "study.toml", *overrides)
    assert checked.exit_code == 0, checked.output
    assert "network families: ds_cnn, residual" in checked.output
    command = ["search", "study.toml", *overrides, "--out", "run"]
    assert mobo(*command, "--trials", "4").exit_code == 0
    result = mobo(*command, "--trials", "6", "--resume")
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["state"] for row in rows} == {"done"}
    assert {row["design_family"] for row in rows} == {"ds_cnn", "residual"}
    for row in rows:
        other = "residual" if row["design_family"] == "ds_cnn" else "ds_cnn"
        assert {value for name, value in row.items() if name.startswith(f"design_{other}_")} == {""}
        assert rows[int(row["training"])]["design_family"] == row["design_family"]
    assert any(row["training"] != row["trial"] for row in rows)
    assert "network families ds_cnn, residual" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    for residual in (row["trial"] for row in rows if row["design_family"] == "residual"):
        packed = ["--method", "uniform", "--evaluations", "1", "--out", f"again-{residual}"]
        result = mobo("compress", "run", residual, "--device", "nucleo-f446re", *packed)
        assert result.exit_code == 0, result.output
        break


# The others are written as the models are.
@pytest.mark.parametrize(
    "full",
    ["models", "log.txt", *(pytest.param(name, marks=pytest.mark.slow) for name in ("trials.csv", "report.html"))],
)
def test_a_full_disk_stops_the_search_with_one_line_and_resume_finishes_it(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    command = ["search", "study.toml", "--trials", "2", "--out"]
    search(tmp_path / "whole", "trials=2")
    written = atomic_write.write_bytes

    def refused(path: Path, data: bytes) -> None:
        # Of the models the second trial's.
        if path.name == full or (full == "models" and path.parent.name.startswith(".1.")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        written(path, data)

    with monkeypatch.context() as patch:
        if full == "log.txt":
            patch.setattr(RunDirectory, "append_log", lambda run, line: refused(run.log_path, b""))
        patch.setattr(atomic_write, "write_bytes", refused)
        result = mobo(*command, "parts")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: the machine refused: No space left on device (parts/")
    assert line.endswith("a search with --resume")
    assert mobo(*command, "parts", "--resume").exit_code == 0
    records = [read_run(tmp_path / name) for name in ("whole", "parts")]
    assert records[0].trials == records[1].trials
    assert records[0].test_errors == records[1].test_errors
    assert (records[1].directory.report_path).is_file()


def test_an_existing_run_needs_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    (tmp_path / "taken").mkdir()
    result = mobo("search", "study.toml", "--out", "taken")
    assert result.exit_code == 2
    assert "exists already; continue that run with --resume" in result.stderr


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write")
def test_a_read_only_folder_is_said_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    result = mobo("search", "study.toml", "--out", "/proc/run")
    assert result.exit_code == 2
    assert "cannot write /proc/run" in result.stderr


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(TEXT, encoding="utf-8")
    search(tmp_path / "run", "trials=1")
    with sqlite3.connect(tmp_path / "run" / "study.db") as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    result = mobo("search", "study.toml", "--out", "run", "--resume")
    assert result.exit_code == 2
    assert "newer version (schema 99" in result.stderr


def test_a_runtime_of_ones_own_is_used(tmp_path: Path) -> None:
    built_in = Path(hw_models.__file__).with_name("runtimes") / "tflm-cmsis-nn.toml"
    own = built_in.read_text(encoding="utf-8").replace("engine_bytes = 117520", "engine_bytes = 100000", 1)
    assert "engine_bytes = 100000" in own
    (tmp_path / "own.toml").write_text(own, encoding="utf-8")
    override = f"device.runtime_file={str(tmp_path / 'own.toml')!r}"
    setups = [load_setup(small_config()), load_setup(small_config(override))]
    assert [setup.runtime.flash.engine_bytes for setup in setups] == [117520, 100000]
