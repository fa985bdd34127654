"""The pages of the verified models: every family a study that parses, which layers are wide, every figure from the table."""

import pandas as pd
import pytest

from envs.compression.activation_widths import with_activation_bits
from experiments.code import verify_widths
from experiments.code.verify_families import STUDIES, config_of, summary
from hw_models.graph.from_torch import trace
from mobo.tinyml.networks import network_families
from tests.envs.networks import build


@pytest.mark.parametrize("family", STUDIES)
def test_every_study_is_one_trial_for_our_own_code_with_mixed_widths(family: str) -> None:
    config = config_of(family)
    assert family in network_families()
    assert config.network.family == family
    assert (config.trials, config.device.runtime, config.compression.method) == (1, "mobo-c", "random")
    assert config.compression.weight_bits == (4, 8)


def test_the_page_shows_errors_promises_and_the_slow_output_stage() -> None:
    described = {"family": "cnn1d", "input": "1x128x3", "macs": 1000, "layers_of_8_bits": 3, "layers_of_4_bits": 2}
    rows = [
        ("error on 9 samples, whole test split", 0.25, 0.25, True, ""),
        ("error on 9 samples, whole test split", 0.25, 0.125, False, ""),
        ("arena_bytes, cortex-m4", 640, 640, True, ""),
        ("instructions, cortex-m4", 1000, 1200, None, "the slow output stage is not predicted: x"),
        ("flash_bytes", 2000, 100, True, "flash of a board"),
    ]
    table = pd.DataFrame(
        {**described, "quantity": name, "predicted": promised, "measured": found, "ratio": found / promised,
         "holds": holds, "note": note} for name, promised, found, holds, note in rows
    )  # fmt: skip
    text = summary(table)
    assert "| cnn1d | 1x128x3 | 1,000 | 3, 2 | 0.2500 | 0.2500, 0.1250 | 3 of 4 |" in text
    assert "| cnn1d | arena_bytes, cortex-m4 | 640 | 640 | 1.000 |" in text
    assert "| cnn1d | instructions, cortex-m4 (slow output stage) | 1,000 | 1,200 | 1.200 |" in text
    assert "flash of a board" not in text
    assert "| cnn1d | flash_bytes |" not in text


def test_every_second_layer_with_weights_says_that_it_is_wide() -> None:
    graph = trace(*build("residual")).graph
    marked = verify_widths.every_second_wide(graph)
    widths = {layer.name: layer.output_bits for layer in marked.weight_layers}
    assert list(widths.values()) == [8, 16] * (len(widths) // 2) + [8] * (len(widths) % 2)
    # The marks alone convert nothing; the policy that repeats them does.
    assert with_activation_bits(marked, widths) == with_activation_bits(graph, widths)


def test_the_page_of_widths_shows_widths_errors_and_promises() -> None:
    described = {
        "family": "cnn1d", "macs": 1000, "layers_of_8_bits": 5, "layers_of_4_bits": 0, "layers_of_16_bit_activations": 2
    }  # fmt: skip
    rows = [("error on 9 samples, whole test split", 0.25, 0.25, True), ("error on 9 samples", 0.25, 0.125, False)]
    table = pd.DataFrame(
        {**described, "quantity": name, "predicted": promised, "measured": found, "holds": holds}
        for name, promised, found, holds in rows
    )
    assert "| cnn1d | 1,000 | 3, 2 | 0.2500 | 0.2500, 0.1250 | 1 of 2 |" in verify_widths.summary(table)
