from pathlib import Path

import pytest

from mobo.benchmark.config import load_benchmark_config
from mobo.benchmark.run import check_names

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
CONFIGS = sorted([*EXPERIMENTS.glob("samplers/*.toml"), *EXPERIMENTS.glob("samplers/gecco2025/*.toml")])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_benchmark_config_can_be_read_and_names_what_exists(path: Path) -> None:
    check_names(load_benchmark_config(path))


def test_there_are_configs() -> None:
    assert {"comparison.toml", "quick.toml", "gecco2025"} <= {
        name for path in CONFIGS for name in (path.name, path.parent.name)
    }
