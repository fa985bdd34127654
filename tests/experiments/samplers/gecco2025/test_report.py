from pathlib import Path

import numpy as np
import pytest

from experiments.samplers.gecco2025.figure import curves_figure, read_published
from experiments.samplers.gecco2025.report import main
from mobo.benchmark.config import BenchmarkConfig
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.outcomes import read_outcome
from tests.mobo.benchmark.small_benchmarks import config, write_cell

PUBLISHED = """experiment,sampler,samples,hypervolume
resnet18_cifar10,turbo_1,0,0.03
resnet18_cifar10,turbo_1,2,0.05
resnet18_cifar10,ars_mobopt,0,0.04
"""


def written(out: Path) -> BenchmarkConfig:
    benchmark = config(samplers=["ars_mobopt", "turbo"], evaluations=12, initial_trials=2, seeds=list(range(6)))
    (out / "config.toml").write_text(benchmark.to_toml())
    for seed in range(6):
        for sampler, best in (("ars_mobopt", 0.2), ("turbo", 0.4)):
            values = np.linspace(0.9, best, 12) + 0.001 * seed
            write_cell(out, "zdt1", sampler, seed, [(float(value), 0.0) for value in values])
    return benchmark


def test_published_curves_come_under_our_labels(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(PUBLISHED)
    # Their samples count from 0, our evaluations from 1.
    assert read_published(path)["resnet18_cifar10"]["turbo"] == ([1.0, 3.0], [0.03, 0.05])


def test_a_file_that_is_not_such_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(BenchmarkError, match="leave --published out"):
        read_published(path)


def test_the_figure_has_the_published_curves_behind_or_goes_without(tmp_path: Path) -> None:
    outcome = read_outcome(written(tmp_path), tmp_path)
    (tmp_path / "curves.csv").write_text(PUBLISHED)
    alone = curves_figure(outcome, "zdt1", None)
    both = curves_figure(outcome, "zdt1", read_published(tmp_path / "curves.csv"))
    assert alone.startswith(b"\x89PNG")
    assert both.startswith(b"\x89PNG")
    assert both != alone


def test_the_page_says_that_the_sampler_is_reconstructed_and_how_claims_are_decided(tmp_path: Path) -> None:
    written(tmp_path)
    main(tmp_path, tmp_path / "page")
    page = (tmp_path / "page" / "README.md").read_text()
    assert "**reconstructed** from slides and posters" in page
    assert "the smallest p-value is 0.0625" in page
    assert page.count("| after 150 samples ars_mobopt is ahead of turbo | ResNet18, CIFAR-10; ") == 2
    assert {path.name for path in (tmp_path / "page").iterdir()} == {
        "README.md", "curves.png", "claims-zdt1-5-seeds.csv", "claims-zdt1-6-seeds.csv",
    }  # fmt: skip
