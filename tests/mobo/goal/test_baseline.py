from pathlib import Path

import numpy as np
import pytest
import torch

from envs.compression.integer.fast_interpreter import error_of
from mobo.goal.baseline import BASELINE, ReferenceNetworks, float_mistakes, integer_mistakes
from mobo.goal.errors import GoalError
from mobo.runs.directory import RunDirectory
from mobo.runs.record import read_run
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.goal_settings import WidthSweepSettings
from mobo.tinyml.model_names import TRAINED
from mobo.tinyml.network_settings import NetworkSettings
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.training import error_rate
from tests.mobo.goal.goal_study import goal_config
from tests.mobo.small_study import TWO_FAMILIES
from tests.mobo.test_search import search


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(goal_config())


def networks(folder: Path, setup: StudySetup, config: StudyConfig | None = None) -> ReferenceNetworks:
    folder.mkdir(exist_ok=True)
    return ReferenceNetworks(goal_config() if config is None else config, setup, RunDirectory(folder))


def test_a_network_is_trained_once(tmp_path: Path, setup: StudySetup, monkeypatch: pytest.MonkeyPatch) -> None:
    first = networks(tmp_path, setup)
    description = first.describe_baseline()
    assert first.saved(BASELINE, description) is None
    trained = first.trained(BASELINE, description)

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("mobo.tinyml.trainings.train", refuse)
    again = networks(tmp_path, setup).trained(BASELINE, description)
    for name, tensor in trained.module.state_dict().items():
        assert torch.equal(tensor, again.module.state_dict()[name])
    assert again.int8_costs == trained.int8_costs
    # Another design is another network.
    other = networks(tmp_path, setup, goal_config("goal.baseline_design={width=9}"))
    assert other.saved(BASELINE, other.describe_baseline()) is None
    with pytest.raises(AssertionError, match="trained again"):
        other.trained(BASELINE, other.describe_baseline())


def test_a_killed_training_leaves_nothing(tmp_path: Path, setup: StudySetup, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = networks(tmp_path, setup)
    with monkeypatch.context() as patch:
        patch.setattr("mobo.goal.baseline.model_files", lambda **options: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            broken.trained(BASELINE, broken.describe_baseline())
    assert not RunDirectory(tmp_path).goal_networks_path.exists()
    assert networks(tmp_path, setup).trained(BASELINE, broken.describe_baseline()).float_costs


def test_mistakes_are_those_the_errors_count(tmp_path: Path, setup: StudySetup) -> None:
    baseline = networks(tmp_path, setup).trained(BASELINE, networks(tmp_path, setup).describe_baseline())
    samples = setup.data.validation
    assert float_mistakes(baseline.module, samples).mean() == error_rate(baseline.module, samples)
    assert integer_mistakes(baseline.quantised, samples).mean() == error_of(baseline.quantised, samples)


def test_int8_is_smaller_than_float32_and_nothing_else_changed(tmp_path: Path, setup: StudySetup) -> None:
    own = networks(tmp_path, setup)
    baseline = own.trained(BASELINE, own.describe_baseline())
    assert baseline.int8_costs["macs"] == baseline.float_costs["macs"]
    assert float(baseline.int8_costs["flash_model_bytes"] or 0) < float(baseline.float_costs["flash_model_bytes"] or 0)
    assert own.int8_bytes(own.describe_baseline()) == baseline.int8_costs["flash_model_bytes"]


def test_the_widest_that_fits_is_taken_and_else_the_narrowest(tmp_path: Path, setup: StudySetup) -> None:
    own = networks(tmp_path, setup)
    baseline, sweep = own.describe_baseline(), WidthSweepSettings(parameter="width", values=(8, 4, 12))
    # The flash is that of int8 networks 4, 8 and 12 wide: 5,488, 6,770 and 8,628 bytes.
    assert own.fitting_width(baseline, sweep, 8000).origin == "width=8"
    assert own.fitting_width(baseline, sweep, 6770).origin == "width=8"
    assert own.fitting_width(baseline, sweep, 6769).origin == "width=4"
    assert own.fitting_width(baseline, sweep, 10).origin == "width=4"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier") / "run"
    search(folder, "trials=1")
    return folder


class TestOfAnEarlierRun:
    def test_its_float_network_is_copied(self, earlier: Path, tmp_path: Path, setup: StudySetup) -> None:
        config = goal_config("goal.baseline_design={}", f"goal.baseline={str(earlier) + ':0'!r}")
        own = networks(tmp_path, setup, config)
        description = own.describe_baseline()
        baseline = own.trained(BASELINE, description)
        assert description.origin == f"{earlier}:0"
        files = [folder / TRAINED for folder in (earlier / "models" / "0", tmp_path / "goal" / BASELINE)]
        assert files[0].read_bytes() == files[1].read_bytes()
        # Afterwards the earlier run is not needed.
        hidden = earlier.rename(earlier.with_name("hidden"))
        try:
            again = networks(tmp_path, setup, config)
            assert again.describe_baseline() == description
            wrong = [float_mistakes(each.module, setup.data.validation)
                     for each in (baseline, again.trained(BASELINE, description))]  # fmt: skip
        finally:
            hidden.rename(earlier)
        assert np.array_equal(*wrong)

    def test_a_network_of_a_run_of_several_families_is_of_its_own_alone(
        self, tmp_path: Path, setup: StudySetup
    ) -> None:
        search(tmp_path / "several", *TWO_FAMILIES, "trials=1")
        config = goal_config("goal.baseline_design={}", f"goal.baseline={str(tmp_path / 'several') + ':0'!r}")
        own = networks(tmp_path / "run", setup, config)
        description = own.describe_baseline()
        family = str(read_run(tmp_path / "several").trials[0].design["family"])
        assert description.network == NetworkSettings(family=family)
        assert not [name for name in description.values if name.startswith(family)]
        own.trained(BASELINE, description)
        files = [tmp_path / part / TRAINED for part in ("several/models/0", f"run/goal/{BASELINE}")]
        assert files[0].read_bytes() == files[1].read_bytes()

    @pytest.mark.parametrize(
        ("overrides", "trial", "message"),
        [
            ([], 7, "has no trial 7"),
            (["task={name='digits', split_seed=1}"], 0, r"whose \[task\] is another than this study's"),
        ],
    )
    def test_what_cannot_be_compared_is_refused(
        self, earlier: Path, tmp_path: Path, overrides: list[str], trial: int, message: str
    ) -> None:
        baseline = f"goal.baseline={f'{earlier}:{trial}'!r}"
        config = goal_config("goal.baseline_design={}", baseline, *overrides)
        with pytest.raises(ValueError, match=message) as caught:
            networks(tmp_path, load_setup(config), config).describe_baseline()
        assert trial == 7 or isinstance(caught.value, GoalError)
