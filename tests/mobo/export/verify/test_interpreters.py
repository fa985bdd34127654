"""The integer interpreter against the real ones: bit for bit in TFLM, and in LiteRT but for the roundings that are named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compression.activation_widths import with_activation_bits
from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from hw_models.graph.from_tflite import read_tflite
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    LayerGraph,
    MaxPool2D,
    Quantize,
    Reshape,
    Softmax,
)
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.tflite.runnable import RunnableTflite, read_runnable
from mobo.export.tflite.writer import tflite_bytes
from mobo.export.tools import INSTALL, LITERT, TFLM
from mobo.export.verify import litert, tflm
from mobo.export.verify.litert import KNOWN_DIFFERENCES, run_litert
from mobo.export.verify.tflite_checks import arena_rows, layer_differences
from mobo.export.verify.tflm import parsed_arena, run_tflm, tflm_tensors
from tests.envs.networks import NETWORKS
from tests.mobo.export.quantised_networks import by_hand, expected_tensors, family, random_inputs, random_weights

pytest.importorskip("tflite_micro", reason=INSTALL[TFLM])
pytest.importorskip("ai_edge_litert", reason=INSTALL[LITERT])


def file_of(network: QuantisedNetwork) -> RunnableTflite:
    return read_runnable(tflite_bytes(network, name="model", metadata={}))


def assert_bit_exact(network: QuantisedNetwork, samples: np.ndarray) -> None:
    file = file_of(network)
    expected = expected_tensors(network, samples)
    for name, values in tflm_tensors(file, samples).items():
        np.testing.assert_array_equal(values.reshape(expected[name].shape), expected[name], err_msg=f"TFLM {name}")
    for name, found in layer_differences(network, run_litert(file, samples)).items():
        allowed = 1 if network.graph.layer(name).kind in KNOWN_DIFFERENCES else 0
        assert found.max() <= allowed, f"LiteRT {name}"


@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 10_000))
@settings(max_examples=12)
def test_every_family_with_mixed_bits_is_bit_exact_on_random_inputs(name: str, seed: int) -> None:
    network = family(name, seed)
    assert_bit_exact(network, random_inputs(network, 4, seed))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [(4,), (8,)])
def test_every_family_with_one_width_is_bit_exact(name: str, bits: tuple[int, ...]) -> None:
    network = family(name, bits=bits)
    assert_bit_exact(network, random_inputs(network, 8))


@given(st.sampled_from(sorted(NETWORKS)), st.integers(0, 10_000))
@settings(max_examples=12)
def test_every_family_with_mixed_activation_widths_is_bit_exact_on_random_inputs(name: str, seed: int) -> None:
    widths = tuple(int(bits) for bits in np.random.default_rng(seed).choice([8, 16], 5))
    network = family(name, seed, activation_bits=widths)
    assert_bit_exact(network, random_inputs(network, 4, seed))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_with_16_bits_throughout_is_bit_exact_and_its_arena_the_predicted_one(
    name: str, tmp_path: Path
) -> None:
    network = family(name, activation_bits=(16,))
    samples = random_inputs(network, 8)
    assert_bit_exact(network, samples)
    file = file_of(network)
    outputs, arena = run_tflm(file, samples)
    assert outputs.dtype == (np.int8 if network.graph.layers[-1].kind == "softmax" else np.int16)
    (tmp_path / "model.tflite").write_bytes(file.data)
    graph = read_tflite(tmp_path / "model.tflite").graph
    assert [layer.kind for layer in graph.layers] == [layer.kind for layer in network.graph.layers]
    assert {graph.bits[name] for name in graph.shapes} == {8, 16}
    assert all(row.holds for row in arena_rows(graph, arena))


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((2, 4), (1, 1)), ((1, 5), (1, 2)), ((4, 2), (3, 1))])
@pytest.mark.parametrize(
    ("bits", "wide"), [(4, ()), (8, ()), (8, ("conv", "twin", "depthwise", "head")), (8, ("twin",))]
)
def test_every_layer_kind_window_and_activation_is_bit_exact(
    kernel: Any, stride: Any, padding: Any, activation: Any, bits: int, wide: tuple[str, ...]
) -> None:
    window = {"kernel": kernel, "stride": stride, "padding": padding, "weight_bits": bits}
    alone = activation if activation != "none" else "relu"
    graph = LayerGraph(
        (7, 12, 3),
        (
            Conv2D(name="conv", inputs=(INPUT,), out_channels=4, activation=activation, **window),
            Conv2D(name="twin", inputs=(INPUT,), out_channels=4, **window),
            Add(name="sum", inputs=("conv", "twin"), activation=activation),
            ActivationLayer(name="alone", inputs=("sum",), activation=alone),
            DepthwiseConv2D(
                name="depthwise", inputs=("alone",), kernel=(2, 2), activation=activation, weight_bits=bits
            ),
            AveragePool2D(name="average", inputs=("depthwise",), kernel=(2, 2), stride=(2, 1), padding=padding),
            MaxPool2D(name="maximum", inputs=("average",), kernel=(1, 2), stride=(1, 1), padding=padding),
            Reshape(name="flat", inputs=("maximum",)),
            Dense(name="head", inputs=("flat",), out_channels=5, activation=activation, weight_bits=bits),
            Softmax(name="softmax", inputs=("head",)),
        ),
    )
    graph = with_activation_bits(graph, dict.fromkeys(wide, 16))
    for seed in range(2):
        network = by_hand(graph, seed)
        assert_bit_exact(network, random_inputs(network, 2, seed))


def wide_layer(kind: str, rng: np.random.Generator) -> QuantisedNetwork:
    """Return one layer that reads int16, with scales under which its outputs spread over the range of its type."""
    window = {"inputs": (INPUT,), "kernel": (3, 2), "stride": (2, 1), "activation": "none"}
    pool = {"inputs": (INPUT,), "kernel": (3, 3), "stride": (2, 2), "padding": "same"}
    layer: Any = {
        "conv": lambda: Conv2D(name="out", out_channels=7, output_bits=16, **window),
        "depthwise": lambda: DepthwiseConv2D(name="out", output_bits=16, **window),
        "dense": lambda: Dense(name="out", inputs=(INPUT,), out_channels=7, output_bits=16),
        "average": lambda: AveragePool2D(name="out", output_bits=16, **pool),
        "maximum": lambda: MaxPool2D(name="out", output_bits=16, **pool),
        "add": lambda: Add(name="out", inputs=(INPUT, "second"), output_bits=16),
        "relu": lambda: ActivationLayer(name="out", inputs=(INPUT,), activation="relu", output_bits=16),
        "relu6": lambda: ActivationLayer(name="out", inputs=(INPUT,), activation="relu6", output_bits=16),
        "to_8": lambda: Quantize(name="out", inputs=(INPUT,), output_bits=8),
    }[kind]()
    # A second tensor of another scale to add.
    second = Quantize(name="second", inputs=(INPUT,), output_bits=16)
    graph = LayerGraph((1, 1, 60) if kind == "dense" else (6, 5, 4), (second, layer), 16)
    source = float(np.float32(rng.uniform(1e-4, 1e-3)))
    weights = random_weights(graph, rng)
    # The size of a sum of random products: the roots of the numbers' mean squares and of how many there are.
    column = sum(found.values.size // len(found.bias) for found in weights.values()) ** 0.5 * 73 * 0.005 or 1.0
    target = {"average": 1.0, "maximum": 1.0, "relu6": 1.0, "to_8": 256.0}.get(kind, column * rng.uniform(0.3, 3))
    tensors = {
        INPUT: TensorQuantisation(source, 0),
        "second": TensorQuantisation(float(np.float32(source * rng.uniform(0.2, 5))), 0),
        "out": TensorQuantisation(
            float(np.float32(source * target)), int(rng.integers(-20, 20)) if kind == "to_8" else 0
        ),
    }
    return QuantisedNetwork(graph, tensors, weights)


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense", "average", "maximum", "add", "relu", "relu6", "to_8"])
def test_every_layer_kind_is_bit_exact_on_random_int16_inputs(kind: str) -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        network = wide_layer(kind, rng)
        samples = rng.integers(-(2**15), 2**15, (8, *network.graph.input_shape)).astype(np.int16)
        file = file_of(network)
        assert len(np.unique(tflm_tensors(file, samples)["out"])) > 20
        for run, allowed in ((tflm_tensors, 0), (run_litert, 1 if kind in ("dense", "relu") else 0)):
            differences = layer_differences(network, run(file, samples))
            assert max(int(found.max()) for found in differences.values()) <= allowed, run


def big_bias(kind: str, seed: int) -> QuantisedNetwork:
    """Return one layer whose biases put the accumulators a few steps from where the output rounds up."""
    rng = np.random.default_rng(seed)
    count = 200
    source, weight = float(np.float32(rng.uniform(0.01, 0.1))), np.float32(rng.uniform(0.001, 0.01))
    target = float(np.float32(source * float(weight) * 2**29 / 100))
    halves = rng.integers(-100, 100, count) + 0.5
    bias = np.rint(halves * target / (source * float(weight)) + rng.integers(-40, 41, count))
    layer: Any = {
        "dense4": Dense(name="out", inputs=(INPUT,), out_channels=count, weight_bits=4),
        "dense8": Dense(name="out", inputs=(INPUT,), out_channels=count),
        "conv": Conv2D(name="out", inputs=(INPUT,), out_channels=count, kernel=(1, 1)),
        "depthwise": DepthwiseConv2D(name="out", inputs=(INPUT,), kernel=(1, 1)),
    }[kind]
    graph = LayerGraph((1, 1, count if kind == "depthwise" else 1), (layer,))
    shape = {"conv": (count, 1, 1, 1), "depthwise": (1, 1, 1, count)}.get(kind, (count, 1))
    weights = QuantisedWeights(
        np.ones(shape, np.int8),
        bias.astype(np.int32),
        np.full(1 if kind == "dense4" else count, weight, np.float32),
    )
    tensors = {INPUT: TensorQuantisation(source, 0), "out": TensorQuantisation(target, 0)}
    return QuantisedNetwork(graph, tensors, {"out": weights})


@pytest.mark.parametrize("kind", ["dense4", "dense8", "conv", "depthwise"])
def test_accumulators_near_a_half_are_rounded_as_tflm_does(kind: str) -> None:
    for seed in range(5):
        network = big_bias(kind, seed)
        assert_bit_exact(network, np.zeros((1, *network.graph.input_shape), np.int8))


def test_the_relu6_clamp_is_divided_in_float32() -> None:
    # 6 / 0.027210884... is 220.5 - 5e-6: a half in float32, and just below it in float64.
    candidates = [float(np.float32(6 / (index + 0.5))) for index in range(60, 250)]
    scales = [
        scale
        for scale in candidates
        if np.floor(6 / scale + 0.5) != np.floor(float(np.float32(6) / np.float32(scale)) + 0.5)
    ]
    assert scales
    for scale in scales:
        quantisation = TensorQuantisation(scale, -128)
        graph = LayerGraph((1, 256, 1), (ActivationLayer(name="a", inputs=(INPUT,), activation="relu6"),))
        network = QuantisedNetwork(graph, {INPUT: quantisation, "a": quantisation}, {})
        assert_bit_exact(network, np.arange(-128, 128, dtype=np.int8).reshape(1, 1, 256, 1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_arena_is_the_predicted_one(name: str, tmp_path: Path) -> None:
    for bits in ((8,), (4,), (4, 8)):
        network = family(name, bits=bits)
        file = file_of(network)
        outputs, arena = run_tflm(file, random_inputs(network, 2))
        assert outputs.shape == (2, network.graph.shapes[network.graph.output][2])
        (tmp_path / "model.tflite").write_bytes(file.data)
        rows = arena_rows(read_tflite(tmp_path / "model.tflite").graph, arena)
        assert rows[0].predicted == rows[0].measured
        assert all(row.holds for row in rows)


@pytest.mark.parametrize("run", [run_litert, run_tflm, tflm_tensors])
def test_samples_of_another_shape_or_type_are_refused(run: Any) -> None:
    file = file_of(family("plain"))
    with pytest.raises(
        ExportError, match=r"samples are int8 of shape \(2, 7, 8, 1\); the model reads int8, \(N, 8, 8, 1\)"
    ):
        run(file, np.zeros((2, 7, 8, 1), np.int8))
    with pytest.raises(ExportError, match="samples are float32"):
        run(file, np.zeros((2, 8, 8, 1), np.float32))


def test_a_refusal_of_tflm_comes_with_its_reason() -> None:
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    import flatbuffers

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(file_of(family("plain")).data, 0))
    tensors = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors}
    tensors["0.0"].type = schema.TensorType.FLOAT32
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    file = read_runnable(bytes(builder.Output()))
    with pytest.raises(ExportError, match=r"TFLM refuses the model: .*[a-z]{4}"):
        run_tflm(file, np.zeros((1, 8, 8, 1), np.int8))
    with pytest.raises(ExportError, match="LiteRT refuses the model: "):
        run_litert(file, np.zeros((1, 8, 8, 1), np.int8))


@pytest.mark.parametrize(
    ("run", "module", "package"),
    [
        (run_litert, "ai_edge_litert.interpreter", LITERT),
        (run_tflm, "tflite_micro.python.tflite_micro.runtime", TFLM),
    ],
)
def test_a_missing_interpreter_is_named(monkeypatch: pytest.MonkeyPatch, run: Any, module: str, package: str) -> None:
    file = file_of(family("plain"))
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingToolError, match=f"{package} is missing; install it with: pip install"):
        run(file, np.zeros((1, 8, 8, 1), np.int8))


def test_an_arena_that_is_not_reported_is_an_error() -> None:
    with pytest.raises(ExportError, match="did not report its arena; it wrote 'nothing'"):
        parsed_arena("nothing")


def test_nothing_is_written_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    network = family("plain")
    samples = random_inputs(network, 1)
    litert.run_litert(file_of(network), samples)
    tflm.run_tflm(file_of(network), samples)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
