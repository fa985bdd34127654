from pathlib import Path

import pytest

from mobo.base.errors import ConfigError
from mobo.base.toml_models import parse_toml
from mobo.benchmark.cell import cells
from mobo.benchmark.config import EXAMPLE, BenchmarkConfig, load_benchmark_config
from tests.mobo.benchmark.small_benchmarks import config

TEXT = """
name = "small"
seeds = [3, 1]
evaluations = 100
initial_trials = 10
max_minutes = 5

[[problems]]
name = "zdt1"
settings = { dim = 4 }

[[problems]]
name = "zdt1"
label = "zdt1-30"
settings = { dim = 30 }

[[samplers]]
name = "sobol"

[[samplers]]
name = "ax"
max_evaluations = 60
max_minutes = 2
seed_count = 1
"""


def parsed(text: str, *overrides: str) -> BenchmarkConfig:
    return parse_toml(BenchmarkConfig, text, overrides, source="bench.toml", example="example.toml")


def test_labels_subject_and_checkpoints_have_defaults() -> None:
    benchmark = parsed(TEXT)
    assert benchmark.problem_labels == ("zdt1", "zdt1-30")
    assert benchmark.subject == "sobol"
    assert benchmark.rivals == ("ax",)
    assert benchmark.checkpoints == (50, 100)
    assert parsed(TEXT, "evaluations=120").checkpoints == (50, 100, 120)
    assert parsed(TEXT, "evaluations=150", "report.checkpoints=[20, 150, 200]").checkpoints == (20, 150)
    assert parsed(TEXT, "report.subject=ax").rivals == ("sobol",)


def test_the_resolved_config_reads_back_the_same() -> None:
    benchmark = parsed(TEXT, "report.subject=ax")
    assert parsed(benchmark.to_toml()) == benchmark


def test_cells_go_seed_by_seed_and_know_their_caps() -> None:
    listed = [(str(cell.key), cell.evaluations, cell.max_minutes) for cell in cells(parsed(TEXT), Path("out"))]
    assert listed == [
        ("zdt1 sobol seed 3", 100, 5.0),
        ("zdt1 ax seed 3", 60, 2.0),
        ("zdt1-30 sobol seed 3", 100, 5.0),
        ("zdt1-30 ax seed 3", 60, 2.0),
        ("zdt1 sobol seed 1", 100, 5.0),
        ("zdt1-30 sobol seed 1", 100, 5.0),
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("initial_trials=100", "initial_trials = 100 leaves nothing of evaluations = 100"),
        ("seeds=[1, 1]", "the seeds .* must be distinct"),
        ("problems.1.label=zdt1", "the problem label 'zdt1' is used twice"),
        ("report.subject=sobl", "sampler label .*'sobl'.*'?sobol"),
        ("samplers.1.max_evals=3", r"bench.toml: .*samplers.1.max_evals.*max_evaluations"),
        ("problems.0.label=../x", "problems.0.label"),
        ("seeds=[]", "seeds"),
    ],
)
def test_a_bad_value_is_named_with_what_is_allowed(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parsed(TEXT, override)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_benchmark_config(tmp_path / "nowhere.toml")


def test_a_missing_key_points_to_a_complete_example() -> None:
    with pytest.raises(ConfigError, match=r"the key 'seeds' is missing; see example\.toml"):
        parsed(TEXT.replace("seeds = [3, 1]", ""))


def test_a_single_sampler_has_no_rivals() -> None:
    assert config().rivals == ()


def test_the_example_that_errors_point_to_comes_with_the_package_and_is_complete() -> None:
    assert load_benchmark_config(EXAMPLE).name == "example"
