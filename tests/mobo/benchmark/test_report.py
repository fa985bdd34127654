import sys
from pathlib import Path

import pytest

from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.report import write_report
from tests.mobo.benchmark.test_tables import CONFIG, outcome

TABLES = {"cells", "curves", "final", "comparisons", "ratios", "ranks", "times", "reach"}


def test_tables_pictures_and_page_are_rebuilt_from_the_cells_byte_for_byte(tmp_path: Path) -> None:
    outcome(tmp_path)
    written = write_report(CONFIG, tmp_path)
    assert {path.stem for path in written if path.suffix == ".csv"} == TABLES
    before = {path: path.read_bytes() for path in written}
    assert (tmp_path / "summary" / "zdt1.png").read_bytes().startswith(b"\x89PNG")
    assert {path: path.read_bytes() for path in write_report(CONFIG, tmp_path)} == before


def test_the_page_says_what_was_cut_how_to_read_it_and_the_figures(tmp_path: Path) -> None:
    outcome(tmp_path)
    page = write_report(CONFIG, tmp_path)[-1].read_text()
    assert page.startswith("# Benchmark small\n")
    assert "cells: 4 done, 1 capped" in page
    assert "- zdt1, ax: capped, max_evaluations = 2" in page
    assert "the benchmark draws 1 scrambled Sobol points" in page
    assert "| zdt1 | 3 | random | 2 | 2 | 2 | 2 |" in page
    assert "| zdt1 | 0.64 (0.64 to 0.64) | 0.32 (0.32 to 0.32) |" in page
    assert "![zdt1.png](zdt1.png)" in page


def test_cells_that_the_config_does_not_name_are_left_out(tmp_path: Path) -> None:
    outcome(tmp_path)
    write_report(CONFIG.model_copy(update={"samplers": CONFIG.samplers[:2]}), tmp_path)
    assert ",ax," not in (tmp_path / "summary" / "cells.csv").read_text()


def test_a_missing_matplotlib_is_named_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BenchmarkError, match=r"'matplotlib' is needed here.*tinyml-mobo-rl\[benchmark\]"):
        write_report(CONFIG, tmp_path)
