"""The committed configs say what the experiment is said to be about."""

from math import prod
from pathlib import Path

import pytest
from experiments.compression.appliance.__main__ import CONFIGS as SPLITS
from experiments.compression.appliance.__main__ import ORDER as SPLIT_NAMES
from experiments.compression.appliance.config import load_appliance
from experiments.compression.promise.config import load_promise
from experiments.compression.promise.outcome import read_outcome

from experiments.compression.promise.__main__ import CONFIGS, ORDER
from hw_models.graph.from_torch import trace
from mobo.base.errors import ConfigError
from mobo.tinyml.networks import load_family

RESULTS = Path(__file__).parents[4] / "results" / "compression" / "promise"
SHAPES = {
    "mnist5k": ((28, 28, 1), 10, 61_706),
    "wisdm": ((1, 128, 3), 6, None),
    "tracebase": ((1, 512, 1), 12, 208_532),
    "cifar10": ((32, 32, 3), 10, 1_562_410),
    "keywords": ((49, 10, 1), 12, 22_604),
}


def test_every_config_is_in_the_table() -> None:
    assert {path.stem for path in CONFIGS.iterdir()} == set(ORDER) == set(SHAPES)
    assert {path.stem for path in SPLITS.iterdir()} == set(SPLIT_NAMES)


@pytest.mark.parametrize("name", ORDER)
def test_the_baseline_is_the_published_network(name: str) -> None:
    config = load_promise(CONFIGS / f"{name}.toml")
    shape, outputs, parameters = SHAPES[name]
    graph = trace(load_family(config.network.family).build(config.space, shape, outputs), shape).graph
    count = sum(
        layer.weight_count(graph.input_shapes(layer)) + graph.shapes[layer.name][2] for layer in graph.weight_layers
    )
    assert parameters is None or count == parameters
    assert config.kind == ("small" if name == "keywords" else "typical")
    if config.network.family == "cnn1d":
        # 0.83 MB in float32, whatever the input and the classes.
        assert 4 * count == pytest.approx(0.83e6, rel=0.02)


@pytest.mark.parametrize("name", ORDER)
def test_the_sweep_is_of_narrower_networks_trained_no_shorter_than_ours(name: str) -> None:
    config = load_promise(CONFIGS / f"{name}.toml")
    assert config.width.parameter in config.space
    assert max(config.width.values) < float(config.space[config.width.parameter])
    train_samples = {"mnist5k": 2600, "wisdm": 5184, "tracebase": 4688, "cifar10": 6500, "keywords": 2221}[name]
    outcome = read_outcome(config, RESULTS / name)
    # Where one was chosen it counts, else the longest of all.
    recipes = [recipe for recipe in config.recipes if outcome is None or recipe.label == outcome.choices.recipe]
    ours = [item for item in config.ladder if outcome is None or item.name == outcome.choices.candidate]
    assert recipes
    assert ours
    for candidate in ours:
        finetune = candidate.compression.finetune
        passes = finetune.steps * finetune.batch_size / train_samples
        assert config.width.epochs >= max(recipe.epochs for recipe in recipes) + passes


def test_appliance_rows_are_criterion_by_scope_the_largest_first() -> None:
    config = load_appliance(SPLITS / "windows.toml")
    assert list(config.pruned) == [("l1", "local"), ("l1", "global"), ("l2", "local"), ("l2", "global")]
    for (criterion, scope), candidates in config.pruned.items():
        keeps = [float(candidate.space["keep"]) for candidate in candidates]
        assert keeps == sorted(keeps, reverse=True)
        assert all(each.compression.criterion == criterion for each in candidates)
        assert all(each.compression.scope == scope for each in candidates)
    limits = [candidate.flash_model_bytes or 0 for candidate in config.agents]
    assert limits == sorted(limits, reverse=True)
    assert prod(limits) > 0


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "ladder.1.name=CNN 8 wide, 3 layers, growth 1.5, kernel 3, pool 2, W8",
            "two candidates of the ladder are called",
        ),
        ("seeds=1", "selection_seeds is 2 and recipe_seeds 1; neither may exceed seeds, 1"),
        ("tolerance=1", "tolerance_points"),
    ],
)
def test_a_config_that_cannot_be_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_promise(CONFIGS / "mnist5k.toml", (override,))


def test_a_missing_config_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_promise(Path("absent.toml"))
