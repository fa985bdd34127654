"""One cell of a benchmark: one problem, one sampler, one seed, and how far it shall go."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mobo.benchmark.cell_record import CellKey
from mobo.benchmark.config import BenchmarkConfig, ProblemChoice, SamplerChoice
from mobo.benchmark.folder import DATABASE


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one worker does in one go.

    Attributes:
        problem: What is searched.
        sampler: Who searches.
        seed: Of the start, of the sampler and of the evaluations.
        evaluations: Designs to try, the sampler's own cap taken into account.
        wanted: Designs the benchmark asks for; more than ``evaluations`` if the sampler is capped.
        initial_trials: Designs of the shared start.
        max_minutes: Time cap; None for no cap.
        out: The benchmark's folder.
    """

    problem: ProblemChoice
    sampler: SamplerChoice
    seed: int
    evaluations: int
    wanted: int
    initial_trials: int
    max_minutes: float | None
    out: Path

    @property
    def key(self) -> CellKey:
        """The cell's name, for people and logs too."""
        return CellKey(self.problem.label, self.sampler.label, self.seed)

    @property
    def database(self) -> Path:
        """The SQLite file that keeps all cells while the benchmark runs."""
        return self.out / DATABASE


def cells(config: BenchmarkConfig, out: Path) -> Iterator[Cell]:
    """Return every cell, all problems and samplers with the first seed first: a benchmark cut short is still paired."""
    for place, seed in enumerate(config.seeds):
        for problem in config.problems:
            for sampler in config.samplers:
                if sampler.seed_count is not None and place >= sampler.seed_count:
                    continue
                yield Cell(
                    problem=problem,
                    sampler=sampler,
                    seed=seed,
                    evaluations=min(config.evaluations, sampler.max_evaluations or config.evaluations),
                    wanted=config.evaluations,
                    initial_trials=config.initial_trials,
                    max_minutes=sampler.max_minutes or config.max_minutes,
                    out=out,
                )
