"""What patches cost, and which ones are taken."""

from dataclasses import replace

import pytest

from hw_models.cost import estimate
from hw_models.device import load_device
from hw_models.flash import flash_image_bytes
from hw_models.generated_c import patch_bytes
from hw_models.graph.layer_graph import INPUT, AveragePool2D, Conv2D, DepthwiseConv2D, Layer, LayerGraph, Patches
from hw_models.kernels import patch_calls
from hw_models.latency import instruction_count, latency_ms
from hw_models.memory.arena_plan import plan_memory
from hw_models.patch_choice import PatchError, fastest_patches, patched_costs, smallest_patches
from hw_models.runtime import load_runtime

MOBO_C, BOARD = load_runtime("mobo-c"), load_device("nucleo-l4r5zi")


def network(patches: Patches | None = None) -> LayerGraph:
    layers: tuple[Layer, ...] = (
        Conv2D(name="stem", inputs=(INPUT,), out_channels=12, kernel=(3, 3), stride=(2, 2), activation="relu"),
        DepthwiseConv2D(name="dw", inputs=("stem",), kernel=(3, 3), activation="relu"),
        Conv2D(name="pw", inputs=("dw",), out_channels=24, kernel=(1, 1), activation="relu"),
        DepthwiseConv2D(name="down", inputs=("pw",), kernel=(3, 3), stride=(2, 2), activation="relu"),
        Conv2D(name="last", inputs=("down",), out_channels=24, kernel=(1, 1)),
        AveragePool2D(name="pool", inputs=("last",), kernel=(8, 8), stride=(8, 8)),
    )
    return LayerGraph((32, 32, 3), layers, patches=patches)


WHOLE, PATCHED = network(), network(Patches("down", 4))


def test_recomputed_rows_are_in_the_macs_and_in_no_other_layer() -> None:
    # Patches of 4 of 8 rows: 9 and 8 rows of pw and dw, 10 and 9 of the stem (the map has 16).
    before, after = (estimate(graph, BOARD, MOBO_C) for graph in (WHOLE, PATCHED))
    rows = {row.name: row.macs for row in before.rows}
    assert {row.name: row.macs for row in after.rows} == rows | {
        "stem": rows["stem"] // 16 * 19, "dw": rows["dw"] // 16 * 17, "pw": rows["pw"] // 16 * 17,
    }  # fmt: skip
    assert after.macs > before.macs == WHOLE.macs == PATCHED.macs


def test_the_totals_agree_with_the_parts() -> None:
    cost = estimate(PATCHED, BOARD, MOBO_C)
    assert cost.ram_bytes == plan_memory(PATCHED, MOBO_C).arena_bytes
    assert cost.latency_ms == pytest.approx(latency_ms(PATCHED, BOARD, MOBO_C))
    assert cost.latency_ms > estimate(WHOLE, BOARD, MOBO_C).latency_ms
    assert cost.flash_image_bytes == flash_image_bytes(PATCHED, MOBO_C)
    # Two patches: four numbers of two bytes per layer and patch, and the code.
    more = cost.flash_image_bytes - estimate(WHOLE, BOARD, MOBO_C).flash_image_bytes
    assert more == patch_bytes(PATCHED) == 4 * 16 + 64 + 4 * 64
    calls = patch_calls(PATCHED)
    assert {name: len(found) for name, found in calls.items()} == dict.fromkeys(("stem", "dw", "pw", "down"), 2)
    once = sum(MOBO_C.instructions("cortex-m4", call) + 8 for found in calls.values() for call in found)
    behind = instruction_count(WHOLE, "cortex-m4", MOBO_C) - instruction_count(
        LayerGraph(WHOLE.input_shape, WHOLE.layers[:4]), "cortex-m4", MOBO_C
    )
    assert instruction_count(PATCHED, "cortex-m4", MOBO_C) == pytest.approx(once + behind)


@pytest.mark.parametrize("name", ["tflm-cmsis-nn", "stm32cubeai-9"])
def test_other_engines_run_everything_at_once(name: str) -> None:
    runtime = load_runtime(name)
    assert estimate(PATCHED, BOARD, runtime).to_dict() == estimate(WHOLE, BOARD, runtime).to_dict()
    assert latency_ms(PATCHED, BOARD, runtime) == latency_ms(WHOLE, BOARD, runtime)
    assert list(patched_costs(WHOLE, BOARD, runtime, ram_limit_bytes=1e9)) == []
    with pytest.raises(PatchError, match="no patches take less"):
        fastest_patches(WHOLE, BOARD, runtime, ram_limit_bytes=1000)


def test_the_fastest_that_fit_are_taken() -> None:
    whole = plan_memory(WHOLE, MOBO_C).arena_bytes
    assert fastest_patches(WHOLE, BOARD, MOBO_C, ram_limit_bytes=whole) is None
    costs = list(patched_costs(WHOLE, BOARD, MOBO_C, ram_limit_bytes=whole - 1))
    least = min(cost.ram_bytes for cost in costs)
    limit = (whole + least) // 2
    found = fastest_patches(PATCHED, BOARD, MOBO_C, ram_limit_bytes=limit)
    assert found is not None
    taken = next(cost for cost in costs if cost.patches == found)
    # By a slow twin: every plan priced whole.
    priced = {cost.patches: estimate(replace(WHOLE, patches=cost.patches), BOARD, MOBO_C) for cost in costs}
    assert all(priced[cost.patches].ram_bytes == cost.ram_bytes for cost in costs)
    fitting = {patches: cost.latency_ms for patches, cost in priced.items() if cost.value("ram_bytes") <= limit}
    assert taken.ram_bytes <= limit
    assert taken.latency_ms == pytest.approx(min(fitting.values()))


def test_a_limit_below_all_patches_is_refused_with_the_least_that_there_is() -> None:
    whole = plan_memory(WHOLE, MOBO_C).arena_bytes
    least = min(cost.ram_bytes for cost in patched_costs(WHOLE, BOARD, MOBO_C, ram_limit_bytes=whole))
    with pytest.raises(PatchError, match=f"takes {whole:,} bytes .* with patches {least:,} at least"):
        fastest_patches(WHOLE, BOARD, MOBO_C, ram_limit_bytes=least - 1)


def test_of_a_number_of_patches_the_smallest_are_taken() -> None:
    costs = list(patched_costs(WHOLE, BOARD, MOBO_C, ram_limit_bytes=1e9))
    counts = sorted({cost.count for cost in costs})
    found = smallest_patches(WHOLE, BOARD, MOBO_C, counts[-1])
    assert len(replace(WHOLE, patches=found).patch_rows) == counts[-1]
    taken = next(cost for cost in costs if cost.patches == found)
    assert taken.ram_bytes == min(cost.ram_bytes for cost in costs if cost.count == counts[-1])
    assert smallest_patches(WHOLE, BOARD, MOBO_C, 99) is None
    assert smallest_patches(WHOLE, BOARD, MOBO_C, counts[-1], ram_limit_bytes=100) is None
