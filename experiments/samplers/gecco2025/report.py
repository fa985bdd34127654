"""Hold our comparison against the paper's figures: a picture and a table of claims.

mobo benchmark experiments/samplers/gecco2025/comparison.toml --jobs 2 --out runs/gecco2025
python -m experiments.samplers.gecco2025.report runs/gecco2025 --published hypervolume_curves.csv --out
    results/samplers/gecco2025
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from experiments.samplers.gecco2025.claims import NEAR, Verdict, crossing_verdict, pair_verdicts
from experiments.samplers.gecco2025.figure import curves_figure, read_published
from mobo.base import atomic_write
from mobo.base.markdown import table
from mobo.benchmark.config import BenchmarkConfig, load_benchmark_config
from mobo.benchmark.outcomes import BenchmarkOutcome, read_outcome
from mobo.benchmark.report import table_csv
from mobo.benchmark.run import CONFIG

PUBLISHED_SEEDS = 5
FIGURE = "curves.png"

_INTRODUCTION = """\
# The paper's comparison on our scale

Our `ars_mobopt` is **reconstructed** from slides and posters: the paper's constants, kernel, reference point and search
space are not public, and ours are documented defaults. The task differs too (keyword networks of a table instead of
ResNet18 on CIFAR-10 and MobileNetV3 on DaLiAc), so values cannot be compared; order and shape can. All samplers share
their first designs, and none is told a cost beforehand except where its label says so; designs that break the budget
are refused before training, as in `mobo search`, and their costs are told.

A claim about two samplers is *held* if the two-sided Wilcoxon signed-rank test over seeds, Holm-corrected over all
such claims of the table, is below 0.05 and the sign is the paper's, *not held* if it is below 0.05 with the other
sign, else *undecided*. With the published number of seeds, five, the smallest p-value is 0.0625, so that none can be
decided. The crossing is *held* if 95 % of the paired bootstrap resamples of the seeds cross within {near} samples of
the published one, *not held* if at most 5 % do."""


def main(
    results: Annotated[Path, typer.Argument(help="Folder of the benchmark.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for picture and tables.", show_default=False)],
    published: Annotated[
        Path | None, typer.Option(help="CSV of the published curves; without it they are left out.", show_default=False)
    ] = None,
) -> None:
    """Write the figure, the claims with all seeds and with the first five, and the page."""
    config = load_benchmark_config(results / CONFIG)
    outcome = read_outcome(config, results)
    few = read_outcome(_first_seeds(config), results)
    curves = read_published(published) if published is not None else None
    out.mkdir(parents=True, exist_ok=True)
    parts = [_INTRODUCTION.format(near=NEAR)]
    for problem in outcome.cells:
        name = FIGURE if len(outcome.cells) == 1 else f"{problem}-{FIGURE}"
        atomic_write.write_bytes(out / name, curves_figure(outcome, problem, curves))
        parts.append(f"![{problem}]({name})")
        for which in (outcome, few):
            verdicts = verdicts_of(which, problem)
            seeds = len(which.config.seeds)
            rows = [dict(vars(verdict)) for verdict in verdicts]
            atomic_write.write_text(out / f"claims-{problem}-{seeds}-seeds.csv", table_csv(rows))
            run = max(verdict.seeds for verdict in verdicts)
            parts.append(f"## {problem}, {run} of {seeds} seeds run\n\n" + claims_table(verdicts))
    atomic_write.write_text(out / "README.md", "\n\n".join(parts) + "\n")
    print(out / "README.md")


def verdicts_of(outcome: BenchmarkOutcome, problem: str) -> list[Verdict]:
    """Return how every claim of the paper fared on a problem."""
    return [*pair_verdicts(outcome, problem), crossing_verdict(outcome, problem)]


def claims_table(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    rows = [(item.text, item.source, f"**{item.verdict}**", item.evidence) for item in verdicts]
    return table(("claim", "in the paper", "here", "evidence"), rows)


def _first_seeds(config: BenchmarkConfig) -> BenchmarkConfig:
    return config.model_copy(update={"seeds": config.seeds[:PUBLISHED_SEEDS]})


if __name__ == "__main__":
    typer.run(main)
