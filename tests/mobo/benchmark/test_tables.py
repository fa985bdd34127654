"""Tables of cells written by hand: hypervolumes of boxes, which a reader can multiply in the head."""

from dataclasses import replace
from pathlib import Path

import pytest

from mobo.benchmark import tables
from mobo.benchmark.cell_record import CellState, KeptCell
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.folder import read_cells
from mobo.benchmark.outcomes import BenchmarkOutcome, read_outcome
from mobo.space.objectives import Objective
from mobo.space.trial import TrialState
from tests.mobo.benchmark.small_benchmarks import config, write_cell, write_cells

SAMPLERS = ["sobol", "random", "ax"]
CONFIG = config(samplers=SAMPLERS, evaluations=3, initial_trials=1, seeds=[0, 1], report={"checkpoints": [2, 3]})


def outcome(out: Path) -> BenchmarkOutcome:
    # Scaled, a point (f1, f2) dominates (1 - f1) (1 - f2 / 10) alone.
    for seed in (0, 1):
        # .25, then .25 + .05 = .3 (.1 x .5 beside it), then .64.
        write_cell(out, "zdt1", "sobol", seed, [(0.5, 5.0), (0.4, 5.0), (0.2, 2.0)], suggest_s=2.0)
        # Infeasible first, then .16, then .32 of (.6 x .8 corner ...) below.
        write_cell(out, "zdt1", "random", seed, [(0.1, 1.0), (0.6, 6.0), (0.2, 6.0)], excess=[1.0, 0.0, 0.0])
    write_cell(out, "zdt1", "ax", 0, [(0.5, 5.0), (0.5, 1.0)], state=CellState.CAPPED, message="max_evaluations = 2")
    return read_outcome(CONFIG, out)


def row(rows: list[tables.Row], **keys: object) -> tables.Row:
    (found,) = [entry for entry in rows if all(entry[key] == value for key, value in keys.items())]
    return found


def test_cells_say_how_they_ended(tmp_path: Path) -> None:
    rows = tables.cell_rows(outcome(tmp_path))
    assert len(rows) == 5
    ax = row(rows, sampler="ax")
    assert (ax["state"], ax["evaluations"], ax["message"]) == ("capped", 2, "max_evaluations = 2")
    assert ax["hypervolume"] == pytest.approx(0.45)
    assert row(rows, sampler="sobol", seed=1)["feasible_front_size"] == 1


def test_curves_count_feasible_evaluations_only_and_end_where_a_cell_ended(tmp_path: Path) -> None:
    rows = tables.curve_rows(outcome(tmp_path))
    assert [entry["median"] for entry in rows if entry["sampler"] == "sobol"] == pytest.approx([0.25, 0.3, 0.64])
    assert [entry["mean"] for entry in rows if entry["sampler"] == "random"] == pytest.approx([0.0, 0.16, 0.32])
    assert [entry["evaluations"] for entry in rows if entry["sampler"] == "ax"] == [1, 2]
    assert row(rows, sampler="ax", evaluations=1)["std"] is None
    assert row(rows, sampler="sobol", evaluations=1)["std"] == 0.0


def test_final_tables_leave_out_who_did_not_come_so_far(tmp_path: Path) -> None:
    rows = tables.final_rows(outcome(tmp_path))
    assert [entry["sampler"] for entry in rows if entry["evaluations"] == 2] == ["sobol", "random", "ax"]
    assert [entry["sampler"] for entry in rows if entry["evaluations"] == 3] == ["sobol", "random"]


def test_igd_plus_is_against_the_front_of_all_runs(tmp_path: Path) -> None:
    rows = tables.final_rows(outcome(tmp_path))
    # The front of all runs, scaled: (.2, .2) and ax's (.5, .1). Sobol's (.2, .2) is nowhere worse than the first and
    # .1 worse than the second: mean .05.
    assert row(rows, sampler="sobol", evaluations=3)["igd_plus_median"] == pytest.approx(0.05)
    # After two: sobol's (.4, .5) is (.2, .3) worse than the first, .4 than the second.
    assert row(rows, sampler="sobol", evaluations=2)["igd_plus_median"] == pytest.approx((0.13**0.5 + 0.4) / 2)


def test_comparisons_are_paired_and_corrected(tmp_path: Path) -> None:
    rows = tables.comparison_rows(outcome(tmp_path))
    random = row(rows, rival="random", evaluations=3)
    assert (random["seeds"], random["wins"], random["a12"]) == (2, 2, 1.0)
    assert random["mean_difference"] == pytest.approx(0.32)
    # Two equal differences have the two-sided p-value 2 / 2^2; alone at its checkpoint it is not corrected.
    assert random["p_wilcoxon"] == random["p_holm"] == pytest.approx(0.5)
    assert row(rows, rival="ax", evaluations=2)["seeds"] == 1
    # Beside it, .5 is corrected to 1.
    assert row(rows, rival="random", evaluations=2)["p_holm"] == 1.0


def test_ratios_are_to_the_best_rival_with_two_seeds(tmp_path: Path) -> None:
    rows = tables.ratio_rows(outcome(tmp_path))
    assert row(rows, evaluations=3)["ratio"] == pytest.approx(2.0)
    assert (row(rows, evaluations=3)["best_rival"], row(rows, evaluations=3)["did_not_come_so_far"]) == ("random", "ax")
    # Ax has one seed only: too few for an interval.
    assert row(rows, evaluations=2)["best_rival"] == "random"


def test_where_no_rival_has_anything_there_is_a_row_without_a_ratio(tmp_path: Path) -> None:
    outcome(tmp_path)
    for seed in (0, 1):
        write_cell(tmp_path, "zdt1", "random", seed, [(0.5, 5.0)] * 3, excess=[1.0] * 3)
    last = row(tables.ratio_rows(read_outcome(CONFIG, tmp_path)), evaluations=3)
    assert (last["best_rival"], last["ratio"], last["seeds"]) == (None, None, 2)


def test_ranks_are_of_those_that_came_so_far_everywhere(tmp_path: Path) -> None:
    rows = tables.rank_rows(outcome(tmp_path))
    assert [(entry["sampler"], entry["mean_rank"]) for entry in rows if entry["evaluations"] == 2] == [
        ("ax", 1.0),
        ("sobol", 2.0),
        ("random", 3.0),
    ]
    assert [entry["sampler"] for entry in rows if entry["evaluations"] == 3] == ["sobol", "random"]


def test_times_are_of_suggestions_alone(tmp_path: Path) -> None:
    rows = tables.time_rows(outcome(tmp_path))
    sobol = row(rows, sampler="sobol")
    assert (sobol["suggestions"], sobol["median_s"], sobol["cpu_median_s"]) == (4, 2.0, 1.0)


def test_reaching_what_the_best_rival_ends_with(tmp_path: Path) -> None:
    rows = tables.reach_rows(outcome(tmp_path))
    # Of the rivals only random has three evaluations: .32, which sobol passes with its third and ax with its second.
    assert {entry["target_of"] for entry in rows} == {"random"}
    assert {entry["sampler"]: entry["median_evaluations"] for entry in rows} == {"sobol": 3.0, "random": 3.0, "ax": 2.0}
    assert row(rows, sampler="ax")["seeds"] == 1


def test_what_was_refused_beforehand_costs_no_evaluation(tmp_path: Path) -> None:
    outcome(tmp_path)
    for seed in (0, 1):
        write_cell(tmp_path, "zdt1", "sobol", seed, [(0.5, 5.0), (0.1, 1.0), (0.2, 2.0)], refused=[1])
    sobol = row(tables.reach_rows(read_outcome(CONFIG, tmp_path)), sampler="sobol")
    assert (sobol["median_evaluations"], sobol["median_without_refused"]) == (3.0, 2.0)


def test_cells_on_different_scales_are_refused(tmp_path: Path) -> None:
    outcome(tmp_path)
    other = (Objective(name="f1", reference=2.0), Objective(name="f2", reference=10.0))
    write_cell(tmp_path, "zdt1", "sobol", 1, [(0.5, 5.0)], objectives=other)
    with pytest.raises(BenchmarkError, match="the cells of 'zdt1' were run with 2 different sets of objectives"):
        read_outcome(CONFIG, tmp_path)


def test_nothing_to_report_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="has no trials of this config; run it first"):
        read_outcome(CONFIG, tmp_path)


def test_a_trial_that_was_killed_does_not_count(tmp_path: Path) -> None:
    outcome(tmp_path)
    cells = read_cells(tmp_path)
    (killed,) = [cell for cell in cells if cell.record.key == ("zdt1", "sobol", 1)]
    running = replace(killed.trials[2], state=TrialState.RUNNING, outcome={})
    write_cells(tmp_path, [KeptCell(killed.record, (*killed.trials[:2], running))])
    assert len(read_outcome(CONFIG, tmp_path).cells["zdt1"]["sobol"][1].trials) == 2


def test_reaching_counts_from_one_and_never_is_infinite() -> None:
    assert tables.evaluations_to_reach([0.5], 0.5) == 1
    assert tables.median_or_never([1, None]) is None
    assert tables.median_or_never([1, 4]) == 2.5
