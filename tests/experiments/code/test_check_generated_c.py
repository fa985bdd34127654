"""The comparison of the generated C's costs: random designs, and what counts as a broken promise."""

import numpy as np
import pandas as pd
import pytest

from experiments.code.check_generated_c import FAMILIES, promises_hold, ram_misses, random_design, summary
from experiments.code.count_generated_c import chains, mixed_widths, moving_layers
from hw_models.runtime import load_runtime
from mobo.tinyml.networks import network_families


def table() -> pd.DataFrame:
    rows = [
        {
            "design": design, "family": FAMILIES[design], "core": core, "activations": "8 bits", "macs": 1000 * (design + 1), "stack_bytes": 200,
            "predicted_ram_bytes": 640, "arena_bytes": 640, "tflm_arena_bytes": 1280,
            "predicted_flash_bytes": 10_100, "flash_bytes": 10_000,
            "predicted_instructions": 5000 * (design + 1), "instructions": 5100 * (design + 1),
        }
        for design in range(2)
        for core in ("cortex-m0", "cortex-m4")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_table_within_all_tolerances_holds() -> None:
    assert promises_hold(table())
    text = summary(table())
    assert "| 8 bits | cortex-m4 | 2 | 2 | 1.00%, 1.00% | 1.96%, 1.96% | 1.0000 | 200 bytes |" in text
    assert "0.50 to 0.50 times, median 0.50" in text


def test_mixed_designs_stand_apart_and_are_not_compared_with_tflm() -> None:
    mixed = table().assign(activations="8 and 16 bits", tflm_arena_bytes=None)
    text = summary(pd.concat([table(), mixed]))
    assert "| 8 and 16 bits | cortex-m0 | 2 | 2 |" in text
    assert "0.50 to 0.50 times, median 0.50" in text


def test_layers_of_16_bits_have_8_bit_weights() -> None:
    _, graph = random_design(0)
    mixed = mixed_widths(graph, np.random.default_rng(0), share=0.5)
    widths = {(layer.weight_bits, layer.output_bits) for layer in mixed.weight_layers}
    assert {(4, 8), (8, 16)} <= widths <= {(4, 8), (8, 8), (8, 16)}


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [("arena_bytes", 0, 644), ("flash_bytes", 3, 9_800), ("instructions", 2, 20_000)],
)
def test_each_promise_can_be_broken(column: str, row: int, value: int) -> None:
    broken = table()
    broken.loc[row, column] = value
    assert not promises_hold(broken)
    assert ram_misses(broken) == (column == "arena_bytes")


def test_designs_are_repeatable_compressed_and_of_known_families() -> None:
    assert set(FAMILIES) <= set(network_families())
    designs = [random_design(number) for number in range(len(FAMILIES))]
    assert random_design(1) == designs[1]
    assert tuple(name for name, _ in designs) == FAMILIES
    assert {layer.weight_bits for _, graph in designs for layer in graph.weight_layers} == {4, 8}


def test_chains_hold_every_layer_kind_that_the_runtime_executes() -> None:
    kinds = {layer.kind for _, graph in chains(70) for layer in graph.layers}
    # The kernels that move or look up have networks and a table of their own.
    apart = {layers[-1].kind for layers in moving_layers(4, 4, 2, np.random.default_rng(0)).values()}
    assert kinds | apart == set(load_runtime("mobo-c").layer_kinds)
    assert kinds & apart == {"activation"}
