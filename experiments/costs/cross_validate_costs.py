"""Cross-validate latency and energy: ``python -m experiments.costs.cross_validate_costs [--out results/costs]``.

Four rounds: every network architecture left out in turn, every board, every release of an engine, every family of
engines. Each time the whole fit is repeated without the rows left out, runtimes are built from it as the shipped ones
are, and these estimate what was left out. Of the bars is also told by which factor they should be scaled to hold 80 %:
for every group left out the factor is taken from the other groups alone. Judged are int8 rows of (runtime, core) cells
with at least four measurements; "seen" are those of them whose cell has four measurements left when the rows are out,
which is what a new network, board or release meets.
``--held-out`` judges other measurements (the columns of ``hw_models/calibration/latency.csv``) by the fit of the whole
shipped table instead. Writes a page and a CSV.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from hw_models.calibration.cross_validation import (
    JUDGED_ROWS,
    Prediction,
    leave_out,
    predict_held_out,
    score,
)
from hw_models.calibration.engines import family, family_of
from hw_models.calibration.shipped import counted_runtime
from hw_models.calibration.tables import (
    CalibrationError,
    Measured,
    read_latencies,
    read_networks,
    shipped_measurements,
    shipped_networks,
)
from hw_models.interval import Z80, Interval
from mobo.base import markdown

_TARGETS = "mean <= 10 %, median <= 5 %, coverage 77 to 83 %; energy with networks left out: mean <= 12 %"
_HEADERS = (
    "rows", "mean", "median", "bias", "within 10 %", "within 25 %", "within 2x", "rank correlation", "coverage",
    "median high/low", "interval score",
)  # fmt: skip
_CSV = (
    "round", "id", "runtime", "engine", "core", "board", "architecture", "measured_cycles", "predicted_cycles",
    "low_cycles", "high_cycles", "cell_rows", "seen_rows",
)  # fmt: skip


@dataclass(frozen=True)
class Round:
    """One way of leaving rows out.

    Attributes:
        name: What is left out.
        predictions: Of every whole network.
        left_out: What rows were left out together by; None where nothing was.
        knows_release: Whether the power with a row's release is known.
    """

    name: str
    predictions: tuple[Prediction, ...]
    left_out: Callable[[Measured], str] | None = None
    knows_release: bool = True

    @property
    def judged(self) -> tuple[Prediction, ...]:
        """Those of cells with enough measurements."""
        return tuple(entry for entry in self.predictions if entry.cell_rows >= JUDGED_ROWS)

    @property
    def seen(self) -> tuple[Prediction, ...]:
        """Those of cells with enough measurements left."""
        return tuple(entry for entry in self.predictions if entry.left_rows >= JUDGED_ROWS)


def main() -> None:
    """Validate, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/costs"), help="folder to write to")
    parser.add_argument("--held-out", type=Path, help="CSV of other measurements to judge instead")
    parser.add_argument("--networks", type=Path, help="CSV of layer lists of networks that are not in the table")
    arguments = parser.parse_args()
    rows = shipped_measurements()
    if arguments.held_out is None:
        rounds, name = cross_validation(rows), "cross_validation"
    else:
        # The shipped list of a network says more than a plain one: which filters are all zero.
        known = read_networks(arguments.networks) if arguments.networks is not None else {}
        known |= shipped_networks()
        held = read_latencies(arguments.held_out, known, only_usable=True)
        rounds, name = [held_out_round(held, rows)], "held_out"
    page = report(rounds, rows)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{name}.md").write_text(page, encoding="utf-8")
    write_csv(rounds, arguments.out / f"{name}.csv")
    print(page)


def cross_validation(rows: Sequence[Measured]) -> list[Round]:
    """Return the four rounds."""
    counted = counted_runtime()
    return [
        Round("network left out", leave_out(rows, lambda row: row.architecture, counted), lambda row: row.architecture),
        Round("board left out", leave_out(rows, lambda row: row.board, counted), lambda row: row.board),
        Round("release left out", leave_out(rows, _release, counted), _release, knows_release=False),
        Round("engine family left out", leave_out(rows, _family, counted), _family),
    ]


def _release(row: Measured) -> str:
    return row.engine


def _family(row: Measured) -> str:
    return family_of(row.engine)


def held_out_round(held: Sequence[Measured], rows: Sequence[Measured]) -> Round:
    """Return the predictions of other measurements by the fit of all rows."""
    described = [row for row in held if _is_described(row)]
    print(f"{len(described)} of {len(held)} usable int8 rows are of an engine that a runtime describes")
    return Round("other measurements", tuple(predict_held_out(described, rows, rows, counted_runtime())))


def _is_described(row: Measured) -> bool:
    try:
        family(family_of(row.engine))
    except CalibrationError:
        return False
    return True


def energy_errors(
    entries: Sequence[Prediction], rows: Sequence[Measured], *, knows_release: bool = True
) -> list[float]:
    """Return ln(predicted / measured energy) where a power was measured on the board with other networks.

    The power is the median of the board's other rows at the same supply, those with the same release if there are any.
    """
    errors = []
    for entry in entries:
        row = entry.row
        found = [
            other
            for other in rows
            if other.power_mw is not None
            and (other.board, other.supply_v) == (row.board, row.supply_v)
            and other.architecture != row.architecture
        ]
        own = [other for other in found if other.engine == row.engine and knows_release]
        powers = [other.power_mw for other in own or found if other.power_mw is not None]
        if row.power_mw is not None and powers:
            errors.append(entry.error + float(np.log(np.median(powers) / row.power_mw)))
    return errors


def bar_scale(entries: Sequence[Prediction]) -> float:
    """Return the factor on the spreads with which 80 % of the measurements lie inside the bars."""
    return float(np.quantile([abs(entry.error) / entry.log_std for entry in entries], 0.8) / Z80)


def rescaled(entries: Sequence[Prediction], left_out: Callable[[Measured], str]) -> list[Prediction]:
    """Return predictions with bars that are scaled by what the other groups show, never by their own errors."""
    scaled = []
    for group in sorted({left_out(entry.row) for entry in entries}):
        scale = bar_scale([entry for entry in entries if left_out(entry.row) != group])
        for entry in entries:
            if left_out(entry.row) == group:
                log_std = entry.log_std * scale
                interval = Interval.around(entry.interval.value, log_std)
                scaled.append(replace(entry, interval=interval, log_std=log_std))
    return scaled


def report(rounds: Sequence[Round], rows: Sequence[Measured]) -> str:
    """Return the page."""
    lines = ["# Cross-validation of latency and energy", "", f"Targets: {_TARGETS}.", ""]
    lines += ["Errors are `|ln(predicted / measured)|`; the interval score is on logarithms, lower is better.", ""]
    for entry in rounds:
        lines += [f"## {entry.name}", "", _table([("judged", entry.judged), ("seen", entry.seen)])]
        lines += ["", *_energy_lines(entry, rows), *_scale_lines(entry), "", "By cell (judged and not):", ""]
        lines.append(_table(_grouped(entry, lambda prediction: f"{prediction.runtime} {prediction.row.core}")))
        lines += ["", "By network:", ""]
        lines.append(_table(_grouped(entry, lambda prediction: prediction.row.architecture)))
        lines += ["", "By board:", "", _table(_grouped(entry, lambda prediction: prediction.row.board)), ""]
    return "\n".join(lines)


def _energy_lines(entry: Round, rows: Sequence[Measured]) -> list[str]:
    errors = np.abs(energy_errors(entry.seen, rows, knows_release=entry.knows_release))
    if not errors.size:
        return ["Energy: no row with a power figure."]
    return [f"Energy ({errors.size} seen rows with a power): mean {errors.mean():.3f}, median {np.median(errors):.3f}."]


def _scale_lines(entry: Round) -> list[str]:
    if entry.left_out is None or len({entry.left_out(prediction.row) for prediction in entry.judged}) < 2:
        return []
    judged = entry.judged
    after = score(rescaled(judged, entry.left_out))
    return [
        "",
        f"Bars (judged): with spreads times {bar_scale(judged):.2f} they would hold 80 %. Scaled for each group by "
        f"what the others show they hold {after.coverage:.1%}; interval score {after.interval_score:.3f}, as shipped "
        f"{score(judged).interval_score:.3f}.",
    ]


def _grouped(entry: Round, key: Callable[[Prediction], str]) -> list[tuple[str, tuple[Prediction, ...]]]:
    groups: dict[str, list[Prediction]] = {}
    for prediction in entry.predictions:
        groups.setdefault(key(prediction), []).append(prediction)
    return [(name, tuple(groups[name])) for name in sorted(groups)]


def _table(groups: Sequence[tuple[str, Sequence[Prediction]]]) -> str:
    rows = []
    for name, predictions in groups:
        if predictions:
            figures = asdict(score(predictions))
            rows.append((name, figures.pop("rows"), *(f"{figure:.3f}" for figure in figures.values())))
    return markdown.table(("", *_HEADERS), rows)


def write_csv(rounds: Sequence[Round], path: Path) -> None:
    """Write one row per prediction."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_CSV)
        for entry in rounds:
            for prediction in entry.predictions:
                row = prediction.row
                interval: Interval = prediction.interval
                writer.writerow(
                    (
                        entry.name, row.name, prediction.runtime, row.engine, row.core, row.board, row.architecture,
                        *(round(cycles) for cycles in (row.cycles, *interval)), prediction.cell_rows,
                        prediction.left_rows,
                    )
                )  # fmt: skip


if __name__ == "__main__":
    main()
