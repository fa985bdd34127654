"""The C project on an emulated core against what the runtime ``mobo-c`` predicts, and where nothing is promised."""

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from hw_models.device import load_device
from hw_models.memory import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.c_memory import plan_arena
from mobo.export.exported_model import read_export
from mobo.export.trial_export import export_trial
from mobo.export.verification import c_checks
from mobo.export.verification.c_checks import check_emulated
from mobo.export.verification.elf import Image
from mobo.export.verification.findings import Row
from mobo.export.verification.firmware import Emulated
from mobo.export.verification.table import notes, table_rows, verdict
from mobo.run_record import read_run
from tests.envs.networks import NETWORKS
from tests.mobo.export.c_projects import layer_networks
from tests.mobo.export.exportable_run import SCORED, make_exportable_run
from tests.mobo.export.quantised_networks import family

MOBO_C = load_runtime("mobo-c")
needs_gcc = pytest.mark.skipif(
    find_spec("unicorn") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="no emulator or no gcc for Cortex-M",
)


@needs_gcc
def test_an_exported_trial_costs_what_was_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_checks, "EMULATED_CORES", ("cortex-m4",))
    run = make_exportable_run(tmp_path / "run")
    export_trial(read_run(run.path), SCORED, ["c"], tmp_path / "out")
    rows = {row.quantity: row for row in check_emulated(read_export(tmp_path / "out"), load_device("nucleo-l4r5zi"))}
    assert rows["samples whose output differs, cortex-m4"].holds
    arena = rows["arena_bytes, cortex-m4"]
    assert arena.holds
    assert arena.predicted == arena.measured
    for quantity in ("flash_bytes, cortex-m4", "instructions, cortex-m4"):
        assert rows[quantity].holds, rows[quantity]
    assert rows["flash_bytes"].holds  # of the board
    assert rows["stack_bytes, cortex-m4"].holds is None


@pytest.mark.parametrize("name", NETWORKS)
def test_the_predicted_arena_is_the_one_written_into_the_code(name: str) -> None:
    graph = family(name).graph
    assert plan_memory(graph, MOBO_C).arena_bytes == plan_arena(graph).bytes


@pytest.mark.parametrize("name", sorted(layer_networks()))
def test_so_it_is_for_every_layer(name: str) -> None:
    graph = layer_networks()[name].graph
    assert plan_memory(graph, MOBO_C).arena_bytes == plan_arena(graph).bytes


def cost_rows(*, factor: float = 1.0, wide: bool = False, is_calibrated: bool = True) -> dict[str, Row]:
    """Return the rows for a core that does what is predicted, times a factor."""
    network = family("plain", bits=(8,))
    if wide:
        weights = network.weights["0.0"]
        changed = replace(weights, scales=(weights.scales * 1000).astype(np.float32))
        network = replace(network, weights={**network.weights, "0.0": changed})
    graph = network.graph
    arena = plan_arena(graph).bytes
    image = Image((), {}, {"arena": arena}, 0, arena)
    instructions = c_checks.instruction_count(graph, "cortex-m4", MOBO_C) * factor
    flash = c_checks.flash_image_bytes(graph, MOBO_C, core="cortex-m4") * factor
    counts = np.array([instructions], np.int64)
    found = Emulated(np.zeros((1, 1), np.int8), np.zeros(1, np.int32), counts, 0, round(flash), arena)
    rows = c_checks._cost_rows(network, "cortex-m4", image, found, is_calibrated=is_calibrated)
    return {row.quantity.partition(",")[0]: row for row in rows}


def test_promises_hold_within_their_tolerance_and_break_beyond() -> None:
    assert [row.holds for row in cost_rows().values()] == [True, True, True]
    assert [row.holds for row in cost_rows(factor=1.03).values()] == [True, True, True]
    assert [row.holds for row in cost_rows(factor=1.07).values()] == [True, False, True]
    assert [row.holds for row in cost_rows(factor=0.85).values()] == [True, False, False]


def test_nothing_is_promised_for_another_compiler_or_the_slow_output_stage() -> None:
    clang = cost_rows(factor=2, is_calibrated=False)
    assert [row.holds for row in clang.values()] == [True, None, None]
    assert "the prediction is for gcc" in clang["flash_bytes"].note
    wide = cost_rows(factor=1.03, wide=True)
    assert [row.holds for row in wide.values()] == [True, True, None]
    assert wide["instructions"].note.endswith("the slow output stage is not predicted: 0.0")


def test_the_table_says_what_was_skipped_and_each_note_once() -> None:
    rows = [
        {"quantity": f"flash_bytes, cortex-m{core}", "predicted": 10, "measured": 12.5, "ratio": 1.25, "holds": False,
         "note": "linked image"} for core in (0, 4)
    ]  # fmt: skip
    found = {
        "holds": False,
        "checks": [
            {"check": "emulated", "skipped": None, "rows": rows},
            {"check": "TFLM", "skipped": "tflite-micro is missing", "rows": []},
        ],
    }
    assert table_rows(found)[0] == ("emulated", "flash_bytes, cortex-m0", "10", "12.5000", "1.25", "BROKEN")
    assert notes(found) == ["emulated, flash_bytes: linked image", "skipped: TFLM: tflite-micro is missing"]
    assert verdict(found) == "a promise is broken"
    assert verdict({**found, "holds": True}) == "every promise that was checked holds (1 checks skipped)"
