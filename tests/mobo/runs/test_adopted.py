"""A study that begins with the trained networks of an earlier run: none is trained again, wrong runs are refused."""

from pathlib import Path

import pytest

import mobo.tinyml.trainings
from mobo.base.errors import ConfigError
from mobo.runs.adopted import Adopted, adopted_trainings
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.search import run_search
from mobo.space.trial import Trial, TrialState
from tests.mobo.small_study import TWO_FAMILIES, small_config
from tests.mobo.worker_tasks import InThisProcess

EARLIER = ("compression.method=fixed", "trials=3")
INPUT = (8, 8, 1)
TRAIN_NETWORK = mobo.tinyml.trainings.train_network


def search(folder: Path, *overrides: str) -> tuple[Trial, ...]:
    config = small_config(*overrides)
    run_search(config, RunDirectory.create(folder, config_toml=config.to_toml()))
    return read_run(folder).trials


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier") / "run"
    search(folder, *EARLIER)
    return folder


def no_training(*arguments: object, **options: object) -> None:
    raise AssertionError("a network was trained")


@pytest.fixture
def no_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mobo.tinyml.trainings, "train_network", no_training)


@pytest.mark.parametrize("jobs", [(), ("compute.jobs=2",)])
def test_another_board_gets_a_front_without_a_training(
    earlier: Path, tmp_path: Path, jobs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, no_trainings: None
) -> None:
    # Here a worker that trains is noticed.
    monkeypatch.setattr("mobo.study.executor.WorkerPool", InThisProcess)
    trials = search(
        tmp_path / "other", *EARLIER, "device.name=nucleo-f446re", f"start.trainings={earlier}", "start.most=2", "trials=2", *jobs
    )  # fmt: skip
    assert [trial.state for trial in trials] == [TrialState.DONE, TrialState.DONE]
    digests = {trial.training.digest for trial in read_run(earlier).trials if trial.training is not None}
    taken = [trial.training.digest for trial in trials if trial.training is not None]
    assert len(set(taken)) == 2
    assert set(taken) <= digests


def test_what_is_taken_over_costs_no_training(earlier: Path, tmp_path: Path) -> None:
    config = small_config(*EARLIER, f"start.trainings={earlier}")
    adopted = adopted_trainings(config, INPUT)
    assert adopted.folders is not None
    assert len(adopted.start) == len(adopted.folders) == 3


def test_a_design_that_cannot_fit_is_compressed_until_it_does(earlier: Path, tmp_path: Path) -> None:
    def flash_bytes(trial: Trial) -> float:
        return float(trial.outcome["flash_model_bytes"] or 0.0)

    upper = max(map(flash_bytes, read_run(earlier).trials)) - 1
    trials = search(
        tmp_path / "small", *EARLIER, f"constraints.0.upper={upper}", f"start.trainings={earlier}", "start.most=3"
    )  # fmt: skip
    assert [trial.state for trial in trials] == [TrialState.DONE] * 3
    assert all(flash_bytes(trial) <= upper for trial in trials)


def test_without_a_start_nothing_is_taken_over() -> None:
    assert adopted_trainings(small_config(*EARLIER), INPUT) == Adopted()


SEVERAL = (*EARLIER, *TWO_FAMILIES)


def test_a_study_of_several_families_begins_with_the_trainings_of_each(tmp_path: Path, no_trainings: None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobo.tinyml.trainings, "train_network", TRAIN_NETWORK)
        trials = search(tmp_path / "both", *SEVERAL, "trials=4")
    families = [trial.design["family"] for trial in trials]
    assert set(families) == {"ds_cnn", "residual"}
    # By itself, with the families in another order, or with one more.
    for listed in (["residual", "ds_cnn"], ["lenet5", "residual", "ds_cnn"]):
        config = small_config(*SEVERAL, f"network.families={listed}", f"start.trainings={tmp_path / 'both'}")
        adopted = adopted_trainings(config, INPUT)
        assert sorted(str(design["family"]) for design in adopted.start) == sorted(families)
    # And each training serves a study of its family alone.
    config = small_config(*EARLIER, "space.stages={type='int', low=1, high=2}", f"start.trainings={tmp_path / 'both'}")
    alone = adopted_trainings(config, INPUT)
    assert alone.folders is not None
    assert len(alone.folders) == families.count("residual")
    started = search(tmp_path / "alone", *EARLIER, "space.stages={type='int', low=1, high=2}",
                     f"start.trainings={tmp_path / 'both'}", f"trials={len(alone.start)}")  # fmt: skip
    digests = {trial.training.digest for trial in trials if trial.training is not None}
    assert {trial.training.digest for trial in started if trial.training is not None} <= digests


def test_several_families_begin_with_the_trainings_of_one_of_them(
    earlier: Path, tmp_path: Path, no_trainings: None
) -> None:
    same = ("space.residual_stages=1", "space.residual_width_growth={type='ordinal', values=[1.0, 1.5, 2.0]}")
    trials = search(tmp_path / "several", *SEVERAL, *same, f"start.trainings={earlier}", "trials=3")
    assert {trial.design["family"] for trial in trials} == {"residual"}
    digests = {trial.training.digest for trial in read_run(earlier).trials if trial.training is not None}
    assert {trial.training.digest for trial in trials if trial.training is not None} <= digests


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("network.family=lenet5",), r"whose \[network\] is another than this study's"),
        (
            ("network.families=['lenet5', 'ds_cnn']", "space={epochs=1}"),
            r"whose \[network\] is another than this study's",
        ),
        (("task.name=digits", "task.split_seed=5"), r"whose \[task\] is another"),
        (("space.kernel=5",), "none of whose trained networks is a design of this study"),
    ],
)
def test_networks_that_cannot_be_taken_over_are_refused(
    earlier: Path, overrides: tuple[str, ...], message: str
) -> None:
    config = small_config(*EARLIER, f"start.trainings={earlier}", *overrides)
    with pytest.raises(ConfigError, match=message):
        adopted_trainings(config, INPUT)
