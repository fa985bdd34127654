from pathlib import Path

import pytest

from experiments.samplers.tabular.describe_table import _machine, draw, effects, fronts, spreads
from experiments.samplers.tabular.design_grid import SharedTraining
from experiments.samplers.tabular.design_measurement import Row
from experiments.samplers.tabular.design_rows import DesignRows
from mobo.base.errors import MoboError
from mobo.benchmark.problems.design_table import design_column, read_table
from mobo.benchmark.problems.tabular import TabularProblem, TabularSettings
from mobo.space.search_space import Design
from tests.mobo.benchmark.problems.small_table import DEVICES, small_rows, write_small_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_small_table(tmp_path / "small.csv.gz")


def problem(table: Path) -> TabularProblem:
    return TabularProblem(TabularSettings(table=table, device=DEVICES[0]))


def test_spreads_leave_out_what_failed(table: Path) -> None:
    lines = spreads(read_table(table)).splitlines()
    macs = sorted(float(str(row["macs"])) for row in small_rows())
    assert f"| macs | {macs[0]:.4g} | " in lines[[line.startswith("| macs") for line in lines].index(True)]
    assert not any("nan" in line for line in lines)


def test_effects_are_means_over_designs_that_did_not_fail(table: Path) -> None:
    lines = effects(problem(table)).splitlines()
    small = [row for row in small_rows() if row["design_width"] == 4]
    error = sum(float(str(row["validation_error"])) for row in small) / len(small)
    macs = sum(float(str(row["macs"])) for row in small) / len(small)
    assert lines[2].startswith(f"| width | 4 | {100 * error:.1f} |")
    assert lines[2].endswith(f"| {macs:.4g} |")
    assert len(lines) == 2 + 4 * 2


def test_every_board_has_its_front(table: Path, tmp_path: Path) -> None:
    lines = fronts(table, DEVICES).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [f"| {device}" for device in DEVICES]
    assert lines[2].endswith(f"| {problem(table).hypervolume:.6f} |")
    draw(problem(table), tmp_path / "designs.png")
    assert (tmp_path / "designs.png").read_bytes().startswith(b"\x89PNG")


def test_seconds_are_those_of_the_designs_in_the_table(table: Path, tmp_path: Path) -> None:
    read = read_table(table)
    other = Design(dict(read.designs[0]) | {"width": 99})
    store = DesignRows(tmp_path / "rows.csv", read.space.names, DEVICES, "{}")
    for design, seconds in ((read.designs[0], 1.0), (read.designs[1], 3.0), (other, 50.0)):
        named: Row = {design_column(name): value for name, value in design.items()}
        times: Row = {"train_s": seconds, "compress_s": 0.5, "measure_s": 0.25}
        store.add(SharedTraining("", (design,)), [named | times])
    said = _machine(read, tmp_path / "rows.csv")
    assert "share of the training 2.00, pruning, fine-tuning and quantisation 0.50" in said
    with pytest.raises(MoboError, match=r"'no\.csv' does not exist"):
        _machine(read, Path("no.csv"))
    assert "seconds" not in _machine(read, None)
