"""Is the error of a picked model what was claimed, before a run is confirmed and after?

    python -m experiments.searches.confirmed_picks --trials 30 --out runs/confirmed-picks

Searches a study with several seeds (or takes finished runs), confirms every front, and picks under a ladder of limits
on the model's flash (the quartiles of that front) by each rule of `mobo pick`. The claim of a pick is the error that
the rule looked at, for the upper bound its confirmed mean. The test error is that of the picked model itself, the one
that a board would get. Resumable: searches and repeats that are there are not made again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Annotated

import numpy as np
import typer

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import error_of
from mobo.base.markdown import table
from mobo.runs.confirm import confirm
from mobo.runs.directory import RunDirectory
from mobo.runs.pick import Basis, Candidate, Limit
from mobo.runs.pick_for_device import pick_for_device
from mobo.runs.record import RunRecord, read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.space.columns import VALIDATION_ERROR
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.config_file import load_config
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.setup import load_setup

FLASH = "flash_model_bytes"
STEPS = (25, 50, 75, 100)
"""Percentiles of a front's flash that the limits stand at."""


@dataclass(frozen=True)
class Picked:
    """One model that one rule picked.

    Attributes:
        basis: The rule.
        model: The model.
        test_error: Its error on the test split.
    """

    basis: Basis
    model: Candidate
    test_error: float

    @property
    def claim(self) -> float:
        """The error that the rule promises."""
        confirmed = self.model.confirmation
        return self.model.validation_error if self.basis is Basis.SINGLE or confirmed is None else confirmed.error


def main(
    runs: Annotated[list[Path] | None, typer.Argument(help="Finished runs; without any the study is searched.")] = None,
    study: Annotated[Path, typer.Option(help="What is searched.")] = Path("experiments/searches/quickstart.toml"),
    trials: Annotated[int, typer.Option(min=1, help="Of every search.")] = 30,
    searches: Annotated[int, typer.Option(min=1, help="How many, with the seeds 0, 1 …")] = 3,
    seeds: Annotated[int, typer.Option(min=2, help="Repeats of every model of a front.")] = 3,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/confirmed-picks"),
) -> None:
    """Print the tables."""
    configs = [load_config(study, [f"trials={trials}", f"seed={seed}"]) for seed in range(searches)]
    paths = runs or [_searched(config, out / f"seed-{config.seed}").path for config in configs]
    for path in paths:
        _confirm(path, seeds)
    records = [read_run(path) for path in paths]
    print(front_table(records))
    print(pick_table([picked for record in records for picked in picks(record)]))


def _searched(config: StudyConfig, path: Path) -> RunDirectory:
    resume = (path / "study.db").is_file()
    run = prepare_run(config, out=path, resume=resume)
    run_search(config, run, resume=resume, on_note=print)
    return run


def _confirm(path: Path, seeds: int) -> None:
    config = parse_config(read_run(path).config.to_toml(), [f"confirm.seeds={seeds}"])
    confirm(config, RunDirectory.open(path), on_note=print)


def picks(record: RunRecord) -> Iterator[Picked]:
    """Yield what every rule picks under every limit of the ladder."""
    samples = load_setup(record.config).data.load_test()
    sizes = [float(trial.outcome[FLASH] or 0.0) for trial in record.front]
    for limit in np.percentile(sizes, STEPS):
        for basis in Basis:
            asked = (Limit(FLASH, float(limit), "the ladder"),)
            for entry in pick_for_device(record, record.config.device.name, asked, basis=basis).picks:
                yield Picked(basis, entry.candidate, _test_error(record, entry.candidate, samples))


def _test_error(record: RunRecord, model: Candidate, samples: LabelledSamples) -> float:
    if model.test_error is not None:
        return model.test_error
    return error_of(load_quantised(record.directory.model_directory(model.trial)), samples)


def front_table(records: Sequence[RunRecord]) -> str:
    """Return how far the one measurement, the mean of the repeats and the test error lie apart, over whole fronts."""
    rows = []
    for record in records:
        models = [
            (trial.outcome[VALIDATION_ERROR] or 0.0, record.confirmed[trial.number], record.test_errors[trial.number])
            for trial in record.front
            if trial.number in record.confirmed
        ]
        inside = [
            confirmed.low <= test <= confirmed.high
            for _, confirmed, test in models
            if confirmed.low is not None and confirmed.high is not None
        ]
        means = (mean(column) for column in zip(*((one, c.error, test) for one, c, test in models), strict=True))
        share = f"{sum(inside)} of {len(inside)}"
        rows.append((str(record.config.seed), str(len(models)), *(f"{100 * value:.2f}" for value in means), share))
    heads = ("seed", "models", "validation %", "confirmed %", "test %", "test within the 80 % interval")
    return "The fronts, means over their models:\n\n" + table(heads, rows)


def pick_table(entries: Sequence[Picked]) -> str:
    """Return what the picks claimed and what they are, by rule."""
    rows = []
    for basis in Basis:
        chosen = [entry for entry in entries if entry.basis is basis]
        gaps = [100 * (entry.test_error - entry.claim) for entry in chosen]
        spread = f"{stdev(gaps):.2f}" if len(gaps) > 1 else "-"
        figures = (mean(entry.claim for entry in chosen), mean(entry.test_error for entry in chosen))
        distance = mean(abs(gap) for gap in gaps)
        rows.append(
            (
                basis.value,
                str(len(chosen)),
                *(f"{100 * value:.2f}" for value in figures),
                f"{mean(gaps):+.2f}",
                f"{distance:.2f}",
                spread,
            )
        )
    heads = ("picked by", "picks", "claimed %", "test %", "test - claimed, points", "its mean size", "its deviation")
    return "The picks, means over seeds and limits:\n\n" + table(heads, rows)


if __name__ == "__main__":
    typer.run(main)
