"""Which rows a patch needs: by hand, and by an interpreter that sees garbage everywhere else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    GraphError,
    Layer,
    LayerGraph,
    MaxPool2D,
    Pad,
    Patches,
    Pool2D,
    Quantize,
    Reshape,
)
from hw_models.graph.patches import possible_patches, rows_above, rows_read
from tests.mobo.export.quantised_networks import by_hand


def conv(name: str = "conv", source: str = INPUT, channels: int = 4, kernel: int = 3, **fields: object) -> Conv2D:
    return Conv2D(name=name, inputs=(source,), out_channels=channels, kernel=(kernel, kernel), **fields)


def rows_of(graph: LayerGraph, cut: str, rows: int) -> list[dict[str, tuple[int, int]]]:
    found = replace(graph, patches=Patches(cut, rows)).patch_rows
    return [{name: (span.start, span.stop) for name, span in needed.items()} for needed in found]


def test_two_layers_by_hand() -> None:
    # 8 rows, a 3x3 of stride 2 (SAME pads 0 above and 1 below: 4 rows), a 3x3 of stride 1 (1 above, 1 below).
    graph = LayerGraph((8, 8, 3), (conv("a", stride=(2, 2)), conv("b", "a")))
    assert rows_of(graph, "b", 2) == [
        # Rows 0 and 1 of b: rows -1 to 2 of a, of which 0 to 2 are there: rows 0 to 6 of the input.
        {"b": (0, 2), "a": (0, 3), INPUT: (0, 7)},
        # Rows 2 and 3: rows 1 to 4 of a, of which 1 to 3 are there: rows 2 to 8, of which the last is padding.
        {"b": (2, 4), "a": (1, 4), INPUT: (2, 8)},
    ]


def test_a_last_patch_has_what_is_left() -> None:
    assert [needed["conv"] for needed in rows_of(LayerGraph((7, 4, 3), (conv(),)), "conv", 3)] == [
        (0, 3), (3, 6), (6, 7),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("layer", "rows", "read", "above"),
    [
        # Kernel 5, stride 1, SAME: two rows on each side.
        (conv(kernel=5), range(0, 1), range(0, 3), 2),
        (conv(kernel=5), range(1, 3), range(0, 5), 1),
        (conv(kernel=5), range(9, 10), range(7, 10), 0),
        # Kernel 5, stride 2, SAME: 5 rows of output need 13 of 10, so 1 above and 2 below.
        (conv(kernel=5, stride=(2, 2)), range(0, 2), range(0, 6), 1),
        (conv(kernel=5, stride=(2, 2)), range(4, 5), range(7, 10), 0),
        # VALID pads nothing: row r reads r to r + 2, with stride 2 from 2 r on.
        (conv(padding="valid"), range(7, 8), range(7, 10), 0),
        (conv(padding="valid", stride=(2, 2)), range(1, 3), range(2, 7), 0),
        # A 1x1 of stride 2 skips every second row.
        (conv(kernel=1, stride=(2, 2)), range(1, 3), range(2, 5), 0),
        (MaxPool2D(name="x", inputs=(INPUT,), kernel=(2, 2), stride=(2, 2)), range(3, 5), range(6, 10), 0),
        (DepthwiseConv2D(name="x", inputs=(INPUT,), kernel=(3, 3)), range(0, 1), range(0, 2), 1),
        # Two rows of padding above: row 1 is padding, row 2 is the input's first.
        (Pad(name="x", inputs=(INPUT,), before=(2, 0), after=(1, 0)), range(1, 4), range(0, 2), 1),
        (Pad(name="x", inputs=(INPUT,), before=(2, 0), after=(1, 0)), range(11, 13), range(9, 10), 0),
        (ActivationLayer(name="x", inputs=(INPUT,), activation="relu"), range(2, 4), range(2, 4), 0),
    ],
)
def test_the_rows_that_a_layer_reads_by_hand(layer: Layer, rows: range, read: range, above: int) -> None:
    source = (10, 10, 4)
    output = layer.output_shape([source])
    assert rows_read(layer, rows, source, output) == read
    assert rows_above(layer, rows, source, output) == above


def test_what_several_layers_read_is_kept_for_the_one_that_needs_most() -> None:
    graph = LayerGraph(
        (6, 4, 4), (conv("stem"), conv("a", "stem", kernel=5), Add(name="sum", inputs=("stem", "a")))
    )  # fmt: skip
    assert rows_of(graph, "sum", 3) == [
        {"sum": (0, 3), "a": (0, 3), "stem": (0, 5), INPUT: (0, 6)},
        {"sum": (3, 6), "a": (3, 6), "stem": (1, 6), INPUT: (0, 6)},
    ]


@pytest.mark.parametrize(
    ("patches", "words"),
    [
        (Patches("nothing", 2), "is no layer; name one of stem"),
        (Patches("stem", 6), "which has 6: take 1 to 5"),
        (Patches("stem", 0), "patches of 0 rows"),
        (Patches("pool", 1), "nothing to split"),
        (Patches("flat", 1), "nothing to split"),
        # The addition behind it reads the stem, which no patch keeps whole.
        (Patches("a", 2), "'sum' reads 'stem' behind the cut 'a'"),
    ],
)
def test_patches_that_are_impossible_are_refused(patches: Patches, words: str) -> None:
    layers = (
        conv("stem"),
        conv("a", "stem"),
        Add(name="sum", inputs=("stem", "a")),
        AveragePool2D(name="pool", inputs=("sum",), kernel=(6, 4), stride=(6, 4)),
        Reshape(name="flat", inputs=("pool",)),
    )
    with pytest.raises(GraphError, match=words):
        LayerGraph((6, 4, 4), layers, patches=patches)


def test_layers_that_need_the_whole_map_end_the_patches() -> None:
    gate = (
        conv("stem"),
        AveragePool2D(name="pool", inputs=("stem",), kernel=(6, 4), stride=(6, 4)),
        Elementwise(name="scaled", inputs=("stem", "pool"), operation="mul"),
        conv("behind", "scaled"),
    )
    with pytest.raises(GraphError, match=r"'scaled' .* cannot run patch by patch"):
        LayerGraph((6, 4, 4), gate, patches=Patches("behind", 2))
    graph = LayerGraph((6, 4, 4), gate)
    assert {patches.cut for patches in possible_patches(graph.layers, graph.shapes, graph.input_names)} == {"stem"}


def test_a_patch_of_padding_alone_is_refused() -> None:
    layers = (Pad(name="pad", inputs=(INPUT,), before=(3, 0), after=(0, 0)),)
    with pytest.raises(GraphError, match="rows 0 to 1 of 'pad' is padding alone"):
        LayerGraph((6, 4, 4), layers, patches=Patches("pad", 2))
    assert LayerGraph((6, 4, 4), layers, patches=Patches("pad", 4)).patch_rows[0][INPUT] == range(1)


def test_a_tensor_that_nobody_reads_is_refused() -> None:
    with pytest.raises(GraphError, match="nobody reads 'lost'"):
        LayerGraph((6, 4, 4), (conv("lost"), conv("stem")), patches=Patches("stem", 2))


def test_patches_need_one_input_and_one_output() -> None:
    with pytest.raises(GraphError, match="one input and one output"):
        LayerGraph((6, 4, 4), (conv(), conv("b", "conv")), extra_outputs=("conv",), patches=Patches("conv", 2))


@st.composite
def prefixes(draw: st.DrawFn) -> LayerGraph:
    """Draw a network of layers that split, with kernels, strides, paddings and branches of every kind."""
    shape = (draw(st.integers(4, 11)), draw(st.integers(3, 5)), draw(st.integers(1, 3)))
    layers: list[Layer] = []
    graph, source = None, INPUT
    for index in range(draw(st.integers(1, 5))):
        name = f"l{index}"
        added = draw(st.sampled_from(("conv", "depthwise", "pool", "pad", "activation", "residual", "join")))
        height, width, channels = shape if graph is None else graph.shapes[source]
        window = {
            "kernel": (draw(st.sampled_from((1, 2, 3, 5))), draw(st.integers(1, 3))),
            "stride": (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
            "padding": draw(st.sampled_from(("same", "valid"))),
        }
        if window["kernel"][0] > height or window["kernel"][1] > width:
            window["padding"] = "same"
        reads = {"name": name, "inputs": (source,)}
        if added == "conv":
            layers.append(Conv2D(**reads, out_channels=draw(st.integers(1, 4)), **window))
        elif added == "depthwise":
            layers.append(DepthwiseConv2D(**reads, **window))
        elif added == "pool":
            layers.append(draw(st.sampled_from((AveragePool2D, MaxPool2D)))(**reads, **window))
        elif added == "pad":
            sides = st.tuples(st.integers(0, 2), st.integers(0, 1))
            layers.append(Pad(**reads, before=draw(sides), after=draw(sides)))
        elif added == "activation":
            layers.append(ActivationLayer(**reads, activation="relu"))
        else:
            inner = Conv2D(name=f"{name}.inner", inputs=(source,), out_channels=channels, kernel=(3, 1))
            both = (source, inner.name)
            joined = Add(name=name, inputs=both) if added == "residual" else Concatenate(name=name, inputs=both)
            layers += [inner, joined]
        graph, source = LayerGraph(shape, tuple(layers)), name
    assert graph is not None
    return graph


@settings(max_examples=20, deadline=None)
@given(prefixes(), st.data())
def test_a_patch_sees_nothing_but_its_rows(graph: LayerGraph, data: st.DataObject) -> None:
    """The slow twin: whole maps, in which every row that a patch does not need is garbage."""
    possible = list(possible_patches(graph.layers, graph.shapes, graph.input_names))
    if not possible:
        return
    graph = replace(graph, patches=data.draw(st.sampled_from(possible)))
    interpreter, random = IntegerInterpreter(by_hand(graph)), np.random.default_rng(0)
    whole = interpreter.run(garbage(random, graph.input_shape))
    made = torch.empty_like(whole[graph.patches.cut])
    for needed in graph.patch_rows:
        tensors = {INPUT: seen(random, whole[INPUT], needed[INPUT])}
        for layer in graph.layers[: graph.patched_count]:
            output = interpreter.run_layer(layer.name, *(tensors[name] for name in layer.inputs))
            tensors[layer.name] = seen(random, output, needed[layer.name])
        rows = needed[graph.patches.cut]
        made[:, :, rows.start : rows.stop] = tensors[graph.patches.cut][:, :, rows.start : rows.stop]
    assert torch.equal(made, whole[graph.patches.cut])


def garbage(random: np.random.Generator, shape: tuple[int, int, int]) -> torch.Tensor:
    height, width, channels = shape
    return torch.from_numpy(random.integers(-128, 128, (1, channels, height, width), np.int8))


def seen(random: np.random.Generator, tensor: torch.Tensor, rows: range) -> torch.Tensor:
    found = garbage(random, (tensor.shape[2], tensor.shape[3], tensor.shape[1]))
    found[:, :, rows.start : rows.stop] = tensor[:, :, rows.start : rows.stop]
    return found


@settings(max_examples=20, deadline=None)
@given(prefixes())
def test_windows_are_the_rows_that_are_there_and_padding_at_the_borders(graph: LayerGraph) -> None:
    possible = list(possible_patches(graph.layers, graph.shapes, graph.input_names))
    for patches in possible[:: max(1, len(possible) // 4)]:
        patched = replace(graph, patches=patches)
        for layer in patched.layers[: patched.patched_count]:
            if isinstance(layer, Conv2D | DepthwiseConv2D | Pool2D):
                for needed in patched.patch_rows:
                    check_window(patched, layer, needed[layer.name])


def check_window(graph: LayerGraph, layer: Conv2D | DepthwiseConv2D | Pool2D, rows: range) -> None:
    source, output = graph.input_shapes(layer)[0], graph.shapes[layer.name]
    read, above = rows_read(layer, rows, source, output), rows_above(layer, rows, source, output)
    below = (len(rows) - 1) * layer.stride[0] + layer.kernel[0] - above - len(read)
    assert above == 0 or read.start == 0
    assert below == 0 or read.stop == source[0]
    assert min(above, below) >= 0


def test_patches_are_kept_in_files_and_copies() -> None:
    graph = LayerGraph((8, 8, 3), (conv("a"), conv("b", "a")), patches=Patches("a", 3))
    assert LayerGraph.from_dict(graph.to_dict()) == graph
    assert graph.resized({"a": 5}).patches == graph.patches
    assert "patches" not in replace(graph, patches=None).to_dict()
    with pytest.raises(GraphError, match=r"patches\.rows"):
        LayerGraph.from_dict({**graph.to_dict(), "patches": {"cut": "a", "rows": "3"}})


def test_what_splits_is_what_the_c_kernels_do_row_by_row() -> None:
    dense = Dense(name="dense", inputs=(INPUT,), out_channels=3, flatten=True)
    wide = Quantize(name="wide", inputs=(INPUT,), output_bits=16)
    graph = LayerGraph((4, 1, 2), (wide, replace(conv("conv", "wide"), output_bits=16)))
    assert len(list(possible_patches(graph.layers, graph.shapes, graph.input_names))) == 4
    dilated = replace(conv(), dilation=(2, 2), padding="valid")
    for layer in (dense, dilated):
        graph = LayerGraph((8, 8, 2), (layer,))
        assert list(possible_patches(graph.layers, graph.shapes, graph.input_names)) == []
