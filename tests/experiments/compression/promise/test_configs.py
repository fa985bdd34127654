"""Every committed config is a study that can run, and its baseline is the network the page of results speaks of."""

from pathlib import Path

import numpy as np
import pytest

from hw_models.device import load_device
from hw_models.runtime import load_runtime
from mobo.goal.baseline import ReferenceNetworks
from mobo.goal.float_cost import float_costs
from mobo.goal.reference_description import narrower
from mobo.runs.directory import RunDirectory
from mobo.samplers import build_sampler
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.network import Networks
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup
from mobo.tinyml.tasks.data import Standardisation, TaskData, to_samples
from mobo.validation import check_before_search

ROOT = Path(__file__).parents[4]
PROMISE, APPLIANCE = (ROOT / "experiments" / "compression" / name / "configs" for name in ("promise", "appliance"))
PATHS = sorted([*PROMISE.iterdir(), *APPLIANCE.iterdir()])

# Inputs and classes of each, and the row of the page of results that has its float32 and int8 flash.
DATA = {
    "mnist5k": ((28, 28, 1), 10, "mnist5k, LeNet-5"),
    "wisdm": ((1, 128, 3), 6, "wisdm, five-layer 1D-CNN"),
    "tracebase": ((1, 512, 1), 12, "tracebase, unseen devices, five-layer 1D-CNN"),
    "cifar10": ((32, 32, 3), 10, "CIFAR-10 subset, ResNet-18 of three stages"),
    "keywords": ((49, 10, 1), 12, "keywords, DS-CNN of MLPerf Tiny"),
    "windows": ((1, 512, 1), 12, "tracebase, unseen devices, five-layer 1D-CNN"),
    "daysplit": ((1, 512, 1), 33, None),
}


def setup_of(config: StudyConfig, name: str) -> StudySetup:
    """Return a study's board and engine, with a handful of random samples of its data's shape."""
    shape, classes, _ = DATA[name]
    x, y = np.random.default_rng(0).normal(size=(classes, *shape)).astype(np.float32), np.arange(classes)
    standardisation = Standardisation.of(x, "none")
    samples = to_samples(x, y, standardisation)
    data = TaskData(
        input_shape=shape,
        class_names=tuple(str(label) for label in y),
        train=samples,
        reward=samples,
        validation=samples,
        load_test=lambda: samples,
        standardisation=standardisation,
    )
    return StudySetup(data, load_device(config.device.name), load_runtime(config.device.runtime or ""))


def page_row(label: str) -> list[str]:
    """Return the row of the page's table of sizes."""
    text = (ROOT / "results" / "compression" / "promise" / "README.md").read_text(encoding="utf-8")
    table = text[text.index("## Smaller, faster") :]
    return [cell.strip() for cell in next(row for row in table.splitlines() if f"| {label} |" in row).split("|")]


def test_there_is_a_study_for_every_network() -> None:
    assert {path.stem for path in PATHS} == set(DATA)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
class TestStudy:
    def test_something_fits_and_the_sampler_takes_it(self, path: Path) -> None:
        config = load_config(path)
        assert config.name == path.stem
        setup = setup_of(config, path.stem)
        problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
        smallest = check_before_search(problem)
        assert smallest.costs["flash_model_bytes"] < 0.6 * next(
            item.upper for item in config.constraints if item.name == "flash_model_bytes"
        )
        build_sampler(
            config.sampler.name, problem.space, problem.objectives, problem.constraints, seed=0,
            settings=config.sampler.settings,
        )  # fmt: skip

    def test_the_baseline_is_the_network_of_the_results(self, path: Path) -> None:
        config = load_config(path)
        setup = setup_of(config, path.stem)
        networks = ReferenceNetworks(config, setup, RunDirectory(Path("none")))
        baseline = networks.describe_baseline()
        graph = Networks(config, setup.data).build(baseline.values, seed=0).trace.graph
        float_bytes = float_costs(graph, setup.device, clock_mhz=None)["flash_model_bytes"]
        int8_bytes = networks.int8_bytes(baseline)
        label = DATA[path.stem][2]
        if label is not None:
            row = page_row(label)
            assert [f"{float_bytes:,.0f}", f"{int8_bytes:,}"] == [row[3], row[6]]
        limit = next(item.upper for item in config.constraints if item.name == "flash_model_bytes")
        assert limit < int8_bytes
        # What the agent may not take more of than the same network in int8.
        assert {item.name for item in config.constraints} == {"flash_model_bytes", "ram_bytes", "latency_ms"}

    def test_the_width_sweep_has_a_network_for_every_size_that_may_be_chosen(self, path: Path) -> None:
        config = load_config(path)
        assert config.goal is not None
        sweep = config.goal.width_sweep
        assert sweep is not None
        networks = ReferenceNetworks(config, setup_of(config, path.stem), RunDirectory(Path("none")))
        baseline = networks.describe_baseline()
        assert float(baseline.values[sweep.parameter]) > max(sweep.values)
        assert int(baseline.values["epochs"]) < int(sweep.epochs or 0)
        sizes = [networks.int8_bytes(narrower(config, baseline, sweep, value)) for value in sweep.values]
        assert sizes == sorted(sizes)
        limit = next(item.upper for item in config.constraints if item.name == "flash_model_bytes")
        assert sizes[-1] > 0.85 * limit
