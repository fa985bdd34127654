import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobo.benchmark import archive
from mobo.benchmark.cell_record import CellState, KeptCell
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems.toy_network import SPACE
from mobo.space.objectives import Constraint
from mobo.space.search_space import SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import MIXED_SPACE
from tests.mobo.benchmark.small_benchmarks import write_cell


def trials_of(space: SearchSpace, count: int = 12) -> tuple[Trial, ...]:
    generator = np.random.default_rng(0)
    trials = [
        Trial(
            number=number,
            design=space.decode(generator.random(len(space))),
            seed=number + 7,
            state=TrialState.DONE,
            outcome={"error": float(generator.random()) / 3, "flash_bytes": 12, "energy_uj": None},
            times_s={"suggest": 0.125, "evaluate": 2.0},
            started_utc="2026-01-01T00:00:00.000+00:00",
        )
        for number in range(count)
    ]
    failed = Trial(
        number=count, design=trials[0].design, seed=1, state=TrialState.FAILED, message='two\nlines, a comma and a "'
    )
    return (*trials, failed)


def written(out: Path, space: SearchSpace = SPACE) -> list[KeptCell]:
    """Write an archive of two cells, one of them without trials."""
    for sampler in ("sobol", "ax"):
        write_cell(out, "toy", sampler, 3, [(0.5, 5.0)])
    ax, sobol = archive.read_archive(out)
    limits = (Constraint(name="ram_bytes", upper=1e6, unit="bytes", confidence=0.9),)
    record = sobol.record.model_copy(
        update={
            "constraints": limits,
            "message": "one\ntwo",
            "problem": sobol.record.problem.model_copy(update={"settings": {"dim": None, "scale": 0.1 + 0.2}}),
        }
    )
    cells = [
        KeptCell(ax.record.model_copy(update={"state": CellState.SKIPPED}), ()),
        KeptCell(record, trials_of(space)),
    ]
    archive.write_archive(out, cells)
    return cells


@pytest.mark.parametrize("space", [MIXED_SPACE, SPACE], ids=["mixed", "conditional"])
def test_what_is_written_reads_back_digit_for_digit_and_kind_for_kind(tmp_path: Path, space: SearchSpace) -> None:
    cells = written(tmp_path, space)
    again = archive.read_archive(tmp_path)
    assert [cell.record for cell in again] == [cell.record for cell in cells]
    for one, two in zip(again[1].trials, cells[1].trials, strict=True):
        assert (one, one.times_s, one.started_utc) == (two, two.times_s, two.started_utc)
        assert [*map(type, one.design.values())] == [*map(type, two.design.values())]
        assert [*map(type, one.outcome.values())] == [*map(type, two.outcome.values())]


def test_equal_cells_give_equal_bytes(tmp_path: Path) -> None:
    cells = written(tmp_path)
    files = [tmp_path / archive.CELLS, tmp_path / archive.TRIALS]
    before = [path.read_bytes() for path in files]
    archive.write_archive(tmp_path, cells)
    assert [path.read_bytes() for path in files] == before
    changed = replace(cells[1].trials[0], seed=99)
    archive.write_archive(tmp_path, [cells[0], KeptCell(cells[1].record, (changed, *cells[1].trials[1:]))])
    assert files[1].read_bytes() != before[1]


def test_the_columns_are_said_in_the_header(tmp_path: Path) -> None:
    written(tmp_path)
    header = gzip.decompress((tmp_path / archive.TRIALS).read_bytes()).decode().splitlines()[0]
    assert header == (
        "problem,sampler,seed,trial,state,trial_seed,design,outcome,times_s,message,started_utc,finished_utc"
    )


def changed_text(path: Path, old: str, new: str) -> None:
    text = gzip.decompress(path.read_bytes()).decode()
    assert old in text
    path.write_bytes(gzip.compress(text.replace(old, new).encode()))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (archive.CELLS, ",skipped,", ",flying,", r"cells\.csv\.gz is damaged: .*state"),
        (archive.CELLS, '""dim"": null', '""dim"": nul', r"cells\.csv\.gz is damaged"),
        (archive.TRIALS, ",failed,", ",flying,", r"trials\.csv\.gz is damaged: 'flying' is not a valid TrialState"),
        (archive.TRIALS, "toy,sobol,3,0,", "toy,random,3,0,", "trials of the cell toy random seed 3, which cells"),
        (archive.TRIALS, "trial_seed", "seed_of_trial", "has the columns problem, .*; an archive has problem, "),
    ],
)
def test_a_damaged_archive_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    written(tmp_path)
    changed_text(tmp_path / name, old, new)
    with pytest.raises(BenchmarkError, match=message):
        archive.read_archive(tmp_path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / archive.TRIALS).unlink()
    with pytest.raises(BenchmarkError, match=r"trials\.csv\.gz is damaged: .*No such file.*restore a copy"):
        archive.read_archive(tmp_path)
