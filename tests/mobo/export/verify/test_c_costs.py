"""What ``mobo-c`` predicts beside what was found: what holds, what breaks, and where nothing is promised."""

from dataclasses import replace

import numpy as np
import pytest

from hw_models.flash import flash_image_bytes
from hw_models.latency import instruction_count
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.c.memory import plan_arena
from mobo.export.firmware.elf import Image
from mobo.export.firmware.image import Emulated
from mobo.export.verify.c_costs import cost_rows
from mobo.export.verify.findings import Row
from tests.envs.networks import NETWORKS
from tests.mobo.export.c.projects import layer_networks
from tests.mobo.export.quantised_networks import family

MOBO_C = load_runtime("mobo-c")


@pytest.mark.parametrize("name", NETWORKS)
def test_the_predicted_arena_is_the_one_written_into_the_code(name: str) -> None:
    graph = family(name).graph
    assert plan_memory(graph, MOBO_C).arena_bytes == plan_arena(graph).bytes


@pytest.mark.parametrize("name", sorted(layer_networks()))
def test_so_it_is_for_every_layer(name: str) -> None:
    graph = layer_networks()[name].graph
    assert plan_memory(graph, MOBO_C).arena_bytes == plan_arena(graph).bytes


def costs(*, factor: float = 1.0, wide: bool = False, is_calibrated: bool = True) -> dict[str, Row]:
    """Return the rows for a core that does what is predicted, times a factor."""
    network = family("plain", bits=(8,))
    if wide:
        weights = network.weights["0.0"]
        changed = replace(weights, scales=(weights.scales * 1000).astype(np.float32))
        network = replace(network, weights={**network.weights, "0.0": changed})
    graph = network.graph
    arena = plan_arena(graph).bytes
    ram = arena + 8 + 4 * -(-graph.shapes[graph.output][2] // 4)
    image = Image((), {}, {"arena": arena}, 0, ram)
    instructions = instruction_count(graph, "cortex-m4", MOBO_C) * factor
    flash = flash_image_bytes(graph, MOBO_C, core="cortex-m4") * factor
    counts = np.array([instructions], np.int64)
    found = Emulated(np.zeros((1, 1), np.int8), np.zeros(1, np.int32), counts, 0, round(flash), ram)
    rows = cost_rows(network, "cortex-m4", image, found, is_calibrated=is_calibrated)
    return {row.quantity.partition(",")[0]: row for row in rows}


def test_promises_hold_within_their_tolerance_and_break_beyond() -> None:
    assert [row.holds for row in costs().values()] == [True, True, True, True]
    assert [row.holds for row in costs(factor=1.03).values()] == [True, True, True, True]
    assert [row.holds for row in costs(factor=1.07).values()] == [True, True, False, True]
    assert [row.holds for row in costs(factor=0.85).values()] == [True, True, False, False]


def test_nothing_is_promised_for_another_compiler_or_the_slow_output_stage() -> None:
    clang = costs(factor=2, is_calibrated=False)
    assert [row.holds for row in clang.values()] == [True, True, None, None]
    assert "the prediction is for gcc" in clang["flash_bytes"].note
    wide = costs(factor=1.03, wide=True)
    assert [row.holds for row in wide.values()] == [True, True, True, None]
    assert wide["instructions"].note.endswith("the slow output stage is not predicted: 0.0")


def test_nothing_is_promised_of_kernels_that_were_counted_apart() -> None:
    network = layer_networks()["pad"]
    found = Emulated(np.zeros((1, 1), np.int8), np.zeros(1, np.int32), np.array([1], np.int64), 0, 1, 1)
    rows = cost_rows(network, "cortex-m4", Image((), {}, {"arena": 1}, 0, 1), found, is_calibrated=True)
    flash, instructions = rows[2:]
    assert (flash.holds, instructions.holds) == (None, None)
    assert "kernels that were counted with another compiler: pad" in flash.note
