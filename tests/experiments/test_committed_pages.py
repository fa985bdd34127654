"""Pages of the repository that follow from rows of the repository follow from them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from experiments.code import (
    check_generated_c,
    check_integer_interpreter,
    kernel_instructions,
    kill_and_resume,
    verify_families,
    verify_widths,
)
from experiments.compression import agent_pretraining, low_rank, quantisation_aware
from experiments.costs import check_flash
from experiments.costs.comparison import Comparison, write_comparisons
from experiments.rivals import folders_beside_baselines
from experiments.samplers import constraint_scales, noisy_fronts
from experiments.searches import (
    front_looks,
    front_per_second,
    network_families,
    paper_problems,
    searched_input,
)
from mobo.base.rows import RowFile

RESULTS = Path(__file__).resolve().parents[2] / "results"


def verified(table: str) -> pd.DataFrame:
    frame = pd.read_csv(RESULTS / "code" / "verification" / table)
    return frame.assign(note=frame["note"].fillna(""))


def measured(table: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / "code" / table)


def low_ranks(folder: str) -> str:
    path = RESULTS / "compression" / "low_rank" / folder / "methods.csv"
    return low_rank.summary(low_rank.frame_of(RowFile(path, key=["seed"], columns=low_rank.COLUMNS)))


def quantised() -> str:
    path = RESULTS / "compression" / "quantisation_aware" / "errors.csv"
    return quantisation_aware.summary(
        quantisation_aware.frame_of(RowFile(path, key=["family", "seed"], columns=quantisation_aware.COLUMNS))
    )


PAGES: dict[str, Callable[[], str]] = {
    "code/verification/README.md": lambda: verify_families.summary(verified("families.csv")),
    "code/verification/widths.md": lambda: verify_widths.summary(verified("widths.csv")),
    "code/generated_c/summary.md": lambda: check_generated_c.summary(measured("generated_c/designs.csv")),
    "code/generated_c/stored_widths.md": lambda: check_generated_c.stored_summary(
        measured("generated_c/stored_widths.csv")
    ),
    "code/generated_c/patches.md": lambda: check_generated_c.patches_summary(measured("generated_c/patches.csv")),
    "code/kernels/summary.md": lambda: kernel_instructions.summary(measured("kernels/kernel_instructions.csv")),
    "code/kernels/int16/summary.md": lambda: kernel_instructions.summary(
        measured("kernels/int16/kernel_instructions.csv")
    ),
    "searches/paper_problems/README.md": lambda: paper_problems.page(RESULTS / "searches" / "paper_problems"),
    "code/interpreter/README.md": lambda: check_integer_interpreter.summary(measured("interpreter/mismatches.csv")),
    "code/kill_and_resume/README.md": lambda: kill_and_resume.page(
        json.loads((RESULTS / "code" / "kill_and_resume" / "summary.json").read_text(encoding="utf-8"))
    ),
    "compression/low_rank/by_energy/summary.md": lambda: low_ranks("by_energy"),
    "compression/low_rank/by_ratio/summary.md": lambda: low_ranks("by_ratio"),
    "compression/quantisation_aware/README.md": quantised,
}


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_rows_give(page: str) -> None:
    assert PAGES[page]() == (RESULTS / page).read_text(encoding="utf-8")


def test_the_pretrained_agent_is_judged_by_its_rows() -> None:
    folder = RESULTS / "compression" / "pretrained_agent"
    table = agent_pretraining.table(pd.read_csv(folder / "judged.csv", dtype=str))
    assert table in (folder / "README.md").read_text(encoding="utf-8")


def test_searched_inputs_are_compared_by_their_rows() -> None:
    folder = RESULTS / "searches" / "searched_input"
    rows = RowFile(folder / "rows.csv", key=("task", "input", "seed"), columns=searched_input.COLUMNS)
    assert searched_input.table(rows) in (folder / "README.md").read_text(encoding="utf-8")


def test_flash_is_what_its_rows_give(tmp_path: Path) -> None:
    with (RESULTS / "costs" / "flash.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            Comparison(
                {name: row[name] for name in ("what", "network", "engine")},
                int(row["real_bytes"]),
                int(row["predicted_bytes"]),
            )
            for row in csv.DictReader(file)
        ]
    heads, notes = ("what", "network", "engine"), check_flash.summary(rows)
    write_comparisons(rows, tmp_path, name="flash", title="Flash: predicted and real", heads=heads, notes=notes)
    for name in ("flash.csv", "flash.md"):
        assert (tmp_path / name).read_bytes() == (RESULTS / "costs" / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "question", "key"),
    [("constraint_scales", constraint_scales, 3), ("noise", noisy_fronts, 4)],
    ids=["constraint_scales", "noise"],
)
def test_two_weaknesses_are_those_of_their_rows(name: str, question: ModuleType, key: int) -> None:
    rows = RowFile(RESULTS / "samplers" / f"{name}.csv", key=question.COLUMNS[:key], columns=question.COLUMNS)
    assert question.comparison(rows) in (RESULTS / "samplers" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", ["graded.csv", "rows.csv"])
def test_fronts_by_time_are_those_of_their_rows(rows: str) -> None:
    folder = RESULTS / "searches" / "front_per_second"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert front_looks.table(front_looks.read_looks(folder / rows), front_per_second.ARMS) in page


def test_families_are_compared_by_their_rows() -> None:
    folder = RESULTS / "searches" / "network_families"
    looks = front_looks.read_looks(folder / "rows.csv")
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert front_looks.comparison(looks, network_families.TOGETHER, network_families.ALONE) in page


def test_folders_are_beside_baselines_by_their_rows() -> None:
    folder = RESULTS / "searches" / "rivals" / "folders"
    rows = RowFile(folder / "rows.csv", key=("data", "model", "seed"), columns=folders_beside_baselines.COLUMNS)
    assert folders_beside_baselines.table(rows) in (folder / "README.md").read_text(encoding="utf-8")
