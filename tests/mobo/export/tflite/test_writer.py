import importlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from envs.compression.integer.network_file import network_from_bytes, network_to_bytes
from hw_models.decoding import decoding
from hw_models.flash import flash_model_bytes
from hw_models.graph.from_tflite import graph_of
from hw_models.graph.layer_graph import INPUT, ActivationLayer, AveragePool2D, Dense, LayerGraph, Softmax, WeightLayer
from hw_models.graph.tflite_tables import TfliteError, parse
from hw_models.memory.arena_plan import plan_interpreter
from hw_models.memory.arena_structures import load_structures
from hw_models.runtime import load_runtime
from mobo.export import tools
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.tflite import decode
from mobo.export.tflite.runnable import read_runnable
from mobo.export.tflite.writer import METADATA, packed_int4, tflite_bytes
from mobo.export.verify.tflm import run_tflm, tflm_arena
from tests.envs.networks import NETWORKS
from tests.mobo.export.c.projects import vectors
from tests.mobo.export.quantised_networks import by_hand, family, stored_network

schema = pytest.importorskip(tools._SCHEMAS[tools.TFLM], reason=tools.INSTALL[tools.TFLM])


def written(network: QuantisedNetwork) -> bytes:
    return tflite_bytes(network, name="model", metadata={"run": "r", "trial": 3})


def model_of(data: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))


@given(st.lists(st.integers(-7, 7), min_size=1, max_size=9))
def test_four_bit_integers_lie_two_to_a_byte_low_half_first(values: list[int]) -> None:
    packed = packed_int4(np.array(values, np.int8))
    assert len(packed) == math.ceil(len(values) / 2)
    nibbles = [half for byte in packed.tolist() for half in (byte & 15, byte >> 4)]
    assert [nibble - 16 if nibble > 7 else nibble for nibble in nibbles][: len(values)] == values


@given(st.lists(st.integers(-15, 15), min_size=1, max_size=40), st.sampled_from([5, 6]))
def test_indices_lie_behind_one_another_the_highest_bit_first(values: list[int], bits: int) -> None:
    data, limit = decode.encoded(np.array(values, np.int8), bits), 2 ** (bits - 1) - 1
    assert len(data) == math.ceil(bits * len(values) / 8)
    whole = int.from_bytes(data, "big") >> (8 * len(data) - bits * len(values))
    indices = [whole >> bits * place & 2**bits - 1 for place in reversed(range(len(values)))]
    table = np.frombuffer(decode.ancillary(bits)[16:], np.int8)
    assert len(table) == 2**bits
    assert table[indices].tolist() == values == [index - limit for index in indices]


@pytest.mark.parametrize("bits", [2, 3, 5, 6])
def test_tflm_decodes_what_a_stored_width_packs(bits: int) -> None:
    network = stored_network("residual", bits)
    inputs, expected = vectors(network, 3)
    plain, packed = (tflite_bytes(network, name="m", metadata={}, decodes=decodes) for decodes in (False, True))
    file = read_runnable(packed)
    shapes = network.graph.shapes
    paying = [
        layer
        for layer in network.graph.weight_layers
        if decoding(layer, network.graph.input_shapes(layer), shapes[layer.name]) is not None
    ]
    assert file.operators.count("CUSTOM") == len(paying) >= 1
    assert [file.operators[place + 1] for place, code in enumerate(file.operators) if code == "CUSTOM"] == [
        "CONV_2D"
    ] * len(paying)
    assert len(packed) < len(plain)
    kept = {layer.name: layer.stored_bits if layer in paying else None for layer in network.graph.weight_layers}
    read = graph_of(parse(packed))
    assert [layer.stored_bits for layer in read.weight_layers] == list(kept.values())
    assert [replace(layer, stored_bits=None) for layer in read.layers if isinstance(layer, WeightLayer)] == list(
        graph_of(parse(plain)).weight_layers
    )
    outputs, arena = run_tflm(file, inputs)
    assert np.array_equal(outputs, expected)
    assert arena.planned_bytes > run_tflm(read_runnable(plain), inputs)[1].planned_bytes


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [2, 5])
def test_arena_and_file_with_decoded_weights_are_foretold(name: str, bits: int) -> None:
    """The first layer, too, has a stored width: where it is large enough its decoding comes first of all."""
    network = stored_network(name, bits, first=True)
    plain, packed = (tflite_bytes(network, name="m", metadata={}, decodes=decodes) for decodes in (False, True))
    arena = tflm_arena(read_runnable(packed))
    predicted = plan_interpreter(network.graph, load_structures("tflm-reference-64bit"), decodes=True)
    assert (predicted.planned_bytes, predicted.persistent_bytes) == (arena.planned_bytes, arena.persistent_bytes)
    shorter = flash_model_bytes(network.graph, load_runtime("tflm-cmsis-nn")) - flash_model_bytes(
        network.graph, load_runtime("tflm-decode")
    )
    operators = read_runnable(packed).operators.count("CUSTOM")
    assert shorter == pytest.approx(len(plain) - len(packed), abs=40 * operators)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 1, r"unpacks in a way that has no cost model \(kind 1, version 1\)"),
        (4, 2, r"\(kind 0, version 2\); lookup tables"),
        (5, 0xF3, r"makes 2304 int8 weights of 576 bytes with 3 bits each"),
    ],
)
def test_weights_that_are_packed_in_another_way_are_refused(place: int, value: int, message: str) -> None:
    packed = bytearray(tflite_bytes(stored_network("residual", 2), name="m", metadata={}, decodes=True))
    packed[packed.index(decode.ancillary(2)) + place] = value
    with pytest.raises(TfliteError, match=message):
        graph_of(parse(bytes(packed)))


def test_where_packing_saves_nothing_the_file_is_the_plain_one() -> None:
    small = stored_network("depthwise", 2)
    assert tflite_bytes(small, name="m", metadata={}, decodes=True) == tflite_bytes(small, name="m", metadata={})


@pytest.mark.parametrize("name", NETWORKS)
def test_one_operator_per_layer_and_nothing_else(name: str) -> None:
    network = family(name)
    codes = {
        "conv2d": "CONV_2D",
        "depthwise_conv2d": "DEPTHWISE_CONV_2D",
        "dense": "FULLY_CONNECTED",
        "average_pool2d": "AVERAGE_POOL_2D",
        "max_pool2d": "MAX_POOL_2D",
        "add": "ADD",
        "reshape": "RESHAPE",
        "softmax": "SOFTMAX",
    }
    assert read_runnable(written(network)).operators == tuple(codes[layer.kind] for layer in network.graph.layers)


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_and_scales_in_the_file_are_the_networks(name: str) -> None:
    network = family(name)
    model = model_of(written(network))
    (graph,) = model.subgraphs
    tensors = {tensor.name.decode(): tensor for tensor in graph.tensors}
    assert list(tensors[INPUT].shape) == [1, *network.graph.input_shape]
    for tensor_name, quantisation in network.tensors.items():
        found = tensors[tensor_name].quantization
        assert (found.scale.tolist(), found.zeroPoint.tolist()) == ([quantisation.scale], [quantisation.zero_point])
    for layer in network.graph.weight_layers:
        weights, stored = network.weights[layer.name], tensors[f"{layer.name}/weights"]
        data = bytes(model.buffers[stored.buffer].data)
        is_int4 = layer.weight_bits == 4
        assert stored.type == (schema.TensorType.INT4 if is_int4 else schema.TensorType.INT8)
        assert data == (packed_int4(weights.values) if is_int4 else weights.values).tobytes()
        assert stored.quantization.scale.tolist() == weights.scales.tolist()
        assert stored.quantization.quantizedDimension == (3 if layer.kind == "depthwise_conv2d" else 0)
        bias = tensors[f"{layer.name}/bias"]
        assert np.frombuffer(bytes(model.buffers[bias.buffer].data), "<i4").tolist() == weights.bias.tolist()
        assert bias.type == schema.TensorType.INT32
        np.testing.assert_allclose(
            bias.quantization.scale, network.tensors[layer.inputs[0]].scale * weights.scales, rtol=1e-6
        )


def test_operator_versions_are_those_both_runtimes_register() -> None:
    versions = {
        (bits, code.builtinCode): code.version
        for bits in (4, 8)
        for code in model_of(written(family("depthwise", bits=(bits,)))).operatorCodes
    }
    kinds = schema.BuiltinOperator
    assert versions[8, kinds.CONV_2D] == 3
    assert versions[4, kinds.CONV_2D] == 7
    assert versions[8, kinds.DEPTHWISE_CONV_2D] == 3
    assert versions[4, kinds.DEPTHWISE_CONV_2D] == 6
    assert versions[8, kinds.FULLY_CONNECTED] == 4
    assert versions[4, kinds.FULLY_CONNECTED] == 10


def test_every_constant_starts_at_a_multiple_of_16_bytes() -> None:
    data = written(family("depthwise"))
    root = schema.Model.GetRootAsModel(data, 0)
    starts = []
    for index in range(root.BuffersLength()):
        buffer = root.Buffers(index)
        if not buffer.DataIsNone():
            starts.append(buffer._tab.Vector(buffer._tab.Offset(4)))
    assert len(starts) > 10
    assert {start % 16 for start in starts} == {0}


def test_the_file_says_where_it_comes_from() -> None:
    model = model_of(written(family("plain")))
    (entry,) = model.metadata
    assert entry.name.decode() == METADATA
    assert json.loads(bytes(model.buffers[entry.buffer].data)) == {"run": "r", "trial": 3}
    assert model.description == b"model"


def test_equal_networks_give_equal_files_with_either_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(tools._SCHEMAS[tools.LITERT], reason=tools.INSTALL[tools.LITERT])
    first = written(family("residual"))
    monkeypatch.setattr(tools, "_SCHEMAS", {tools.LITERT: tools._SCHEMAS[tools.LITERT]})
    assert written(network_from_bytes(network_to_bytes(family("residual")))) == first


def test_a_missing_schema_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(tools, "import_module", missing)
    with pytest.raises(MissingToolError, match="install it with: pip install tflite-micro=="):
        written(family("plain"))


def dense_of(bits: int) -> QuantisedNetwork:
    return by_hand(LayerGraph((1, 1, 4), (Dense(name="d", inputs=(INPUT,), out_channels=3, weight_bits=bits),)))


def changed_tensor(network: QuantisedNetwork, name: str, scale: float) -> QuantisedNetwork:
    tensors = dict(network.tensors) | {name: TensorQuantisation(scale, 0)}
    return QuantisedNetwork(network.graph, tensors, network.weights)


def int4_dense_per_channel() -> QuantisedNetwork:
    network = dense_of(4)
    weights = replace(network.weights["d"], scales=np.full(3, 0.1, np.float32))
    return QuantisedNetwork(network.graph, network.tensors, {"d": weights})


def int4_weight_of_eight() -> QuantisedNetwork:
    network = dense_of(4)
    values = network.weights["d"].values.copy()
    values[1, 1] = -8
    return QuantisedNetwork(network.graph, network.tensors, {"d": replace(network.weights["d"], values=values)})


def sixteen_bits(**dense: Any) -> QuantisedNetwork:
    graph = LayerGraph((1, 1, 4), (Dense(name="d", inputs=(INPUT,), out_channels=3, output_bits=16, **dense),), 16)
    return by_hand(graph)


def no_conversion() -> QuantisedNetwork:
    return by_hand(LayerGraph((1, 1, 4), (Dense(name="d", inputs=(INPUT,), out_channels=3, output_bits=16),)))


def int16_zero_point() -> QuantisedNetwork:
    network = sixteen_bits()
    tensors = dict(network.tensors) | {"d": TensorQuantisation(0.5, 3)}
    return QuantisedNetwork(network.graph, tensors, network.weights)


def float_tensor() -> QuantisedNetwork:
    network = dense_of(8)
    return QuantisedNetwork(replace(network.graph, input_bits=32), network.tensors, network.weights)


def wide_softmax() -> QuantisedNetwork:
    return changed_tensor(
        by_hand(LayerGraph((1, 1, 3), (Softmax(name="s", inputs=(INPUT,), output_bits=16),), 16)), "s", 2.0**-15
    )


def pooling() -> QuantisedNetwork:
    return by_hand(LayerGraph((2, 2, 1), (AveragePool2D(name="p", inputs=(INPUT,), kernel=(2, 2), stride=(2, 2)),)))


def activation(kind: Any) -> QuantisedNetwork:
    return by_hand(LayerGraph((2, 2, 1), (ActivationLayer(name="a", inputs=(INPUT,), activation=kind),)))


def softmax() -> QuantisedNetwork:
    return by_hand(LayerGraph((1, 1, 3), (Softmax(name="s", inputs=(INPUT,)),)))


REFUSED: list[tuple[Callable[[], QuantisedNetwork], str]] = [
    (int4_dense_per_channel, "4-bit dense layer 'd' has 3 scales; TFLM refuses more than one"),
    (int4_weight_of_eight, "layer 'd' holds the weight 8; 4-bit weights lie in -7..7"),
    (float_tensor, "tensor 'input' has 32 bits; only int8 and int16 activations can be exported"),
    (no_conversion, "layer 'd' reads 8 bits and writes 16; TFLM .* needs a QUANTIZE between them"),
    (int16_zero_point, "the int16 tensor 'd' has the zero point 3; TFLM knows none but 0"),
    (lambda: sixteen_bits(weight_bits=4), "layer 'd' has 4-bit weights and 16-bit activations; TFLM has no kernel"),
    (wide_softmax, "softmax 's' writes 16 bits with .*; it can be exported with 8 bits"),
    (lambda: changed_tensor(pooling(), "p", 0.5), "layer 'p' .* TFLM does not rescale there"),
    (lambda: changed_tensor(activation("relu6"), "a", 0.5), "layer 'a' .* TFLM does not rescale there"),
    (lambda: activation("none"), "layer 'a' is an activation that does nothing"),
    (lambda: changed_tensor(softmax(), "s", 0.5), "softmax 's' writes 8 bits with .*scale=0.5"),
    (lambda: changed_tensor(dense_of(8), "d", 0.1), "scale 0.1 of tensor 'd' is not a float32"),
]


@pytest.mark.parametrize(("network", "message"), REFUSED)
def test_what_tflm_refuses_is_never_written(network: Callable[[], QuantisedNetwork], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        written(network())


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_off_anywhere_is_refused(share: float) -> None:
    data = written(family("depthwise"))
    with pytest.raises(ExportError, match="export the model again"):
        read_runnable(data[: int(share * len(data))])


def test_other_bytes_are_refused() -> None:
    with pytest.raises(ExportError, match="no tflite file"):
        read_runnable(b"\x7fELF" + bytes(100))
    with pytest.raises(ExportError, match="cut off or damaged"):
        read_runnable(b"\xff\xff\xff\x7fTFL3" + bytes(100))


def test_the_install_commands_agree_with_the_extra() -> None:
    import tomllib
    from pathlib import Path

    root = Path(tools.__file__).parents[2]
    extras = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in tools.INSTALL.values():
        assert command.removeprefix("pip install ").strip("'") in extras["board"] + extras["export"] + extras["onnx"]
    assert importlib.util.find_spec("mobo.export.tools")
