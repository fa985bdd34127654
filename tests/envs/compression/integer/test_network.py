"""The integer network: bit by bit against the slow twin, and against float on real data."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from envs.compression.activation_widths import with_activation_bits
from envs.compression.float_network.interpreter import run_float
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.fixed_point import WIDE_MAX_SHIFT
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import average_pool, exact_dtype, max_pool, quantise_values
from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.compression.integer.network_file import field_dtypes, weight_shape
from envs.compression.integer.quantisation import quantise
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
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
    Reshape,
)
from tests.envs.compression.integer.reference_kernels import ReferenceNetwork
from tests.envs.compression.integer.test_quantisation import inputs
from tests.envs.networks import NETWORKS, build


def assert_equal_to_twin(network: QuantisedNetwork, x: torch.Tensor) -> None:
    found = IntegerInterpreter(network).run(x)
    for number, sample in enumerate(x.permute(0, 2, 3, 1).numpy()):
        for name, expected in ReferenceNetwork(network).run(sample).items():
            np.testing.assert_array_equal(found[name][number].permute(1, 2, 0).numpy(), expected, err_msg=name)


def random_int8(shape, count=2, seed=0):
    return torch.randint(
        -128, 128, (count, shape[2], shape[0], shape[1]), generator=torch.Generator().manual_seed(seed)
    ).to(torch.int8)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_every_tensor_of_every_network_equals_the_slow_twin(name, bits):
    module, shape = build(name)
    traced = trace(module, shape)
    network = quantise(
        module, traced, inputs(shape), weight_bits={layer.name: bits for layer in traced.graph.weight_layers}
    )
    assert_equal_to_twin(network, random_int8(shape))


def by_hand(graph: LayerGraph, seed: int = 0) -> QuantisedNetwork:
    """A network with random integers and scales for kinds and paddings that torch modules do not lead to."""
    rng = np.random.default_rng(seed)
    tensors = {
        name: TensorQuantisation(float(np.float32(rng.uniform(0.01, 0.1))), int(rng.integers(-128, 128)))
        if bits == 8
        else TensorQuantisation(float(np.float32(rng.uniform(4e-5, 4e-4))), 0)
        for name, bits in graph.bits.items()
    }
    weights = {}
    for layer in graph.weight_layers:
        channels = graph.shapes[layer.name][2]
        weights[layer.name] = QuantisedWeights(
            rng.integers(-127, 128, weight_shape(graph, layer)).astype(np.int8),
            (rng.integers(-5000, 5000, channels) * (256 if layer.output_bits == 16 else 1)).astype(
                field_dtypes(layer)["bias"]
            ),
            rng.uniform(0.001, 0.01, channels).astype(np.float32),
        )
    for layer in graph.layers:
        if layer.kind in ("average_pool2d", "max_pool2d", "reshape"):
            tensors[layer.name] = tensors[layer.inputs[0]]
    return QuantisedNetwork(graph, tensors, weights)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_every_tensor_of_networks_of_mixed_activation_widths_equals_the_slow_twin(name, seed):
    module, shape = build(name)
    traced = trace(module, shape)
    rng = np.random.default_rng(seed)
    narrowest = 16 if seed == 0 else 8
    widths = {layer.name: int(rng.choice([narrowest, 16])) for layer in traced.graph.weight_layers}
    graph = with_activation_bits(traced.graph, widths)
    network = quantise(module, replace(traced, graph=graph), inputs(shape))
    assert_equal_to_twin(network, random_int8(shape))


@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), (2, 2)), ((2, 4), (1, 1)), ((1, 5), (1, 2)), ((4, 2), (3, 1))])
@pytest.mark.parametrize("wide", [(), ("conv",), ("conv", "twin", "depthwise", "head")])
def test_every_layer_kind_window_and_activation_equals_the_slow_twin(kernel, stride, padding, activation, wide):
    window = {"kernel": kernel, "stride": stride, "padding": padding}
    graph = LayerGraph(
        (7, 12, 3),
        (
            Conv2D(name="conv", inputs=(INPUT,), out_channels=4, activation=activation, **window),
            Conv2D(name="twin", inputs=(INPUT,), out_channels=4, **window),
            Add(name="sum", inputs=("conv", "twin"), activation=activation),
            ActivationLayer(name="alone", inputs=("sum",), activation=activation),
            DepthwiseConv2D(name="depthwise", inputs=("alone",), kernel=(2, 2), activation=activation),
            AveragePool2D(name="average", inputs=("depthwise",), kernel=(2, 2), stride=(2, 1), padding=padding),
            MaxPool2D(name="maximum", inputs=("average",), kernel=(1, 2), stride=(1, 1), padding=padding),
            Reshape(name="flat", inputs=("maximum",)),
            Dense(name="head", inputs=("flat",), out_channels=5, activation=activation),
        ),
    )
    graph = with_activation_bits(graph, dict.fromkeys(wide, 16))
    for seed in range(1 if wide else 3):
        assert_equal_to_twin(by_hand(graph, seed), random_int8((7, 12, 3), seed=seed))


def test_the_largest_wide_accumulators_are_exact():
    # 600 * 127 * 2**15 > 2**31: neither float32 nor a sum in 32 bits would hold it.
    graph = LayerGraph((1, 1, 600), (Dense(name="d", inputs=(INPUT,), out_channels=2, output_bits=16),), 16)
    values = np.full((2, 600), 127, np.int8)
    values[1, 0] = 126
    weights = {"d": QuantisedWeights(values, np.array([2**45, 1], np.int64), np.ones(2, np.float32))}
    network = QuantisedNetwork(graph, {INPUT: TensorQuantisation(1.0, 0), "d": TensorQuantisation(2.0**31, 0)}, weights)
    found = (
        IntegerInterpreter(network).run_layer("d", torch.full((1, 600, 1, 1), -(2**15), dtype=torch.int16)).flatten()
    )
    total = 600 * 127 * 2**15
    assert found.tolist() == [(2**45 - total + 2**30) >> 31, (1 - total + 2**15 + 2**30) >> 31] == [16383, -1]


def test_a_multiplier_beyond_the_kernels_of_16_bits_is_refused():
    graph = LayerGraph((1, 1, 1), (Dense(name="d", inputs=(INPUT,), out_channels=1, output_bits=16),), 16)
    weights = {"d": QuantisedWeights(np.ones((1, 1), np.int8), np.zeros(1, np.int64), np.ones(1, np.float32))}
    for scale, fits in ((2.0**-7, False), (2.0**-6, True)):
        tensors = {INPUT: TensorQuantisation(1.0, 0), "d": TensorQuantisation(scale, 0)}
        network = QuantisedNetwork(graph, tensors, weights)
        if fits:
            assert network.multipliers("d")[1].tolist() == [WIDE_MAX_SHIFT]
        else:
            with pytest.raises(EnvError, match=r"layer 'd' multiplies its sums by up to 2\*\*8, .* at most 2\*\*7"):
                network.multipliers("d")


@pytest.mark.parametrize("name", NETWORKS)
def test_16_bit_activations_are_nearer_to_float_than_8_bit_ones(name):
    module, shape = build(name)
    traced = trace(module, shape)
    x = inputs(shape)
    # The last layer keeps its width: what it reads is converted back.
    graph = with_activation_bits(traced.graph, {layer.name: 16 for layer in traced.graph.weight_layers[:-1]})
    narrow, wide = (quantise(module, replace(traced, graph=found), x) for found in (traced.graph, graph))
    with torch.no_grad():
        exact = module(x)
    errors = [
        float((IntegerInterpreter(network).logits(x) - exact).square().mean().sqrt()) for network in (narrow, wide)
    ]
    # What is left is the rounding of the weights, of the input and of the output.
    assert errors[1] < errors[0] < 0.1 * float(exact.square().mean().sqrt())


def test_the_largest_accumulators_are_exact():
    # 600 * 127 * 255 > 2**24: float32 would lose the last bits.
    graph = LayerGraph((1, 1, 600), (Dense(name="d", inputs=(INPUT,), out_channels=2),))
    values = np.full((2, 600), 127, np.int8)
    values[1, 0] = 126
    weights = {"d": QuantisedWeights(values, np.zeros(2, np.int32), np.ones(2, np.float32))}
    tensors = {INPUT: TensorQuantisation(1.0, -128), "d": TensorQuantisation(2.0**18, 0)}
    assert exact_dtype(values) == torch.float64
    assert_equal_to_twin(QuantisedNetwork(graph, tensors, weights), torch.full((1, 600, 1, 1), 127, dtype=torch.int8))


def test_float32_is_used_only_below_two_to_the_24():
    assert exact_dtype(np.full((1, 518), 127, np.int8)) == torch.float32  # 518 * 127 * 255 = 16775430 < 16777216
    assert exact_dtype(np.full((1, 519), 127, np.int8)) == torch.float64  # 519 * 127 * 255 = 16807815


def test_average_pool_rounds_halves_away_from_zero():
    x = torch.tensor([[[[1, 2, -1, -2]]]], dtype=torch.int8)
    # means 1.5 and -1.5
    assert average_pool(x, (1, 2), (1, 2), "valid").flatten().tolist() == [2, -2]


def test_max_pool_ignores_the_border():
    x = torch.tensor([[[[-5, -7, -9]]]], dtype=torch.int8)
    assert max_pool(x, (1, 2), (1, 2), "same").flatten().tolist() == [-5, -9]


def test_inputs_are_rounded_half_away_from_zero_and_saturate():
    x = torch.tensor([0.5, 1.5, -0.5, -2.5, 1000.0, -1000.0, 0.0])
    assert quantise_values(x, TensorQuantisation(1.0, 0)).tolist() == [1, 2, -1, -3, 127, -128, 0]
    assert quantise_values(torch.tensor([0.0]), TensorQuantisation(0.1, -7)).tolist() == [-7]


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_close_to_float_and_batches_do_not_matter(name):
    module, shape = build(name)
    x = inputs(shape, 600)
    network = quantise(module, trace(module, shape), x[:256])
    logits, real = IntegerInterpreter(network).logits(x), module(x).detach()
    assert float((logits - real).abs().max()) < 0.06 * float(real.max() - real.min())
    assert logits[590:].equal(IntegerInterpreter(network).logits(x[590:]))


def test_predict_takes_the_first_of_equal_outputs_and_error_counts_the_wrong_ones():
    graph = LayerGraph((1, 1, 3), (Dense(name="d", inputs=(INPUT,), out_channels=3),))
    weights = QuantisedWeights(np.eye(3, dtype=np.int8), np.zeros(3, np.int32), np.ones(3, np.float32))
    network = QuantisedNetwork(
        graph, {INPUT: TensorQuantisation(1.0, 0), "d": TensorQuantisation(1.0, 0)}, {"d": weights}
    )
    x = torch.tensor([[1.0, 5.0, 5.0], [9.0, 0.0, 1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 3.0]])[:, :, None, None]
    assert IntegerInterpreter(network).predict(x).tolist() == [1, 0, 0, 2]
    assert error_of(network, LabelledSamples(x, torch.tensor([1, 0, 1, 2]))) == 0.25


def test_activation_ranges_by_hand():
    graph = LayerGraph(
        (1, 1, 1),
        (
            Dense(name="none", inputs=(INPUT,), out_channels=1),
            Dense(name="relu", inputs=("none",), out_channels=1, activation="relu"),
            Dense(name="relu6", inputs=("relu",), out_channels=1, activation="relu6"),
        ),
    )
    tensors = {name: TensorQuantisation(0.1, -20) for name in graph.shapes}
    network = QuantisedNetwork(graph, tensors, {})
    # 6 / 0.1 = 60 steps above the zero point
    assert [network.activation_range(name) for name in ("none", "relu", "relu6")] == [
        (-128, 127),
        (-20, 127),
        (-20, 40),
    ]


@pytest.mark.parametrize(
    "x", [torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 7, dtype=torch.int8), torch.zeros(1, 8, 8, dtype=torch.int8)]
)
def test_a_wrong_input_says_what_is_needed(x):
    module, shape = build("plain")
    network = quantise(module, trace(module, shape), inputs(shape))
    with pytest.raises(EnvError, match="the network needs int8, N x 1 x 8 x 8"):
        IntegerInterpreter(network).run(x)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x = torch.tensor(data.images / 8 - 1, dtype=torch.float32)[:, None]
    y = torch.tensor(data.target, dtype=torch.int64)
    return LabelledSamples(x[:1000], y[:1000]), LabelledSamples(x[1000:], y[1000:])


@pytest.mark.parametrize(
    "name", ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "depthwise", "flattening"))]
)
def test_on_digits_the_int8_error_is_within_two_points_of_float(name, digits):
    train, test = digits
    module, shape = build(name)
    generator = torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(module.parameters(), 5e-3)
    module.train()
    for _ in range(6):
        for batch in torch.randperm(len(train), generator=generator).split(64):
            output = module(train.x[batch])
            if name == "flattening":
                loss = torch.nn.functional.nll_loss(output.clamp(min=1e-9).log(), train.y[batch])
            else:
                loss = torch.nn.functional.cross_entropy(output, train.y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    module.eval()
    real = float((module(test.x).argmax(1) != test.y).double().mean())
    network = quantise(module, trace(module, shape), train.x[:256])
    assert real < 0.3
    assert abs(error_of(network, test) - real) < 0.02


def test_an_activation_without_integer_arithmetic_is_refused():
    graph = LayerGraph((1, 1, 2), (ActivationLayer(name="a", inputs=(INPUT,), activation="tanh"),))
    with pytest.raises(EnvError, match="the activation 'tanh' cannot be quantised; use relu, relu6, leaky_relu"):
        run_float(graph, {}, torch.zeros(1, 2, 1, 1))


def test_the_relu6_clamp_is_divided_in_float32_as_the_runtime_does():
    # 6 / scale lies below a half, but so near that float32 rounds the quotient to it.
    scale = next(
        scale
        for scale in (float(np.float32(6 / (index + 0.5))) for index in range(60, 250))
        if 6 / scale < np.floor(6 / scale) + 0.5 == float(np.float32(6) / np.float32(scale))
    )
    graph = LayerGraph((1, 1, 1), (ActivationLayer(name="a", inputs=(INPUT,), activation="relu6"),))
    quantisation = TensorQuantisation(scale, -128)
    network = QuantisedNetwork(graph, {INPUT: quantisation, "a": quantisation}, {})
    assert network.activation_range("a") == (-128, -128 + int(np.ceil(6 / scale)))


def test_one_layer_can_be_run_on_anybodys_inputs():
    module, shape = build("residual")
    network = quantise(module, trace(module, shape), inputs(shape))
    tensors = IntegerInterpreter(network).run(random_int8(shape))
    for layer in network.graph.layers:
        found = IntegerInterpreter(network).run_layer(layer.name, *(tensors[name] for name in layer.inputs))
        assert found.equal(tensors[layer.name])
