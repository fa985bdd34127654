"""Our compressed network: the first candidate, smallest first, that is no worse than the float baseline.

Only the validation split is read. Candidates behind the first that will do are not trained.
"""

from collections.abc import Sequence

from experiments.compression.promise.bench import Bench
from experiments.compression.promise.cell import baseline_cell, candidate_cell
from experiments.compression.promise.config import CandidateSettings, PromiseConfig, Recipe
from experiments.compression.promise.rows import Row

HOPELESS_POINTS = 0.75
"""A candidate this far beyond the tolerance with the first seed is not tried with another."""

_FLOAT, _INTEGER = "float_validation_error", "validation_error"


def choose(bench: Bench, config: PromiseConfig, recipe: Recipe) -> CandidateSettings | None:
    """Return the first candidate whose mean validation error is within the tolerance; None where there is none."""
    seeds = range(config.selection_seeds)
    baseline = mean([bench.row(baseline_cell(config, recipe, seed)) for seed in seeds], _FLOAT)
    limit = baseline + config.tolerance_points / 100
    for candidate in config.ladder:
        rows = _rows(bench, config, candidate, recipe, hopeless=limit + HOPELESS_POINTS / 100)
        if len(rows) == len(seeds) and mean(rows, _INTEGER) <= limit:
            return candidate
    return None


def _rows(
    bench: Bench, config: PromiseConfig, candidate: CandidateSettings, recipe: Recipe, *, hopeless: float
) -> list[Row]:
    """Return a candidate's rows, fewer than there are seeds where one failed or the first was hopeless."""
    rows: list[Row] = []
    for seed in range(config.selection_seeds):
        row = bench.row(candidate_cell(config, candidate, recipe, seed))
        if row.get("message") or (seed == 0 and float(row[_INTEGER]) > hopeless):
            break
        rows.append(row)
    return rows


def mean(rows: Sequence[Row], name: str) -> float:
    """Return the mean of a column."""
    return sum(float(row[name]) for row in rows) / len(rows)
