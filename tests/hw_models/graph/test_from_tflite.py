"""Reading tflite files: round trips of generated ones, the published models, damaged files."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.costs.flatbuffer_writer import Numbers, write
from experiments.costs.generated_networks import generated_networks
from experiments.costs.reference_networks import autoencoder, ds_cnn, mobilenet_v1_025, resnet8
from experiments.costs.tflite_writer import tflite_bytes
from hw_models.errors import HardwareModelError
from hw_models.flash import constant_bytes
from hw_models.graph.from_tflite import graph_of, read_tflite
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    LayerGraph,
    Lstm,
    Pad,
    Quantize,
    Reduce,
    Svdf,
    TransposeConv2D,
)
from hw_models.graph.tflite_tables import OPERATOR_NAMES, TfliteError, parse

MODELS = Path(os.environ.get("MOBO_MODELS_DIR", "not set"))
PUBLISHED = {
    # file: MACs, bytes of constants; from the description of the models.
    "ad01_int8": (264_192, 270_880),
    "kws_ref_model": (2_656_768, 24_376),
    "pretrainedResnet_quant": (12_501_632, 78_752),
    "vww_96_int8": (7_489_664, 219_072),
    "str_ww_ref_model": (826_368, 48_396),
    "pretrainedResnet": (12_501_632, 310_832),
    "kws_ref_model_float32": (2_656_768, 33_592),
}


def small_network() -> LayerGraph:
    layers: tuple[Layer, ...] = (
        Pad(name="pad", inputs=(INPUT,), before=(0, 1), after=(1, 2)),
        Conv2D(
            name="a", inputs=("pad",), out_channels=6, kernel=(3, 2), stride=(2, 1), padding="valid", dilation=(1, 2)
        ),
        DepthwiseConv2D(name="b", inputs=("a",), kernel=(3, 3), multiplier=2, weight_bits=4, activation="relu6"),
        Conv2D(name="c", inputs=("b",), out_channels=12, kernel=(1, 1), bias=False, activation="relu"),
        Add(name="d", inputs=("b", "c"), activation="relu"),
        Elementwise(name="e", inputs=("d", "b"), operation="mul"),
        Concatenate(name="f", inputs=("e", "c"), axis=2),
        ActivationLayer(name="g", inputs=("f",), activation="logistic"),
        Quantize(name="h", inputs=("g",)),
        Reduce(name="i", inputs=("h",), axes=(0, 1)),
        Dense(name="j", inputs=("i",), out_channels=5, weight_bits=4),
    )
    return LayerGraph((9, 8, 3), layers)


@pytest.mark.parametrize("graph", [resnet8(), autoencoder(), ds_cnn(), mobilenet_v1_025(), small_network()])
def test_what_was_written_is_read(graph: LayerGraph) -> None:
    assert graph_of(parse(tflite_bytes(graph))) == graph


def test_generated_networks_are_read_back() -> None:
    for name, graph in generated_networks(40, seed=1):
        assert graph_of(parse(tflite_bytes(graph))) == graph, name


def test_float_and_16_bit_networks() -> None:
    for bits, weight_bits in ((32, 32), (16, 8)):
        layer = Conv2D(
            name="x", inputs=(INPUT,), out_channels=4, kernel=(3, 3), output_bits=bits, weight_bits=weight_bits
        )
        graph = LayerGraph((6, 6, 2), (layer,), bits)
        assert graph_of(parse(tflite_bytes(graph))) == graph
        # 4 * 9 * 2 weights, and 4 biases of 4 bytes, or 8 where they are 64-bit integers.
        assert constant_bytes(layer, [(6, 6, 2)]) == 72 * weight_bits // 8 + 4 * (8 if bits == 16 else 4)


def test_constants_by_hand() -> None:
    # conv 6*3*2*3 + 6 biases; depthwise 12*9 nibbles + 12; conv 12*12, no bias; dense 24*5 nibbles + 5; 8 paddings;
    # 2 axes.
    expected = (108 + 24) + (54 + 48) + 144 + (60 + 20) + 32 + 8
    assert parse(tflite_bytes(small_network())).constant_bytes == expected


def test_biases_kept_once_are_counted_once() -> None:
    layer = replace(small_network().layer("a"), bias_is_shared=True)
    assert isinstance(layer, Conv2D)
    assert constant_bytes(layer, [(9, 8, 3)]) == 108


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models(name: str) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip("MOBO_MODELS_DIR names no folder with the MLPerf Tiny models")
    macs, constants = PUBLISHED[name]
    model = read_tflite(path)
    assert (model.graph.macs, model.constant_bytes, model.file_bytes) == (macs, constants, path.stat().st_size)
    weights = sum(constant_bytes(layer, model.graph.input_shapes(layer)) for layer in model.graph.weight_layers)
    assert weights == pytest.approx(constants, rel=0.001)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty"),
        (b"\0", "bytes 4 to 8 are b''"),
        (b"PK\3\4 a zip archive", "a tflite file has b'TFL3' there"),
        (b"\xff\xff\xff\xffTFL3", "points to byte"),
        (b"\x08\0\0\0TFL3", "points to byte 8, but has 8 bytes"),
        (write({0: 3}, b"TFL3"), "it has 0 subgraphs"),
        (write({0: 3, 2: [{}]}, b"TFL3"), "it has no operators"),
        (write({0: 3, 2: [{}, {}]}, b"TFL3"), "it has 2 subgraphs"),
    ],
)
def test_no_tflite_file(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(data)
    with pytest.raises(TfliteError, match=r"model\.tflite cannot be read as a tflite file: ") as caught:
        read_tflite(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(TfliteError, match="cannot be read: No such file"):
        read_tflite(tmp_path / "none.tflite")


def one_operator(code: int, custom: str = "") -> bytes:
    tensor = {0: Numbers("i", [1, 4]), 1: 9, 2: 0, 3: "x"}
    operator = {0: 0, 1: Numbers("i", [0]), 2: Numbers("i", [1])}
    subgraph = {
        0: [tensor, {**tensor, 3: "y"}], 1: Numbers("i", [0]), 2: Numbers("i", [1]), 3: [operator],
    }  # fmt: skip
    codes = [{0: min(code, 127), 1: custom, 2: 1, 3: code}]
    return write({0: 3, 1: codes, 2: [subgraph], 4: [{}]}, b"TFL3")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (one_operator(16), "LSTM"),
        (one_operator(32, "my_op"), "CUSTOM 'my_op'"),
        (one_operator(500), "code 500"),
    ],
)
def test_an_unknown_operator_is_named(data: bytes, name: str) -> None:
    with pytest.raises(TfliteError, match=r"output 'y'.*has no cost model.*Known: ADD, ") as caught:
        graph_of(parse(data))
    assert name in str(caught.value)


Operator = tuple[str, list[str], list[str], dict[int, Any]]


def file_of(
    tensors: Mapping[str, tuple[tuple[int, ...], str]], operators: Sequence[Operator], outputs: list[str]
) -> bytes:
    """Return a file of tensors ("c": constant, "v": variable, "i": an int32 constant of its values) and operators."""
    codes = {"int8": 9, "int16": 7, "float": 0}
    names, buffers, entries = list(tensors), [{}], []
    for name, (shape, dtype) in tensors.items():
        kind, _, what = dtype.partition(" ")
        entry: dict[int, Any] = {0: Numbers("i", shape), 1: codes.get(what or kind, 9), 2: 0, 3: name}
        if kind == "c":
            buffers.append({0: bytes(prod(shape) * (2 if what == "int16" else 4 if what == "float" else 1))})
            entry[2] = len(buffers) - 1
        elif kind == "i":
            buffers.append({0: b"".join(int(value).to_bytes(4, "little", signed=True) for value in what.split())})
            entry |= {1: 2, 2: len(buffers) - 1}
        elif kind == "v":
            entry[5] = 1
        entries.append(entry)
    used = list(dict.fromkeys(code for code, *_ in operators))
    custom = {code: code.removeprefix("CUSTOM ") for code in used if code.startswith("CUSTOM")}
    numbers = {code: OPERATOR_NAMES.index("CUSTOM" if code in custom else code) for code in used}
    places = {name: index for index, name in enumerate(names)} | {"": -1}
    subgraph = {
        0: entries, 1: Numbers("i", [0]), 2: Numbers("i", [places[name] for name in outputs]),
        3: [
            {0: used.index(code), 1: Numbers("i", [places[name] for name in inputs]),
             2: Numbers("i", [places[name] for name in given]), 3: 1, 4: options}
            for code, inputs, given, options in operators
        ],
    }  # fmt: skip
    tables = [{0: min(numbers[code], 127), 1: custom.get(code, ""), 2: 1, 3: numbers[code]} for code in used]
    return write({0: 3, 1: tables, 2: [subgraph], 4: buffers}, b"TFL3")


def lstm_file(units: int = 6, *, peephole: str = "") -> bytes:
    gates = {f"w{gate}": ((units, 4), "c") for gate in range(4)} | {
        f"r{gate}": ((units, units), "c") for gate in range(4)
    }
    biases = {f"b{gate}": ((units,), "i " + "0 " * units) for gate in range(4)}
    tensors = {"x": ((1, 5, 4), "int8"), **gates, **biases, "h": ((1, units), "v"), "c": ((1, units), "v int16")}
    tensors |= {"p": ((units,), "c int16"), "y": ((1, 5, units), "int8")}
    inputs = ["x", *gates, peephole, "", "", *biases, "", "", "h", "c", "", "", "", ""]
    return file_of(tensors, [("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, ["y"], {})], ["y"])


def test_an_lstm_has_its_weights_states_and_products() -> None:
    graph = graph_of(parse(lstm_file()))
    assert graph.layers == (Lstm(name="y", inputs=(INPUT,), units=6),)
    # Four gates of 6 units that read 4 inputs and 6 states, over five steps.
    assert (graph.macs, graph.layers[0].state_bytes, graph.shapes["y"]) == (5 * 4 * 6 * 10, (6, 12), (1, 5, 6))
    assert constant_bytes(graph.weight_layers[0], [(1, 5, 4)]) == 4 * 6 * 10 + 4 * 4 * 6
    with pytest.raises(TfliteError, match="'y' has peepholes or a projection"):
        graph_of(parse(lstm_file(peephole="p")))


def test_an_svdf() -> None:
    tensors = {"x": ((1, 12), "int8"), "f": ((8, 12), "c"), "t": ((8, 5), "c"), "b": ((4,), "i 0 0 0 0")}
    tensors |= {"s": ((1, 40), "v"), "y": ((1, 4), "int8")}
    graph = graph_of(parse(file_of(tensors, [("SVDF", ["x", "f", "t", "b", "s"], ["y"], {0: 2})], ["y"])))
    assert graph.layers == (Svdf(name="y", inputs=(INPUT,), units=4, rank=2, memory=5),)
    assert (graph.macs, graph.layers[0].state_bytes) == (8 * 17, (40,))
    wide = graph_of(
        parse(
            file_of(tensors | {"s": ((1, 40), "v int16")}, [("SVDF", ["x", "f", "t", "b", "s"], ["y"], {0: 2})], ["y"])
        )
    )
    assert wide.layers[0].state_bytes == (80,)
    with pytest.raises(TfliteError, match="no weights that fit its rank 3"):
        graph_of(parse(file_of(tensors, [("SVDF", ["x", "f", "t", "b", "s"], ["y"], {0: 3})], ["y"])))


@pytest.mark.parametrize("size", ["i 1 6 6 8", "int8"])
def test_a_transposed_convolution_whose_size_is_a_constant_or_an_input(size: str) -> None:
    tensors = {"x": ((1, 3, 3, 4), "int8"), "s": ((4,), size), "w": ((8, 2, 2, 4), "c"), "y": ((1, 6, 6, 8), "int8")}
    graph = graph_of(parse(file_of(tensors, [("TRANSPOSE_CONV", ["s", "w", "x"], ["y"], {1: 2, 2: 2})], ["y"])))
    (layer,) = graph.layers
    assert layer == TransposeConv2D(
        name="y", inputs=(INPUT,), out_channels=8, kernel=(2, 2), stride=(2, 2), size=(6, 6), bias=False
    )
    assert (graph.macs, graph.shapes["y"]) == (3 * 3 * 4 * 4 * 8, (6, 6, 8))


def test_log_softmax_and_a_mean_that_drops_its_axis() -> None:
    tensors = {"x": ((1, 7, 5), "int8"), "a": ((1,), "i 2"), "m": ((1, 7), "int8"), "y": ((1, 7), "int8")}
    operators: list[Operator] = [("MEAN", ["x", "a"], ["m"], {}), ("LOG_SOFTMAX", ["m"], ["y"], {})]
    graph = graph_of(parse(file_of(tensors, operators, ["y"])))
    assert graph.shapes["m"] == graph.shapes["y"] == (1, 1, 7)
    assert [layer.kind for layer in graph.layers] == ["reduce", "log_softmax"]
    assert LayerGraph.from_dict(graph.to_dict()) == graph


def test_five_dimensions_are_costed_and_samples_are_counted() -> None:
    tensors = {
        "x": ((1, 4, 4, 6), "int8"), "n": ((5,), "i 1 4 4 3 2"), "r": ((1, 4, 4, 3, 2), "int8"),
        "t": ((5,), "i 1 1 1 1 2"), "y": ((1, 4, 4, 3, 4), "int8"),
    }  # fmt: skip
    operators: list[Operator] = [("RESHAPE", ["x", "n"], ["r"], {}), ("TILE", ["r", "t"], ["y"], {})]
    graph = graph_of(parse(file_of(tensors, operators, ["y"])))
    assert (graph.shapes["r"], graph.shapes["y"]) == ((16, 3, 2), (16, 3, 4))
    tensors["x"] = ((3, 1, 4, 4, 6), "int8")
    with pytest.raises(TfliteError, match=r"input 'x' has the shape \(3, 1, 4, 4, 6\), 3 samples; .* batch of 1"):
        graph_of(parse(file_of(tensors, operators, ["y"])))


def test_pieces_of_a_split_are_layers() -> None:
    tensors = {"x": ((1, 8), "int8"), "a": ((1,), "i 1"), "p": ((1, 4), "int8"), "q": ((1, 4), "int8")}
    graph = graph_of(parse(file_of(tensors, [("SPLIT", ["a", "x"], ["p", "q"], {0: 2})], ["p", "q"])))
    assert [(layer.name, graph.shapes[layer.name]) for layer in graph.layers] == [("p", (1, 1, 4)), ("q", (1, 1, 4))]


DETECTOR = "CUSTOM TFLite_Detection_PostProcess"


def detector_file(code: str, *, after: list[Operator] | None = None) -> bytes:
    tensors = {
        "x": ((1, 6), "int8"), "w": ((4, 6), "c"), "f": ((1, 4), "int8"), "boxes": ((1, 2), "int8"),
        "scores": ((1, 2), "int8"), "v": ((3, 2), "c"), "z": ((1, 3), "int8"),
    }  # fmt: skip
    head: Operator = (code, ["f"], ["boxes", "scores"], {})
    return file_of(tensors, [("FULLY_CONNECTED", ["x", "w"], ["f"], {}), head, *(after or [])], ["boxes", "scores"])


def test_the_head_of_a_detector_is_left_out_and_named(tmp_path: Path) -> None:
    path = tmp_path / "detector.tflite"
    path.write_bytes(detector_file(DETECTOR))
    model = read_tflite(path)
    assert [layer.name for layer in model.graph.layers] == ["f"]
    assert model.left_out == ("CUSTOM 'TFLite_Detection_PostProcess' (output 'boxes')",)
    # Another operator is an error, and so is a head with weights behind it.
    with pytest.raises(TfliteError, match=r"CUSTOM 'mine' \(output 'boxes'\) has 2 outputs"):
        graph_of(parse(detector_file("CUSTOM mine")))
    with pytest.raises(TfliteError, match=r"TFLite_Detection_PostProcess' .* has 2 outputs"):
        graph_of(parse(detector_file(DETECTOR, after=[("FULLY_CONNECTED", ["boxes", "v"], ["z"], {})])))


def test_vectors_at_several_positions_are_a_convolution() -> None:
    tensors = {"x": ((1, 5, 6), "int8"), "w": ((4, 6), "c"), "y": ((1, 5, 4), "int8")}
    graph = graph_of(parse(file_of(tensors, [("FULLY_CONNECTED", ["x", "w"], ["y"], {})], ["y"])))
    assert (graph.layers[0].kind, graph.macs) == ("conv2d", 5 * 24)


def test_a_shape_that_the_operator_does_not_give() -> None:
    data = bytearray(
        tflite_bytes(LayerGraph((6, 6, 2), (Conv2D(name="x", inputs=(INPUT,), out_channels=4, kernel=(3, 3)),)))
    )
    where = data.rindex((4).to_bytes(4, "little") + (1).to_bytes(4, "little") + (6).to_bytes(4, "little") * 2)
    data[where + 8] = 7
    with pytest.raises(TfliteError, match=r"has the shape \(7, 6, .*; its operator would give \(6, 6,|has the shape"):
        graph_of(parse(bytes(data)))


def read_quickly(data: bytes) -> None:
    """Read bytes: a graph or one of our errors, at once."""
    # Of this thread, whatever else the machine does.
    start = time.thread_time()
    with suppress(HardwareModelError, ArithmeticError):
        graph_of(parse(data))
    assert time.thread_time() - start < 2


SMALL = tflite_bytes(small_network())
MUTATIONS = st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=8)
WORDS = st.lists(
    st.tuples(st.integers(0, len(SMALL) // 4 - 1), st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200)
@given(changes=MUTATIONS)
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for position, value in changes:
        data[position] = value
    read_quickly(bytes(data))


@settings(max_examples=200)
@given(changes=WORDS)
def test_changed_words(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL)
    for word, value in changes:
        data[4 * word : 4 * word + 4] = value.to_bytes(4, "little")
    read_quickly(bytes(data))


@settings(max_examples=100)
@given(length=st.integers(0, len(SMALL) - 1), tail=st.binary(max_size=40))
def test_truncated_files(length: int, tail: bytes) -> None:
    read_quickly(SMALL[:length] + tail)


@settings(max_examples=200)
@given(data=st.binary(max_size=300))
def test_random_bytes_behind_the_identifier(data: bytes) -> None:
    read_quickly(data[:4].ljust(4, b"\0") + b"TFL3" + data[4:])


def test_a_file_that_lists_one_thing_a_million_times_costs_no_memory() -> None:
    # Every list of a damaged file may point at the same bytes: counts are capped before anything is followed.
    vector = (1_000_000).to_bytes(4, "little")
    data = bytearray(SMALL)
    for position in range(8, len(SMALL) - 4, 4):
        changed = bytearray(data)
        changed[position : position + 4] = vector
        read_quickly(bytes(changed) + bytes(4_000_000 if position % 256 == 8 else 0))
