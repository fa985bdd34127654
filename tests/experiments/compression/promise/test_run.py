"""The whole way on digits: every figure from disk, nothing trained twice, the test split answered by the last networks."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.compression.integer.fast_interpreter import error_of
from experiments.compression.promise import checkpointed, run
from experiments.compression.promise.bench import Bench, float_predictions, logits
from experiments.compression.promise.cell import baseline_cell, candidate_cell
from experiments.compression.promise.outcome import Outcome, read_outcome
from experiments.compression.promise.page import page
from experiments.compression.promise.predictions import Predictions
from experiments.compression.promise.run import CHOICES, FLOAT, INT8, OURS, PREDICTIONS, WIDTH, run_network
from mobo.base.errors import MoboError
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.training import error_rate
from tests.experiments.compression.promise.small import small_promise

SEEDS = 2


def quiet(line: str) -> None:
    """Report nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("promise") / "small"
    run_network(small_promise(), folder, report=quiet)
    return folder


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Outcome:
    found = read_outcome(small_promise(), folder)
    assert found is not None
    return found


def test_what_is_on_disk_is_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was done already")

    monkeypatch.setattr(TinyMLProblem, "evaluate", refused)
    monkeypatch.setattr(run, "cpu_ms_per_inference", refused)
    run_network(small_promise(), folder, report=quiet)
    assert {path: path.read_bytes() for path in before} == before


def test_a_trained_network_is_read_back_and_a_lost_one_is_trained_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = baseline_cell(small_promise(), small_promise().recipes[0], 0)
    again = Bench(small_promise(), tmp_path).trained(cell)
    kept = Bench(small_promise(), folder)
    monkeypatch.setattr(checkpointed, "train_network", lambda *args, **kwargs: pytest.fail("it was trained again"))
    validation = kept.data.validation
    np.testing.assert_array_equal(
        float_predictions(again, validation.x), float_predictions(kept.trained(cell), validation.x)
    )
    assert float(kept.row(cell)["float_validation_error"]) == error_rate(again, validation)


def test_a_lost_integer_network_is_compressed_to_the_same_again(folder: Path, tmp_path: Path) -> None:
    config = small_promise()
    cell = candidate_cell(config, config.ladder[0], config.recipes[0], 0)
    validation = Bench(config, folder).data.validation
    error = error_of(Bench(config, tmp_path).quantised(cell), validation)
    assert str(error) == Bench(config, folder).row(cell)["validation_error"]


def test_gradual_pruning_is_never_read_from_another_training(tmp_path: Path) -> None:
    config = small_promise("ladder.0.compression.schedule=agp")
    bench = Bench(config, tmp_path)
    cell = candidate_cell(config, config.ladder[0], config.recipes[0], 0)
    bench.row(cell)
    # Only the teacher was kept.
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 1


def test_the_test_split_is_answered_by_the_final_networks_only(folder: Path, outcome: Outcome) -> None:
    predictions = Predictions(folder / PREDICTIONS)
    keys = outcome.choices.keys
    expected = {*keys[INT8], *keys[OURS], *keys[WIDTH], *(f"{FLOAT}-{key}" for key in keys[INT8])}
    assert set(predictions.table) == {"group", "label", *expected}
    bench = Bench(small_promise(), folder)
    recipe = next(recipe for recipe in small_promise().recipes if recipe.label == outcome.choices.recipe)
    baselines = [bench.trained(baseline_cell(small_promise(), recipe, seed)) for seed in range(SEEDS)]
    errors = [error_rate(baseline, bench.data.load_test()) for baseline in baselines]
    assert outcome.test_errors[FLOAT] == pytest.approx(np.mean(errors))


def test_the_figures_are_those_of_the_rows(folder: Path, outcome: Outcome) -> None:
    config = small_promise()
    recipe = next(recipe for recipe in config.recipes if recipe.label == outcome.choices.recipe)
    bench = Bench(config, folder)
    base, ours = baseline_cell(config, recipe, 0), candidate_cell(config, config.ladder[0], recipe, 0)
    flash = float(bench.row(base)["float_flash_bytes"]) / float(bench.row(ours)["flash_model_bytes"])
    assert outcome.flash_ratio == pytest.approx(flash)
    assert outcome.seeds == SEEDS
    assert outcome.figure(WIDTH, "flash_model_bytes") <= outcome.figure(OURS, "flash_model_bytes")
    assert not outcome.are_groups_known


def test_the_page_shows_a_network_once_it_is_finished(outcome: Outcome, tmp_path: Path) -> None:
    other = small_promise("name=other", "title=another")
    assert read_outcome(other, tmp_path) is None
    text = page([small_promise(), other], [outcome], {})
    assert "Not finished: another." in text
    assert "Fewer than 5 seeds: digits, tiny, 2." in text
    assert f"| digits, tiny | {SEEDS} | none: 360 samples |" in text


def test_where_no_candidate_will_do_the_run_says_so(folder: Path) -> None:
    config = small_promise("tolerance_points=-100.0")
    with pytest.raises(MoboError, match="small: no candidate is as good as the baseline; add larger ones"):
        run_network(config, folder, report=quiet)


def test_choices_name_what_was_chosen(folder: Path) -> None:
    choices = json.loads((folder / CHOICES).read_text(encoding="utf-8"))
    assert choices["candidate"] == "half"
    assert choices["desktop_cpu_ms"] > 0
    assert {kind: len(keys) for kind, keys in choices["keys"].items()} == {INT8: SEEDS, OURS: SEEDS, WIDTH: SEEDS}


@pytest.mark.parametrize("teachers", [1, 2])
def test_the_teacher_of_a_candidate_is_the_mean_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teachers: int
) -> None:
    taught = []
    evaluator = TinyMLProblem.evaluator
    monkeypatch.setattr(
        TinyMLProblem,
        "evaluator",
        lambda self, *args, **kwargs: (taught.append(self._taught), evaluator(self, *args, **kwargs))[1],
    )
    overrides = ('ladder.0.network={family = "lenet5"}', "ladder.0.space={width_multiplier = 0.5}")
    config = small_promise(*overrides, f"teachers={teachers}")
    bench = Bench(config, tmp_path)
    bench.row(candidate_cell(config, config.ladder[0], config.recipes[0], 0))
    baselines = [bench.trained(baseline_cell(config, config.recipes[0], seed)) for seed in range(teachers)]
    answers = np.mean([logits(module, bench.data.train.x).numpy() for module in baselines], axis=0)
    np.testing.assert_allclose(taught[-1].numpy(), answers, rtol=1e-5, atol=1e-6)
