"""The tabular problem: looking up, known costs, and an exact front that slow code agrees with."""

import re
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hw_models.errors import HardwareModelError
from mobo.base.errors import MoboError, SpaceError, TrialFailed
from mobo.base.gzip_csv import read_rows
from mobo.benchmark import BenchmarkTable, keyword_table, wisdm_table
from mobo.benchmark.problems.design_table import ERRORS, TableError, find_table
from mobo.benchmark.problems.tabular import KEYWORDS_TABLE, WISDM_TABLE, TabularProblem, TabularSettings
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.tinyml.config import parse_config
from tests.mobo.benchmark.problems.small_table import FAILED, small_rows, write_small_table

OBJECTIVES = (
    Objective(name="validation_error", reference=0.4),
    Objective(name="flash_model_bytes", reference=3000),
    Objective(name="latency_ms", reference=20),
)
CONSTRAINTS = (Constraint(name="latency_ms", upper=12),)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_table(tmp_path_factory.mktemp("table") / "small.csv.gz")


def problem(table: Path, **changes: object) -> TabularProblem:
    settings = {"table": table, "device": "fast-board", "objectives": OBJECTIVES, "constraints": CONSTRAINTS} | changes
    return TabularProblem(TabularSettings.model_validate(settings))


def rows() -> list[tuple[Design, dict[str, object]]]:
    return [
        (Design({name.removeprefix("design_"): row[name] for name in row if name.startswith("design_")}), row)  # type: ignore[misc]
        for row in small_rows()
    ]


@pytest.mark.parametrize("device", ["small-board", "fast-board"])
def test_an_evaluation_is_the_row_of_the_design_on_the_board(table: Path, device: str) -> None:
    asked = problem(table, device=device)
    for design, row in rows():
        if design == FAILED:
            continue
        outcome = asked.evaluate(Trial(number=0, design=design, seed=5)).outcome
        assert outcome == {
            "validation_error": row["validation_error"],
            "test_error": row["test_error"],
            "macs": row["macs"],
        } | {
            name: row[f"{name}@{device}"]
            for name in ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "energy_uj")
        }


def test_the_known_outcomes_are_those_of_the_evaluation(table: Path) -> None:
    asked = problem(table)
    designs = [design for design, _ in rows() if design != FAILED]
    known = asked.known.outcomes(designs)
    assert known.shape == (len(designs), len(asked.known.names))
    assert "validation_error" not in asked.known.names
    for design, costs in zip(designs, known, strict=True):
        outcome = asked.evaluate(Trial(number=0, design=design, seed=0)).outcome
        assert {name: outcome[name] for name in asked.known.names} == dict(zip(asked.known.names, costs, strict=True))
    assert asked.known.outcomes([]).shape == (0, len(asked.known.names))


def test_a_design_beyond_a_bound_is_known_to_be_infeasible(table: Path) -> None:
    asked = problem(table)
    answers = {design: asked.check(design) for design, _ in rows()}
    assert {d for d, answer in answers.items() if not answer.feasible} == {
        design for design, row in rows() if float(str(row["latency_ms@fast-board"])) > 12
    }
    widest = Design({"width": 8, "keep": 1.0, "kernel": "5x5", "residual": True})
    assert answers[widest].reason == "latency_ms 12.5 > 12"
    assert answers[widest].known["latency_ms"] == 12.5


def test_a_design_that_failed_then_fails_now(table: Path) -> None:
    with pytest.raises(TrialFailed, match="the loss became NaN"):
        problem(table).evaluate(Trial(number=0, design=Design(FAILED), seed=0))


def test_a_design_outside_the_grid_is_refused(table: Path) -> None:
    with pytest.raises(SpaceError, match="'width' has the value 6; it takes one of 4, 8"):
        problem(table).check(Design(FAILED | {"width": 6}))


def beaten(row: np.ndarray, others: np.ndarray) -> bool:
    return any(all(other <= row) and any(other < row) for other in others)


def slow_hypervolume(points: np.ndarray) -> float:
    """Cut the unit cube at every coordinate and add up the dominated cells."""
    cuts = [np.unique([*column[column < 1], 0.0, 1.0]) for column in points.T]
    total = 0.0
    for cell in product(*(range(len(axis) - 1) for axis in cuts)):
        low = np.array([axis[i] for axis, i in zip(cuts, cell, strict=True)])
        high = np.array([axis[i + 1] for axis, i in zip(cuts, cell, strict=True)])
        if any(all(point <= low) for point in points):
            total += float(np.prod(high - low))
    return total


@pytest.mark.parametrize("device", ["small-board", "fast-board"])
def test_front_and_hypervolume_agree_with_slow_twins(table: Path, device: str) -> None:
    asked = problem(table, device=device)
    outcomes = {
        design: np.array(
            [row["validation_error"], row[f"flash_model_bytes@{device}"], row[f"latency_ms@{device}"]], float
        )
        for design, row in rows()
        if design != FAILED and float(str(row[f"latency_ms@{device}"])) <= 12
    }
    points = np.array(list(outcomes.values()))
    best = {tuple(row) for row in points if not beaten(row, points)}
    assert {tuple(row) for row in asked.front.outcomes} == best
    assert 0 < len(best) < len(points)
    scaled = points / np.array([0.4, 3000, 20])
    assert asked.hypervolume == pytest.approx(slow_hypervolume(scaled), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "fast-bord"}, "unknown board of the table 'fast-bord'; did you mean 'fast-board'"),
        ({"constraints": [{"name": "latency", "upper": 3}]}, "unknown outcome of the table 'latency'"),
        (
            {"constraints": [{"name": "latency_ms", "upper": 3, "confidence": 0.9}]},
            "the table has no spreads; drop confidence = 0.9",
        ),
    ],
)
def test_what_the_table_does_not_have_is_refused(table: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(MoboError, match=message):
        problem(table, **changes)


def test_the_default_budget_is_that_of_the_keyword_study() -> None:
    text = (Path(__file__).parents[4] / "experiments" / "searches" / "keywords.toml").read_text(encoding="utf-8")
    study = parse_config(text)
    ours = {item.name: item.upper for item in TabularSettings().constraints}
    assert ours == {item.name: item.upper for item in study.constraints}
    references = {item.name: item.reference for item in TabularSettings().objectives}
    assert references["validation_error"] == study.objectives[0].reference
    assert all(references[name] == ours[name] for name in ours if name in references)


def shipped() -> TabularProblem:
    return TabularProblem()


def test_the_shipped_table_is_large_enough_to_be_a_benchmark_and_small_enough_to_be_cloned() -> None:
    asked = shipped()
    assert len(asked.trials) >= 2000
    assert 8 <= len(asked.space) <= 10
    assert find_table(KEYWORDS_TABLE).stat().st_size < 5e6
    assert len({trial.design for trial in asked.trials if trial.is_feasible(asked.constraints)}) < len(asked.trials)


def test_the_shipped_front_agrees_with_a_slow_twin() -> None:
    asked = shipped()
    feasible = [trial for trial in asked.trials if trial.is_feasible(asked.constraints)]
    points = np.array([[trial.outcome[item.name] for item in asked.objectives] for trial in feasible], float)
    kept = [row for row in points if not np.any(np.all(points <= row, axis=1) & np.any(points < row, axis=1))]
    assert {tuple(row) for row in asked.front.outcomes} == {tuple(row) for row in kept}
    assert 0.0 < asked.hypervolume < 1.0


def test_every_parameter_of_the_shipped_table_matters() -> None:
    asked = shipped()
    error = {trial.design: float(trial.outcome["validation_error"] or 0) for trial in asked.trials}
    for parameter in asked.space:
        by_value: dict[object, list[float]] = {}
        for design, value in error.items():
            by_value.setdefault(design[parameter.name], []).append(value)
        costs = {
            value: asked.known.outcomes([design for design in error if design[parameter.name] == value]).mean(axis=0)
            for value in by_value
        }
        means = [float(np.mean(values)) for values in by_value.values()]
        stacked = np.array(list(costs.values()))
        assert max(means) - min(means) > 0.01 or np.any(stacked.max(axis=0) > 1.05 * stacked.min(axis=0))


PAGE = Path(__file__).parents[4] / "mobo" / "benchmark" / "README.md"
SERVED = {keyword_table: KEYWORDS_TABLE, wisdm_table: WISDM_TABLE}
EVERY_TABLE = pytest.mark.parametrize("serve", SERVED, ids=lambda serve: serve.__name__)
Serve = Callable[[], BenchmarkTable]


def some_rows(serve: Serve) -> list[tuple[dict[str, float | int], dict[str, str]]]:
    """Return every 500th design of a table as it is in the file, and its row."""
    return [
        ({name.removeprefix("design_"): number(row[name]) for name in row if name.startswith("design_")}, dict(row))
        for row in read_rows(find_table(SERVED[serve]))[::500]
    ]


def number(text: str) -> float | int:
    return float(text) if "." in text else int(text)


@EVERY_TABLE
@pytest.mark.parametrize(
    "board", ["nucleo-g0b1re", "nucleo-f446re", "nucleo-l4r5zi", "nucleo-f746zg", "nucleo-u575zi-q"]
)
def test_a_query_is_the_row_of_the_file_on_every_board_that_it_has(serve: Serve, board: str) -> None:
    table = serve()
    for design, row in some_rows(serve):
        answer = table.query(design, board)
        errors = ("validation_error", "test_error", "float_validation_error", "macs")
        at_board = {name.split("@")[0]: row[name] for name in row if name.endswith(f"@{board}")}
        assert answer == {name: float(row[name]) for name in errors} | {k: float(v) for k, v in at_board.items()}


@EVERY_TABLE
def test_a_board_that_the_file_lacks_has_costs_of_its_own_and_the_same_errors(serve: Serve) -> None:
    table = serve()
    design = table.designs[0]
    here, there = table.query(design), table.query(design, "nrf52840-dk")
    assert here.keys() == there.keys()
    assert {name for name in here if here[name] == there[name]} >= {"validation_error", "test_error", "macs"}
    assert here["latency_ms"] != there["latency_ms"]


@EVERY_TABLE
def test_the_front_of_a_served_table_is_exact_and_a_part_of_it_is_less(serve: Serve) -> None:
    table = serve()
    best = table.front()
    exact = table.hypervolume(best)
    assert exact == pytest.approx(table.problem.hypervolume, rel=1e-12)
    assert 0.0 < table.hypervolume(best[:1]) < exact
    assert table.hypervolume([]) == 0.0
    assert len(table.designs) == len(read_rows(find_table(SERVED[serve])))


def test_some_keyword_designs_were_made_with_a_second_seed() -> None:
    table = keyword_table()
    assert table.seeds == (0, 1)
    twice = table.designs_of(1)
    assert len(set(twice)) == 288
    assert set(twice) <= set(table.designs) == set(table.designs_of(0))
    first, second = table.query(twice[0]), table.query(twice[0], seed=1)
    assert {name for name in first if first[name] != second[name]} <= set(ERRORS)
    assert first["validation_error"] != second["validation_error"]
    once = next(design for design in table.designs if design not in set(twice))
    with pytest.raises(TableError, match=r"was not made with seed 1; designs_of\(1\) has the 288 that were"):
        table.query(once, seed=1)
    with pytest.raises(TableError, match="there is no seed 2; the table has 0, 1"):
        table.designs_of(2)
    with pytest.raises(TableError, match="there is no seed 1; the table has 0"):
        wisdm_table().query(wisdm_table().designs[0], seed=1)


def test_what_cannot_be_asked_of_a_table_is_said() -> None:
    table = keyword_table()
    design = dict(table.designs[0])
    with pytest.raises(SpaceError, match="'width' has the value 5; it takes one of 16, 32, 48"):
        table.query(design | {"width": 5})
    with pytest.raises(SpaceError, match="keep"):
        table.query({name: value for name, value in design.items() if name != "keep"})
    with pytest.raises(HardwareModelError, match="did you mean 'nrf52840-dk'"):
        table.query(design, "nrf52840")


def test_the_examples_of_the_page_run() -> None:
    pytest.importorskip("optuna")
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    ours = [example for example in examples if "keyword_table" in example and "ray" not in example]
    assert len(ours) == 2
    for example in ours:
        told: list[object] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of what is experimental
            exec(example, {"print": told.append})  # the page's own text
        assert 0.0 < float(str(told[-1])) < 1.0
