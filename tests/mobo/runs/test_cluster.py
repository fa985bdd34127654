"""Trials of a run away from its disk: what goes out with them, and what comes back."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hw_models.files import FileError
from mobo.base.errors import MachineError, MoboError
from mobo.base.ray_actor import Lacking
from mobo.runs import cluster
from mobo.runs.cluster import Blueprint, ClusterTask, Scratch, machines_of, trial_runner, without_test
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import ModelKeeper, data_digests, differing_keys, study_identity
from mobo.runs.record import read_run
from mobo.search import run_search
from mobo.space.trial import TrialState
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_names import COMPRESSED, MISTAKES, POLICY, TRAINED
from mobo.tinyml.setup import load_setup
from tests.mobo.small_study import small_config
from tests.mobo.test_search import SHARING

ELSEWHERE = ("compute.cluster=auto", "compute.resources={cpus = 2, gpus = 0.5, memory_gib = 4}")


def blueprint(config: StudyConfig) -> Blueprint:
    setup = load_setup(config)
    return Blueprint(
        config_toml=config.to_toml(),
        device=setup.device,
        runtime=setup.runtime,
        data=data_digests(config, setup.data),
    )


def searched(path: Path, *overrides: str, on_note: Callable[[str], None] = lambda line: None) -> RunDirectory:
    config = small_config(*overrides)
    run = RunDirectory.create(path, config_toml=config.to_toml())
    run_search(config, run, on_note=on_note)
    return run


def models(run: RunDirectory) -> dict[str, str]:
    return {
        str(path.relative_to(run.models_path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in run.models_path.rglob("*")
        if path.is_file()
    }


def test_where_trials_run_is_no_part_of_a_studys_identity() -> None:
    here, there = small_config(), small_config(*ELSEWHERE)
    assert study_identity(here) == study_identity(there)
    assert not differing_keys(here, there)
    assert differing_keys(here, small_config("compute.jobs=2"))


def test_a_worker_makes_what_the_search_made_from_what_is_sent_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = searched(tmp_path / "run", *SHARING)
    monkeypatch.setattr(cluster, "shared", lambda reference: reference)
    trials = read_run(run.path).trials
    runner = trial_runner(blueprint(small_config(*SHARING)))
    child = next(trial for trial in trials if trial.sibling is not None)
    assert child.training is not None
    assert child.sibling is not None
    folders = {str(child.training.trial): (TRAINED,), str(child.sibling.trial): (TRAINED, COMPRESSED, POLICY)}
    files: dict[str, dict[str, Any]] = {
        folder: {name: path.read_bytes() for name in names if (path := run.models_path / folder / name).is_file()}
        for folder, names in folders.items()
    }
    pending = replace(child, state=TrialState.PROPOSED, finetuned="", outcome={}, message="")
    keeper = ModelKeeper(RunDirectory(tmp_path / "again"), study_identity(small_config(*SHARING)))
    (tmp_path / "again").mkdir()
    parcel = runner(ClusterTask(pending, files))
    keeper(child.number, parcel.files)
    assert parcel.result == child
    made = models(RunDirectory(tmp_path / "again"))
    # Mistakes are written when the test split is read, not by who makes the model.
    mine = {name for name in models(run) if name.startswith(f"{child.number}/") and not name.endswith(MISTAKES)}
    assert made == {name: digest for name, digest in models(run).items() if name in mine}
    # Nothing of it stays on the worker's disk.
    assert not Scratch().path.exists()


def test_files_that_the_config_names_are_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    config = small_config(
        "network.family=module", "network.module='tests.mobo.tinyml.networks.two_layers:build'",
        f"network.weights='{tmp_path / 'gone.pt'}'",
    )  # fmt: skip
    kept = Scratch().kept
    found = cluster._with_files(config, {"network.weights": b"those", "compression.warm_start": b"an agent"}, kept)
    assert cluster._files_of(config) == {"network.weights": tmp_path / "gone.pt"}
    assert {key: path.read_bytes() for key, path in cluster._files_of(found).items()} == {
        "network.weights": b"those",
        "compression.warm_start": b"an agent",
    }
    # They stay from trial to trial, and go with the worker.
    Scratch().end()
    assert not kept.exists()


def test_a_worker_with_other_data_asks_for_the_searchs(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    arrays = {"x_train": generator.normal(size=(200, 8, 8, 1)), "y_train": np.arange(200) % 4}
    np.savez(tmp_path / "own.npz", **arrays)
    config = small_config(f"task={{name = 'npz', file = '{tmp_path / 'own.npz'}'}}")
    plan, data = blueprint(config), load_setup(config).data
    np.savez(tmp_path / "own.npz", **arrays | {"x_train": arrays["x_train"] + 1e-3})
    with pytest.raises(Lacking, match="others there than here"):
        trial_runner(plan)
    (tmp_path / "own.npz").unlink()
    with pytest.raises(Lacking, match=r"own\.npz"):
        trial_runner(plan)
    sent = without_test(data)
    assert callable(trial_runner(plan, sent))
    with pytest.raises(MoboError, match="asked for the test split"):
        sent.load_test()


def test_weights_that_are_not_what_they_were_are_not_sent(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"others")
    with pytest.raises(MachineError, match=r"weights is not what a trial goes on from \(SHA-256 .* restore a copy"):
        cluster._checked(tmp_path / "weights", hashlib.sha256(b"these").hexdigest())
    with pytest.raises(MachineError, match="a trial goes on from it: restore a copy"):
        cluster._checked(tmp_path / "gone", "")
    assert cluster._checked(tmp_path / "weights", hashlib.sha256(b"others").hexdigest()) == b"others"


def test_what_dead_workers_left_is_swept_and_living_ones_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folders = {name: tmp_path / f"mobo-worker-{name}" for name in (str(dead.pid), str(os.getppid()), "notes")}
    for folder in folders.values():
        folder.mkdir()
    Scratch()
    assert {name for name, folder in folders.items() if folder.exists()} == {str(os.getppid()), "notes"}


def test_where_trials_ran_is_read_back(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert machines_of(run) == {}
    for number, node in ((0, "a"), (1, "b"), (0, "c")):
        run.append_machine(number, node, "a processor, of some kind")
    assert machines_of(run) == {0: ("c", "a processor, of some kind"), 1: ("b", "a processor, of some kind")}


def test_another_table_says_nothing_of_machines(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.machines_path.write_text("trial,error\n0,0.5\n", encoding="utf-8")
    with pytest.raises(FileError, match="has the columns trial, error; a search writes trial, node, kind"):
        machines_of(run)
    run.machines_path.write_text("trial,node,kind\nfirst,a,b\n", encoding="utf-8")
    with pytest.raises(FileError, match="names a trial by something else than its number"):
        machines_of(run)


@pytest.mark.slow
def test_a_search_on_a_cluster_equals_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    from tests.mobo.base.test_ray_workers import two_nodes

    generator = np.random.default_rng(0)
    np.savez(tmp_path / "own.npz", x_train=generator.normal(size=(200, 8, 8, 1)), y_train=np.arange(200) % 4)
    parallel = ("compute.jobs=2", "compute.lag=3", "task={name = 'npz', file = 'own.npz'}")
    notes: list[str] = []
    nodes = two_nodes()
    try:
        # Only now, so that the nodes do not know the folder, and the data have to be sent.
        monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
        there = searched(
            tmp_path / "there", *SHARING, *parallel, f"compute.cluster='{nodes.address}'", on_note=notes.append
        )
    finally:
        nodes.shutdown()
    here = searched(tmp_path / "here", *SHARING, *parallel)
    ours, theirs = read_run(here.path), read_run(there.path)
    assert ours.trials == theirs.trials
    assert ours.test_errors == theirs.test_errors
    assert models(here) == models(there)
    ran = {trial.number for trial in theirs.trials if trial.state is not TrialState.INFEASIBLE}
    assert set(machines_of(there)) == ran
    assert any("sending the data to workers that lack them" in note for note in notes)
    assert not here.machines_path.exists()
