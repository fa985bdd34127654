"""The page of the paper's problems: what its rows say of the claims, and what is told of the whole problems."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.searches import paper_problems
from experiments.searches.paper_problems import COLUMNS, KEY, PROBLEMS, ROWS, SPANS, TOLD, TOLD_COLUMNS, WHOLE
from mobo.base.errors import MoboError
from mobo.base.rows import RowFile

HYPERVOLUMES = {"morbo": (0.6, 0.61, 0.62), "random": (0.5, 0.51, 0.52), "ars_mobopt": (0.4, 0.7, 0.5)}


def with_rows(folder: Path) -> None:
    rows = RowFile(folder / ROWS, key=KEY, columns=COLUMNS)
    for arm, values in HYPERVOLUMES.items():
        for seed, value in enumerate(values):
            rows.add([dict(zip(COLUMNS, (PROBLEMS[0], arm, seed, 30, 28, 400.0, 5, value), strict=True))])


def test_the_page_counts_the_claims_and_keeps_what_is_undecided(tmp_path: Path) -> None:
    with_rows(tmp_path)
    told = RowFile(tmp_path / TOLD, key=TOLD_COLUMNS[:1], columns=TOLD_COLUMNS)
    spans = dict.fromkeys(SPANS, 0.25)
    told.add([{"problem": "whole", "data": "random values", "train": 9, "trial_s": 7200, "hours": 300.04, **spans}])
    paper_problems.main(["--page", str(tmp_path)])
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "9 searches of 30 samples,\n3 seeds, 1.0 hours in all" in text
    assert "1 hold, 0 do not hold, 2 are undecided" in text
    assert "| morbo ahead of random | 3 | +0.1000 [+0.1000, +0.1000] | holds |" in text
    assert "| ars_mobopt ahead of random | 3 | +0.0233 [-0.3487, +0.3954] | undecided |" in text
    assert "| whole | random values | 9 | 7200 | 300.0 | 0.250 to 0.250 |" in text


def test_without_what_is_told_there_is_no_page(tmp_path: Path) -> None:
    with_rows(tmp_path)
    with pytest.raises(MoboError, match=r"told\.csv has no rows; `--out` writes them, with `--tell`"):
        paper_problems.page(tmp_path)


@pytest.mark.slow
def test_a_whole_problem_is_told_of_random_values_of_its_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    problem = "mobilenetv3_daliac"
    monkeypatch.setattr(paper_problems, "WHOLE", {problem: replace(WHOLE[problem], samples=500)})
    row = paper_problems.tell(problem, tmp_path)
    assert row["data"] == "random values"
    assert 0 < float(str(row["trial_s"])) < 3600 * float(str(row["hours"]))
    assert 0 < float(str(row["flash_image_bytes_low"])) < float(str(row["flash_image_bytes_high"])) < 1
