"""Trained models of mixed activation widths: which layers are wide, and what the page says."""

import pandas as pd

from envs.compression.activation_widths import with_activation_bits
from experiments.code.verify_widths import every_second_wide, summary
from hw_models.graph.from_torch import trace
from tests.envs.networks import build


def test_every_second_layer_with_weights_says_that_it_is_wide() -> None:
    graph = trace(*build("residual")).graph
    marked = every_second_wide(graph)
    widths = {layer.name: layer.output_bits for layer in marked.weight_layers}
    assert list(widths.values()) == [8, 16] * (len(widths) // 2) + [8] * (len(widths) % 2)
    # The marks alone convert nothing; the policy that repeats them does.
    assert with_activation_bits(marked, widths) == with_activation_bits(graph, widths)


def test_the_page_shows_widths_errors_and_promises() -> None:
    described = {
        "family": "cnn1d", "macs": 1000, "layers_of_8_bits": 5, "layers_of_4_bits": 0, "layers_of_16_bit_activations": 2
    }  # fmt: skip
    rows = [("error on 9 samples, whole test split", 0.25, 0.25, True), ("error on 9 samples", 0.25, 0.125, False)]
    table = pd.DataFrame(
        {**described, "quantity": name, "predicted": promised, "measured": found, "holds": holds}
        for name, promised, found, holds in rows
    )
    assert "| cnn1d | 1,000 | 3, 2 | 0.2500 | 0.2500, 0.1250 | 1 of 2 |" in summary(table)
