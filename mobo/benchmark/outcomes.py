"""What came out of a benchmark, read back from what is kept of its cells and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mobo.benchmark.cell_record import CellKey, CellRecord, KeptCell
from mobo.benchmark.config import BenchmarkConfig
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.folder import read_cells
from mobo.space.pareto import Matrix, hypervolume_history, non_dominated, outcomes
from mobo.space.trial import Trial, TrialState


@dataclass(frozen=True)
class CellOutcome:
    """One cell and its trials.

    Attributes:
        record: What the cell says about itself.
        trials: Its finished trials by number.
    """

    record: CellRecord
    trials: tuple[Trial, ...]

    @cached_property
    def hypervolumes(self) -> NDArray[np.float64]:
        """The hypervolume after each evaluation."""
        return np.array(hypervolume_history(self.trials, self.record.objectives, self.record.constraints))

    def hypervolume_at(self, evaluations: int) -> float | None:
        """Return the hypervolume after so many evaluations; None if the cell did not come so far."""
        return float(self.hypervolumes[evaluations - 1]) if len(self.trials) >= evaluations else None

    def judged(self, evaluations: int) -> int:
        """Return how many of so many evaluations were not refused for what is known of the design."""
        return sum(trial.state is not TrialState.INFEASIBLE for trial in self.trials[:evaluations])

    def feasible(self, evaluations: int) -> Matrix:
        """Return the feasible outcomes among so many evaluations, scaled: ideal 0, reference 1; shape ``(n, m)``."""
        objectives = self.record.objectives
        kept = [trial for trial in self.trials[:evaluations] if trial.is_feasible(self.record.constraints)]
        ideal = np.array([item.ideal for item in objectives])
        reference = np.array([item.reference for item in objectives])
        scaled: Matrix = (outcomes(kept, objectives) - ideal) / (reference - ideal)
        return scaled

    def front(self, evaluations: int) -> Matrix:
        """Return the distinct feasible outcomes that no other beats, scaled."""
        points = self.feasible(evaluations)
        return np.unique(points[non_dominated(points)], axis=0)

    def times(self, stage: str) -> NDArray[np.float64]:
        """Return the seconds of a stage, of the trials that had it."""
        return np.array([trial.times_s[stage] for trial in self.trials if stage in trial.times_s])


@dataclass(frozen=True)
class BenchmarkOutcome:
    """Every cell that has begun.

    Attributes:
        config: What was run.
        cells: By problem, sampler (labels in the config's order) and seed; what has not begun is missing.
    """

    config: BenchmarkConfig
    cells: Mapping[str, Mapping[str, Mapping[int, CellOutcome]]]

    def samplers(self, problem: str) -> tuple[str, ...]:
        """Return the samplers that have trials on a problem."""
        return tuple(
            label for label, by_seed in self.cells[problem].items() if any(cell.trials for cell in by_seed.values())
        )

    def hypervolumes(self, problem: str, sampler: str, evaluations: int) -> dict[int, float]:
        """Return the hypervolume after so many evaluations by seed, of the cells that came so far."""
        by_seed = {seed: cell.hypervolume_at(evaluations) for seed, cell in self.cells[problem][sampler].items()}
        return {seed: value for seed, value in by_seed.items() if value is not None}

    def curves(self, problem: str, sampler: str) -> Matrix:
        """Return the hypervolume by seed and evaluation, shape ``(seeds, evaluations)``; NaN where a cell has ended."""
        rows = [cell.hypervolumes for cell in self.cells[problem][sampler].values() if cell.trials]
        length = max((len(row) for row in rows), default=0)
        return np.array([np.pad(row, (0, length - len(row)), constant_values=np.nan) for row in rows]).reshape(
            len(rows), length
        )

    def reference_front(self, problem: str) -> Matrix:
        """Return the front of everything that any sampler found on a problem, scaled."""
        fronts = [cell.front(len(cell.trials)) for by_seed in self.cells[problem].values() for cell in by_seed.values()]
        points = np.vstack(fronts)
        return np.unique(points[non_dominated(points)], axis=0)


def read_outcome(config: BenchmarkConfig, out: Path) -> BenchmarkOutcome:
    """Read the cells of a config that are in a folder; cells of other labels or seeds are left alone.

    Raises:
        BenchmarkError: There is none, a file is damaged or of an old version, or cells of one problem were run with
            different objectives or constraints.
        StoreError: The file of a benchmark that has not ended is damaged.
    """
    kept = {cell.record.key: cell for cell in read_cells(out)}
    cells = {
        problem: {sampler: _by_seed(kept, problem, sampler, config) for sampler in config.sampler_labels}
        for problem in config.problem_labels
    }
    if not any(
        cell.trials for by_sampler in cells.values() for by_seed in by_sampler.values() for cell in by_seed.values()
    ):
        raise BenchmarkError(f"{out} has no trials of this config; run it first, or give the right folder with --out")
    begun = {problem: by_sampler for problem, by_sampler in cells.items() if any(by_sampler.values())}
    for problem, by_sampler in begun.items():
        _check_one_scale(problem, [cell.record for by_seed in by_sampler.values() for cell in by_seed.values()])
    return BenchmarkOutcome(config, begun)


def _by_seed(
    kept: Mapping[CellKey, KeptCell], problem: str, sampler: str, config: BenchmarkConfig
) -> dict[int, CellOutcome]:
    found: dict[int, CellOutcome] = {}
    for seed in config.seeds:
        cell = kept.get(CellKey(problem, sampler, seed))
        if cell is not None:
            finished = [trial for trial in cell.trials if trial.state.is_finished]
            found[seed] = CellOutcome(cell.record, tuple(finished[: config.evaluations]))
    return found


def _check_one_scale(problem: str, records: Sequence[CellRecord]) -> None:
    scales = {(record.objectives, record.constraints) for record in records}
    if len(scales) > 1:
        raise BenchmarkError(
            f"the cells of {problem!r} were run with {len(scales)} different sets of objectives, constraints, ideals "
            "or references and cannot be compared; remove the older ones and run them again"
        )
