"""What a comparison says of layers; the command is tested in tests/mobo/cli/test_compress.py."""

from hw_models.graph.layer_graph import Conv2D, LayerGraph
from mobo.runs.compress import LayerDecision, decisions


def graph(*layers: tuple[str, int, int]) -> LayerGraph:
    """Return convolutions behind each other: name, channels, bits."""
    inputs = ["input", *(name for name, _, _ in layers)]
    return LayerGraph(
        (8, 8, 1),
        tuple(
            Conv2D(name=name, inputs=(source,), out_channels=channels, kernel=(3, 3), weight_bits=bits)
            for (name, channels, bits), source in zip(layers, inputs, strict=False)
        ),
    )


def test_a_layer_that_was_not_there_before_has_no_channels_before() -> None:
    found = decisions(graph(("a", 8, 8), ("b", 4, 8)), graph(("a", 6, 4), ("b.0", 2, 8), ("b.1", 4, 8)))
    assert found == (
        LayerDecision(layer="a", channels=8, kept_channels=6, weight_bits=4),
        LayerDecision(layer="b.0", channels=None, kept_channels=2, weight_bits=8),
        LayerDecision(layer="b.1", channels=None, kept_channels=4, weight_bits=8),
    )
