"""The arena of generated C: which buffers there are, how long they live, what kernels may read behind the last."""

import pytest
from hypothesis import given, settings

from hw_models.graph.layer_graph import INPUT, Add, Conv2D, DepthwiseConv2D, Layer, LayerGraph, Patches, Reshape
from hw_models.memory.arena_plan import plan_memory
from hw_models.memory.static_arena import slack_bytes, static_buffers
from hw_models.runtime import load_runtime
from tests.hw_models.factories import residual_networks

MOBO_C = load_runtime("mobo-c")


def conv(name: str, source: str, **fields: object) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), out_channels=4, **({"kernel": (3, 3)} | fields))  # type: ignore[arg-type]


def test_tensors_that_share_memory_are_one_buffer_as_long_as_any_of_them_lives() -> None:
    # The addition writes over its first input, which nobody reads again; the reshape is the same bytes.
    layers: tuple[Layer, ...] = (
        conv("a", INPUT),
        conv("b", "a"),
        Add(name="sum", inputs=("b", "a")),
        Reshape(name="flat", inputs=("sum",)),
    )
    buffers = static_buffers(LayerGraph((4, 4, 4), layers), [72, 72, 0, 0])
    assert [(b.name, b.size_bytes, b.first, b.last) for b in buffers] == [
        (INPUT, 64, 0, 0),
        ("a", 64, 0, 2),
        ("b", 64, 1, 3),
        ("a scratch", 72, 0, 0),
        ("b scratch", 72, 1, 1),
    ]


def test_of_layers_that_run_patch_by_patch_a_few_rows_are_kept_at_once() -> None:
    layers: tuple[Layer, ...] = (conv("a", INPUT), conv("b", "a"), conv("cut", "b", stride=(2, 2)), conv("d", "cut"))
    buffers = static_buffers(LayerGraph((8, 8, 4), layers, patches=Patches("cut", 1)), [72, 72, 72, 72])
    # A row of the cut reads three of b, the last one two; these five of a. The input and the cut stay for all patches.
    assert [(b.name, b.size_bytes, b.first, b.last) for b in buffers] == [
        (INPUT, 8 * 32, 0, 2),
        ("cut", 4 * 16, 0, 3),
        ("a", 5 * 32, 0, 1),
        ("b", 3 * 32, 1, 2),
        ("d", 4 * 16, 3, 3),
        *((f"{name} scratch", 72, index, index) for index, name in enumerate(("a", "b", "cut", "d"))),
    ]


@pytest.mark.parametrize(
    ("layer", "channels", "slack"),
    [
        (conv("x", INPUT), 3, 0),  # copied to scratch, which is padded
        (conv("x", INPUT, kernel=(1, 1)), 3, 4),
        (conv("x", INPUT, kernel=(1, 1)), 4, 0),
        (conv("x", INPUT, kernel=(1, 4)), 3, 0),
        (DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3)), 6, 4),
        (DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3)), 8, 0),
        (DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3), output_bits=16), 6, 8),
    ],
)
def test_a_group_that_ends_behind_the_last_buffer_needs_slack(layer: Layer, channels: int, slack: int) -> None:
    assert slack_bytes(LayerGraph((4, 4, channels), (layer,))) == slack


@settings(max_examples=50)
@given(graph=residual_networks())
def test_what_lives_together_never_overlaps_and_the_arena_holds_it(graph: LayerGraph) -> None:
    plan = plan_memory(graph, MOBO_C)
    for index, one in enumerate(plan.buffers):
        for other in plan.buffers[index + 1 :]:
            together = one.first <= other.last and other.first <= one.last
            assert not (together and one.offset_bytes < other.end_bytes and other.offset_bytes < one.end_bytes)
    live = max(moment.live_bytes for moment in plan.timeline())
    assert live <= plan.planned_bytes <= plan.arena_bytes <= plan.planned_bytes + 4
