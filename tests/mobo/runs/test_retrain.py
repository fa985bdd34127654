"""The last training: the same layers and costs from more samples, kept whole, delivered, and told apart."""

import json
import shutil
from math import hypot
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from envs.compression.integer.fast_interpreter import error_of
from hw_models.graph.layer_graph import LayerGraph
from mobo.base.errors import ConfigError, StoreError
from mobo.cli.app import app
from mobo.runs import retrain as retrain_module
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import IdentityError
from mobo.runs.record import read_run
from mobo.runs.retrain import RetrainError, all_samples, retrain
from mobo.search import run_search
from mobo.space.confirmation import Retrained
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.model_names import COST, GRAPH, POLICY, QUANTISED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.settings import AnomalySettings, DigitsSettings
from tests.mobo.small_study import small_config
from tests.mobo.synthetic_run import make_run

# A training with three children, of which some go on from others.
FIXED = (
    "compression.method=fixed",
    "compression.start_from=finetuned",
    "sampler.name=polar_ehvi",
    "sampler.settings={initial_trials=4, first_children=3, rays=16, search={pool=32, moves=4, rounds=1}}",
    "trials=4",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    config = small_config(*FIXED)
    run = RunDirectory.create(tmp_path_factory.mktemp("retrain") / "run", config_toml=config.to_toml())
    run_search(config, run)
    return run


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of a finished run, to be changed."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def retrained(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """What an unbroken last training leaves."""
    run = RunDirectory(shutil.copytree(finished.path, tmp_path_factory.mktemp("whole") / "run"))
    retrain(asked(), run)
    return run


def asked(*overrides: str) -> StudyConfig:
    return small_config(*FIXED, *overrides)


def files(run: RunDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.path)): path.read_bytes() for path in run.retrained_path.rglob("*") if path.is_file()
    }


def mobo(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_the_models_keep_layers_policy_and_costs_and_learn_from_more(retrained: RunDirectory) -> None:
    record = read_run(retrained.path)
    data = load_setup(record.config).data
    assert set(record.retrained) == {trial.number for trial in record.front}
    assert any(trial.sibling is not None for trial in record.front)
    for number, entry in record.retrained.items():
        before, now = retrained.model_directory(number), retrained.retrained_directory(number)
        for name in (POLICY, GRAPH, COST):
            assert (before / name).read_bytes() == (now / name).read_bytes()
        assert (before / QUANTISED).read_bytes() != (now / QUANTISED).read_bytes()
        assert (entry.splits, entry.samples) == (("train", "reward"), len(data.train) + len(data.reward))
        network = load_quantised(now)
        assert entry.test_error == error_of(network, data.load_test())
        assert entry.validation_error == error_of(network, data.validation)
        trial = record.done_trial(number)
        assert entry.validation_error is not None
        assert entry.validation_standard_error is not None
        noise = hypot(entry.validation_standard_error, trial.standard_error("validation_error"))
        is_no_worse = entry.validation_error <= (trial.outcome["validation_error"] or 0.0) + noise
        assert record.delivered_directory(number) == (now if is_no_worse else before)
    # What the search found is what it was.
    assert record.test_errors == read_run(retrained.path).test_errors


def test_the_last_training_on_the_train_split_alone_is_that_of_the_search(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrain_module, "all_samples", lambda data, *, with_validation: data.train)
    retrain(asked(), run)
    for trial in read_run(run.path).front:
        # A sibling that is made anew goes on from what was kept, so all of the chain is the same.
        before, now = run.model_directory(trial.number), run.retrained_directory(trial.number)
        assert (before / "compressed.safetensors").read_bytes() == (now / "compressed.safetensors").read_bytes()


def test_stopped_anywhere_it_ends_like_an_unbroken_one(
    run: RunDirectory, retrained: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = RunDirectory.save_retrained, 0

    def stops(self: RunDirectory, number: int, content: dict[str, bytes]) -> Path:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise KeyboardInterrupt
        return original(self, number, content)

    with monkeypatch.context() as patch:
        patch.setattr(RunDirectory, "save_retrained", stops)
        with pytest.raises(KeyboardInterrupt):
            retrain(asked(), run)
    assert len(read_run(run.path).retrained) == 1
    notes: list[str] = []
    retrain(asked(), run, on_note=notes.append)
    count = len(read_run(run.path).front)
    assert notes[0] == f"training {count} models again on train and reward: {count - 1} of {count} to do"
    assert files(run) == files(retrained)
    retrain(asked(), run, on_note=notes.append)
    assert notes[-1].endswith(f"0 of {count} to do")


def test_with_the_validation_split_only_the_test_error_is_left(run: RunDirectory) -> None:
    retrain(asked("retrain.validation=true"), run)
    record = read_run(run.path)
    data = load_setup(record.config).data
    for entry in record.retrained.values():
        assert entry.samples == len(data.train) + len(data.reward) + len(data.validation)
        assert entry.validation_error is None
        assert entry.test_error is not None


def test_of_anomalies_only_normal_samples_are_added() -> None:
    data = load_task(AnomalySettings(name="anomaly", of=DigitsSettings(), normal=("0", "1")))
    samples = all_samples(data, with_validation=True)
    assert len(samples) == len(data.train) + sum(int((part.y == 0).sum()) for part in (data.reward, data.validation))
    assert not torch.any(samples.y)


def test_a_training_that_fails_is_told_and_the_model_of_the_search_stays(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*arguments: object, **options: object) -> None:
        raise ConfigError("it diverged")

    with monkeypatch.context() as patch:
        patch.setattr(TinyMLProblem, "made_again", diverges)
        retrain(asked(), run)
    record = read_run(run.path)
    number = record.front.trials[0].number
    assert "it diverged" in record.retrained[number].message
    assert record.retrained_model(number) is None
    assert record.delivered_directory(number) == run.model_directory(number)


def test_other_layers_than_before_are_no_model(run: RunDirectory) -> None:
    number = read_run(run.path).front.trials[0].number
    graph = json.loads((run.model_directory(number) / GRAPH).read_text())
    other = next(folder for folder in run.models_path.iterdir() if json.loads((folder / GRAPH).read_text()) != graph)
    shutil.copy(other / GRAPH, run.model_directory(number) / GRAPH)
    assert LayerGraph.from_dict(json.loads((run.model_directory(number) / GRAPH).read_text()))
    retrain(asked(), run)
    assert "has other layers than before" in read_run(run.path).retrained[number].message


@pytest.mark.parametrize(
    ("error", "standard_error", "searched_standard_error", "holds"),
    [
        (0.10, 0.03, 0.04, True),
        # 5 points are the standard error of the difference.
        (0.249, 0.03, 0.04, True),
        (0.251, 0.03, 0.04, False),
        # Where no noise is known any difference counts, and where the split was learnt from there is none.
        (0.201, None, 0.0, False),
        (None, None, 0.04, True),
    ],
)
def test_a_model_is_given_up_where_the_split_shows_by_more_than_noise_that_it_is_worse(
    error: float | None, standard_error: float | None, searched_standard_error: float, holds: bool
) -> None:
    entry = Retrained(
        trial=0, splits=("train", "reward"), samples=9, validation_error=error, validation_standard_error=standard_error
    )
    assert entry.holds_against(0.20, searched_standard_error) is holds


def test_what_stands_in_its_way_is_told(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(RetrainError, match="is empty: none of 0 finished trials is feasible"):
        retrain(asked(), make_run(tmp_path / "empty", ()))
    with Store.open(run.store_path), pytest.raises(StoreError, match="another process is searching"):
        retrain(asked(), run)
    with pytest.raises(ConfigError, match=r'retrain\.front and compression\.rank_by = "energy" do not go together'):
        small_config("retrain.front=true", "compression.low_rank=['svd']")
    number = read_run(run.path).front.trials[0].number
    (run.model_directory(number) / POLICY).unlink()
    with pytest.raises(RetrainError, match=f"trial {number} of the front cannot be trained again"):
        retrain(asked(), run)


def test_a_model_of_another_run_is_refused(retrained: RunDirectory, run: RunDirectory) -> None:
    shutil.copytree(retrained.retrained_path, run.retrained_path)
    number = min(read_run(run.path).retrained)
    (run.retrained_directory(number) / "study.json").write_text("{}")
    with pytest.raises(IdentityError, match=f"is not the model of trial {number} of this run"):
        read_run(run.path)


def test_the_command_delivers_them_and_says_which_is_which(run: RunDirectory, tmp_path: Path) -> None:
    result = mobo("retrain", run.path, "--validation", "--json")
    assert result.exit_code == 0, result.output
    record = read_run(run.path)
    for entry in json.loads(result.stdout):
        assert entry["retrained_test_error"] == record.retrained[entry["trial"]].test_error
    assert "retrained_test_error" in run.front_path.read_text(encoding="utf-8").splitlines()[0]
    page = run.report_path.read_text(encoding="utf-8")
    assert "models were trained again on train and reward and validation" in page
    assert "trained again, test (%)" in page
    assert "trained again: validation %  test %" in mobo("front", run.path).stdout
    picked = mobo("pick", run.path, "--device", "nucleo-l4r5zi", "--export", tmp_path / "model")
    assert picked.exit_code == 0, picked.output
    assert "trained again on train and reward and validation: test error " in picked.stdout
    assert f"model: {run.retrained_path}" in picked.stdout
    manifest = json.loads((tmp_path / "model" / "manifest.json").read_text())
    number = manifest["trial"]
    assert manifest["trained_on"] == ["train", "reward", "validation"]
    assert (manifest["split"], manifest["error"]) == ("test", record.retrained[number].test_error)
    assert (tmp_path / "model" / "network.npz").read_bytes() == (
        run.retrained_directory(number) / QUANTISED
    ).read_bytes()
    assert "mobo export --searched" in picked.stderr
    searched = mobo("export", run.path, number, "--searched", "--out", tmp_path / "searched")
    assert searched.exit_code == 0, searched.output
    old = json.loads((tmp_path / "searched" / "manifest.json").read_text())
    assert (old["trained_on"], old["error"]) == (["train"], record.test_errors[number])


@pytest.mark.slow
def test_a_search_can_end_with_it_and_two_jobs_come_to_the_same(retrained: RunDirectory, tmp_path: Path) -> None:
    config = asked("retrain.front=true", "compute.lag=2")
    run = RunDirectory.create(tmp_path / "run", config_toml=config.to_toml())
    run_search(config, run)
    before = files(run)
    assert before
    shutil.rmtree(run.retrained_path)
    retrain(asked("compute.lag=2", "compute.jobs=2"), run)
    assert files(run) == before
