"""Which networks become rows of the table, with cells that nobody trained."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from experiments.compression.appliance import run
from experiments.compression.appliance.__main__ import CONFIGS, results_page
from experiments.compression.appliance.config import ApplianceConfig, load_appliance
from experiments.compression.appliance.page import page, read_lines
from experiments.compression.appliance.run import CHOICES, run_split
from experiments.compression.promise.bench import ROWS
from experiments.compression.promise.cell import Cell
from experiments.compression.promise.rows import Row, RowFile

LABELS = np.arange(60) % 3
BASE_F1 = 0.8
# Label -> F1 on the validation split in float and in integers, flash in float and in integers.
TOLD = {
    "l1 local 0.35": (0.85, 0.70, 300_000, 90_000),
    "l1 local 0.2": (0.81, 0.82, 200_000, 60_000),
    "l1 global 0.35": (0.79, 0.79, 310_000, 91_000),
    "l2 local 0.35": (0.90, 0.90, 305_000, 92_000),
    "l2 local 0.2": (0.70, 0.79, 205_000, 62_000),
    "l2 global 0.35": (0.60, 0.60, 320_000, 93_000),
    "agent 38000 bytes": (0.9, 0.80, 0, 37_000),
    "agent 20000 bytes": (0.9, 0.75, 0, 19_000),
}


def windows() -> ApplianceConfig:
    """Return the committed config with the ratios and limits that the tests have scores for."""
    return load_appliance(CONFIGS / "windows.toml", ("keep_ratios=[0.35, 0.2]", "agent_flash_bytes=[38000, 20000]"))


class Told:
    """A bench that knows everything; networks are their own predictions."""

    def __init__(self, config: ApplianceConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.rows = RowFile(folder / ROWS)
        test = SimpleNamespace(x=None, y=torch.from_numpy(LABELS))
        self.data = SimpleNamespace(load_test=lambda: test)

    def row(self, cell: Cell) -> Row:
        return self.rows.once(cell.key, lambda: self._made(cell))

    def _made(self, cell: Cell) -> Mapping[str, object]:
        pruned, integer, pruned_flash, flash = TOLD.get(cell.label, (0, BASE_F1 - 0.01, 0, 220_000))
        return {
            "label": cell.label, "seed": cell.seed, "float_validation_f1": BASE_F1, "pruned_validation_f1": pruned,
            "int_validation_f1": integer, "float_flash_bytes": 840_000, "pruned_flash_bytes": pruned_flash,
            "flash_model_bytes": flash, "float_latency_ms": 1000, "pruned_latency_ms": 400, "latency_ms": 50,
        }  # fmt: skip

    def answers(self, cell: Cell, number: str, x: None) -> np.ndarray:
        return LABELS if number == "int" else np.where(np.arange(60) < 6, 0, LABELS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "Bench", Told)
    monkeypatch.setattr(run, "groups_of_test_split", lambda settings, labels: np.arange(60) // 6)
    run_split(windows(), tmp_path / "windows", report=lambda line: None)
    return tmp_path / "windows"


def test_the_smallest_without_loss_becomes_a_row(folder: Path) -> None:
    chosen = json.loads((folder / CHOICES).read_text(encoding="utf-8"))
    assert {row["title"]: (row["number"], row["label"]) for row in chosen if row["title"] not in ("base", "int8")} == {
        "pruned, L1 local": ("pruned", "l1 local 0.2"),
        # Nothing of this kind is as good as the base network: what loses least.
        "pruned, L1 global": ("pruned", "l1 global 0.35"),
        "pruned, L2 local": ("pruned", "l2 local 0.35"),
        "pruned, L2 global": ("pruned", "l2 global 0.35"),
        "pruned + int8": ("int", "l1 local 0.2"),
        "agent": ("int", "agent 38000 bytes"),
    }


def test_smaller_ones_than_the_first_that_loses_are_not_tried(folder: Path) -> None:
    tried = {row["label"] for row in RowFile(folder / ROWS)}
    assert "l1 local 0.2" in tried
    assert not {"l1 global 0.2", "l2 global 0.2"} & tried


def test_a_finished_split_is_not_measured_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(Told, "_made", lambda self, cell: pytest.fail("it was measured already"))
    monkeypatch.setattr(Told, "answers", lambda self, *args: pytest.fail("it was predicted already"))
    run_split(windows(), folder, report=lambda line: None)
    assert {path: path.read_bytes() for path in before} == before


def test_the_page_compares_with_the_base_network(folder: Path) -> None:
    lines = read_lines(folder)
    assert [line.title for line in lines][:2] == ["base", "int8"]
    # The base gets 4 of the first 6 samples wrong, integers none.
    assert lines[0].error == pytest.approx(4 / 60)
    assert lines[0].gain is None
    assert lines[-1].f1 == 1.0
    assert lines[-1].gain is not None
    assert lines[-1].gain.points == pytest.approx(100 * (1 - lines[0].f1))
    text = page([(windows(), lines)])
    assert "| agent | agent 38000 bytes | 37,000 | -95.6 % | 50.0 | -95.0 % | 0.00 | 1.000 |" in text
    assert "the agent's model: **met**" in text
    assert "seeds: 2." in text


def test_the_bar_is_missed_by_size_or_by_f1(folder: Path) -> None:
    config, lines = windows(), read_lines(folder)
    # The row before the agent's is as good, but takes 60,000 bytes; the base network's own F1 loses nothing.
    assert "**missed**" in page([(config, lines[:-1])])
    worse = [lines[-1], *lines[1:-1], lines[0]]
    assert "**missed**" in page([(config, worse)])


def test_a_split_that_was_not_run_is_named(tmp_path: Path) -> None:
    assert results_page(tmp_path).count("Not run.") == 2
