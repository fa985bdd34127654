"""The fast interpreter against the reference one: equal to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.compression.activation_widths import with_activation_bits
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import FastInterpreter, error_of
from envs.compression.integer.fixed_point import multiply
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import Addition
from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.compression.integer.quantisation import quantise
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, Add, Conv2D, LayerGraph
from tests.envs.networks import NETWORKS, build


def quantised(name: str, bits: int) -> tuple[QuantisedNetwork, tuple[int, int, int]]:
    module, shape = build(name)
    traced = trace(module, shape)
    x = torch.randn(32, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(0))
    return quantise(module, traced, x, weight_bits={layer.name: bits for layer in traced.graph.weight_layers}), shape


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_outputs_equal_the_reference_on_a_thousand_inputs_of_every_network(name: str, bits: int) -> None:
    network, (height, width, channels) = quantised(name, bits)
    x = 2 * torch.randn(1000, channels, height, width, generator=torch.Generator().manual_seed(1))
    assert torch.equal(FastInterpreter(network).logits(x), IntegerInterpreter(network).logits(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_with_16_bit_activations_are_left_to_the_reference(name: str) -> None:
    module, (height, width, channels) = build(name)
    traced = trace(module, (height, width, channels))
    wide = {layer.name: 16 for layer in traced.graph.weight_layers[::2]}
    x = torch.randn(64, channels, height, width, generator=torch.Generator().manual_seed(0))
    network = quantise(module, replace(traced, graph=with_activation_bits(traced.graph, wide)), x)
    assert torch.equal(FastInterpreter(network).logits(x), IntegerInterpreter(network).logits(x))


def test_the_error_is_that_of_the_reference_outputs() -> None:
    network, (height, width, channels) = quantised("residual", 4)
    x = torch.randn(300, channels, height, width, generator=torch.Generator().manual_seed(2))
    samples = LabelledSamples(x, torch.arange(300) % 10)
    assert error_of(network, samples) == samples.purpose.error(IntegerInterpreter(network).logits(x), x, samples.y)


def one_convolution(input_scale: float, weight_scales: np.ndarray, output_scale: float, seed: int) -> QuantisedNetwork:
    generator = np.random.default_rng(seed)
    channels = len(weight_scales)
    graph = LayerGraph((1, 64, 4), (Conv2D(name="conv", inputs=(INPUT,), out_channels=channels, kernel=(1, 1)),))
    weights = QuantisedWeights(
        generator.integers(-127, 128, (channels, 1, 1, 4)).astype(np.int8),
        generator.integers(-5000, 5000, channels).astype(np.int32),
        weight_scales.astype(np.float32),
    )
    tensors = {INPUT: TensorQuantisation(input_scale, 3), "conv": TensorQuantisation(output_scale, -20)}
    return QuantisedNetwork(graph, tensors, {"conv": weights})


@pytest.mark.parametrize("ratio", [0.9, 0.25, 2.0**-5, 0.004, 2.0**-11, 1e-6])
def test_every_multiplier_equals_the_reference(ratio: float) -> None:
    # A multiplier that is a power of two puts many products on a half exactly; a large one has a margin too wide.
    network = one_convolution(0.5, ratio * np.array([1.0, 0.5, 0.37, 0.99]), 0.5, seed=0)
    x = torch.randn(200, 4, 1, 64, generator=torch.Generator().manual_seed(3)) * 40
    assert torch.equal(FastInterpreter(network).logits(x), IntegerInterpreter(network).logits(x))


def test_a_half_is_rounded_as_the_reference_does_where_float32_would_not() -> None:
    # 2**-5 * (16, 48, -16, -48): round half to even would give 0, 2, 0, -2; the reference goes away from zero.
    mantissa, shift = torch.tensor(2**30), torch.tensor(-4)
    assert multiply(torch.tensor([16, 48, -16, -48]), mantissa, shift).tolist() == [1, 2, -1, -2]
    network = one_convolution(1.0, np.full(1, 2.0**-5), 1.0, seed=0)
    halves = QuantisedWeights(np.full((1, 1, 1, 4), 4, np.int8), np.zeros(1, np.int32), np.full(1, 2.0**-5, np.float32))
    network = QuantisedNetwork(network.graph, network.tensors, {"conv": halves})
    x = torch.tensor([1.0, 3.0, -1.0, -3.0]).reshape(4, 1, 1, 1).expand(4, 4, 1, 64)
    assert FastInterpreter(network).logits(x)[:, 0].tolist() == [1, 2, -1, -2]


@pytest.mark.parametrize("scales", [(0.1, 0.1, 0.2), (0.03, 0.11, 0.07), (1.0, 1e-4, 0.9), (0.5, 0.25, 0.5)])
def test_every_pair_of_summands_equals_the_reference(scales: tuple[float, float, float]) -> None:
    first, second, output = (TensorQuantisation(scale, zero) for scale, zero in zip(scales, (-128, 5, 17), strict=True))
    graph = LayerGraph(
        (1, 1, 1),
        (
            Conv2D(name="conv", inputs=(INPUT,), out_channels=1, kernel=(1, 1)),
            Add(name="add", inputs=(INPUT, "conv"), activation="relu"),
        ),
    )
    one = QuantisedWeights(np.ones((1, 1, 1, 1), np.int8), np.zeros(1, np.int32), np.ones(1, np.float32))
    network = QuantisedNetwork(graph, {INPUT: first, "conv": second, "add": output}, {"conv": one})
    values = torch.arange(-128, 128)
    pair = (values.repeat_interleave(256), values.repeat(256))
    kernel = FastInterpreter(network)._kernels["add"]
    centred = kernel(
        *(x.float().sub(q.zero_point).reshape(-1, 1, 1, 1) for x, q in zip(pair, (first, second), strict=True))
    )
    low, high = network.activation_range("add")
    expected = Addition(first, second, output, low, high)(*(x.to(torch.int8) for x in pair))
    assert torch.equal(centred.flatten() + output.zero_point, expected.float())
