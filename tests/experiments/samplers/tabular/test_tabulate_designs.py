"""Tabulating a tiny grid: rows are what trials give, whatever the order, the number of workers or interruptions."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from experiments.samplers.tabular.design_grid import SharedTraining, levels, shared_trainings
from experiments.samplers.tabular.design_measurement import DesignMeasurement, Row
from experiments.samplers.tabular.design_rows import DesignRows, conditions
from experiments.samplers.tabular.tabulate_designs import tabulate
from mobo.base.errors import ConfigError, MoboError, SpaceError, TrialFailed
from mobo.benchmark.problems.design_table import design_column, read_table
from mobo.benchmark.problems.tabular import TabularProblem, TabularSettings
from mobo.space.search_space import Design, FloatParameter, IntParameter, OrdinalParameter, SearchSpace
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.trainings import StudyTrainings
from tests.mobo.small_study import small_config

DEVICES = ("nucleo-l4r5zi", "nucleo-g0b1re")
QUIET = Console(quiet=True)
SPACE = SearchSpace(
    [
        OrdinalParameter(name="width", values=(8, 12, 16)),
        IntParameter(name="epochs", low=1, high=2),
        OrdinalParameter(name="keep", values=(0.5, 1.0)),
        OrdinalParameter(name="weight_bits", values=(4, 8)),
    ]
)


def config(*overrides: str) -> StudyConfig:
    return small_config(
        "compression.method=fixed",
        "space.width_growth=1.0",
        "space.learning_rate=0.01",
        "space.keep={type='ordinal', values=[0.5, 1.0]}",
        "space.weight_bits={type='ordinal', values=[4, 8]}",
        *overrides,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a table made without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    tabulate(config(), DEVICES, work=folder, out=folder, jobs=1, console=QUIET)
    return folder


def test_a_row_is_what_a_trial_with_the_trainings_seed_gives(whole: Path) -> None:
    table = read_table(whole / "small.csv.gz")
    measurement = DesignMeasurement(config(), DEVICES)
    trainings = shared_trainings(measurement.problem.space, seed=0)
    problem = TabularProblem(TabularSettings(table=whole / "small.csv.gz", constraints=()))
    assert {design for training in trainings for design in training.designs} == set(table.designs)
    for training, design in (
        (training, training.designs[index]) for training, index in zip(trainings, (1, 2), strict=True)
    ):
        trial = Trial(number=0, design=design, seed=training.seed(0))
        outcome, row = measurement.problem.evaluate(trial).outcome, problem.evaluate(trial).outcome
        assert {name: outcome[name] for name in row if name != "test_error"} == {
            name: value for name, value in row.items() if name != "test_error"
        }


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, asked = DesignMeasurement.rows, list[str]()

    def stopped(self: DesignMeasurement, training: SharedTraining) -> list[Row]:
        if len(asked) == 1:
            raise KeyboardInterrupt
        asked.append(training.key)
        return measure(self, training)

    monkeypatch.setattr(DesignMeasurement, "rows", stopped)
    with pytest.raises(KeyboardInterrupt):
        tabulate(config(), DEVICES, work=tmp_path, out=tmp_path, jobs=1, console=QUIET)
    first, asked[:] = list(asked), []
    tabulate(config(), DEVICES, work=tmp_path, out=tmp_path, jobs=1, console=QUIET)
    assert len(first) == len(asked) == 1
    assert first != asked
    assert (tmp_path / "small.csv.gz").read_bytes() == (whole / "small.csv.gz").read_bytes()


@pytest.mark.slow
def test_workers_give_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    tabulate(config(), DEVICES, work=tmp_path, out=tmp_path, jobs=2, console=QUIET)
    assert (tmp_path / "small.csv.gz").read_bytes() == (whole / "small.csv.gz").read_bytes()


def test_a_training_that_diverges_leaves_designs_without_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: StudyTrainings, design: Design, *, seed: int, earlier: object = None) -> None:
        raise TrialFailed("the training loss became nan")

    monkeypatch.setattr(StudyTrainings, "of", diverge)
    tabulate(config("space.width=8"), DEVICES, work=tmp_path, out=tmp_path, jobs=1, console=QUIET)
    table = read_table(tmp_path / "small.csv.gz")
    assert set(table.failures.values()) == {"the training loss became nan"}
    assert len(table.failures) == len(table.designs) == 4
    assert TabularProblem(TabularSettings(table=tmp_path / "small.csv.gz", constraints=())).hypervolume == 0.0


def test_every_design_comes_once_and_shares_its_training() -> None:
    trainings = shared_trainings(SPACE, seed=3)
    designs = [design for training in trainings for design in training.designs]
    assert len(designs) == len(set(designs)) == 3 * 2 * 2 * 2
    for training in trainings:
        assert {(design["keep"], design["weight_bits"]) for design in training.designs} == {
            (keep, bits) for keep in (0.5, 1.0) for bits in (4, 8)
        }
        assert len({(design["width"], design["epochs"]) for design in training.designs}) == 1
    assert {training.key for training in shared_trainings(SPACE, seed=4)} == {item.key for item in trainings}
    orders = {tuple(training.key for training in shared_trainings(SPACE, seed=seed)) for seed in (3, 3, 4, 5)}
    assert len(orders) == 3


def test_seeds_do_not_depend_on_the_rest_of_the_grid() -> None:
    narrow = SearchSpace([OrdinalParameter(name="width", values=(12, 16)), *list(SPACE)[1:]])
    wide = {training.key: training.seed(7) for training in shared_trainings(SPACE, seed=0)}
    assert len(set(wide.values())) == len(wide)
    assert all(training.seed(7) == wide[training.key] for training in shared_trainings(narrow, seed=1))
    assert all(training.seed(8) != wide[training.key] for training in shared_trainings(narrow, seed=1))


def test_a_grid_has_no_continuous_and_no_conditional_parameter() -> None:
    assert levels(IntParameter(name="blocks", low=2, high=4)) == (2, 3, 4)
    with pytest.raises(SpaceError, match=r"'rate' is continuous.*list its values"):
        levels(FloatParameter(name="rate", low=0.1, high=1.0))
    with pytest.raises(SpaceError, match=r"'kernel' is conditional"):
        levels(OrdinalParameter(name="kernel", values=(3, 5), when={"width": (8,)}))


def test_only_the_fixed_method_can_be_tabulated() -> None:
    with pytest.raises(ConfigError, match=r"compression\.method is 'random'.*'fixed' only"):
        DesignMeasurement(small_config(), DEVICES)
    for beyond in ("low_rank=['svd']", "max_sparsity=0.5"):
        with pytest.raises(ConfigError, match="designs of a table share; leave both out"):
            DesignMeasurement(small_config("compression.method=fixed", f"compression.{beyond}"), DEVICES)


def test_rows_of_other_conditions_are_not_mixed_in(tmp_path: Path) -> None:
    training = shared_trainings(SPACE, seed=0)[0]

    def opened(devices: Sequence[str], *overrides: str) -> DesignRows:
        return DesignRows(tmp_path / "rows.csv", SPACE.names, DEVICES, conditions(config(*overrides), devices))

    opened(DEVICES).add(training, [{design_column(name): value for name, value in d.items()} for d in training.designs])
    opened(DEVICES, "trials=9", "compute.jobs=2", "space.width={type='ordinal', values=[8]}")
    for devices, override in (
        (DEVICES, "seed=1"),
        (DEVICES, "space.learning_rate=0.02"),
        (DEVICES, "compression.finetune.steps=5"),
        (DEVICES[:1], "trials=9"),
    ):
        with pytest.raises(MoboError, match="rows measured under other settings"):
            opened(devices, override)


def test_a_training_is_stored_whole_or_not_at_all(tmp_path: Path) -> None:
    training = shared_trainings(SPACE, seed=0)[0]
    store = DesignRows(tmp_path / "rows.csv", SPACE.names, DEVICES, "{}")
    rows: list[Row] = [
        {design_column(name): value for name, value in design.items()} | {"macs": number}
        for number, design in enumerate(training.designs)
    ]
    with pytest.raises(ValueError, match="zip"):
        store.add(training, rows[:3])
    assert store.of(training) == []
    store.add(training, rows)
    part = SharedTraining(training.key, training.designs[:2])
    for opened in (store, DesignRows(tmp_path / "rows.csv", SPACE.names, DEVICES, "{}")):
        assert [row["macs"] for row in opened.of(training)] == ["0", "1", "2", "3"]
        assert [row["macs"] for row in opened.of(part)] == ["0", "1"]
    assert json.loads(training.key).keys() == {"width", "epochs"}


def test_a_wider_grid_adds_what_is_new_to_a_training(tmp_path: Path) -> None:
    training = shared_trainings(SPACE, seed=0)[0]
    rows: list[Row] = [{design_column(name): value for name, value in design.items()} for design in training.designs]
    part = SharedTraining(training.key, training.designs[:2])
    store = DesignRows(tmp_path / "rows.csv", SPACE.names, DEVICES, "{}")
    store.add(part, [row | {"macs": 1} for row in rows[:2]])
    assert store.of(training) == []
    store.add(training, [row | {"macs": 2} for row in rows])
    assert [row["macs"] for row in store.of(training)] == ["1", "1", "2", "2"]
