from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.float_network.folding import FoldedLayer, fold
from envs.compression.float_network.interpreter import weighted_sums
from envs.compression.integer.activation_ranges import quantisation_of_range
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.quantisation import quantise, quantise_folded, quantise_weights
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, Conv2D, Dense, DepthwiseConv2D, GraphError, Pool2D, Reshape, Softmax
from tests.envs.networks import NETWORKS, build

CONV = Conv2D(name="c", inputs=("input",), out_channels=2, kernel=(1, 1))


def inputs(shape, count=64, seed=0):
    return torch.randn(count, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("low", "high", "scale", "zero_point"),
    [
        (0.0, 255.0, 1.0, -128),
        (-127.5, 127.5, 1.0, 0),  # -128 + 127.5 = -0.5, rounded up
        (-1.0, 0.0, 1 / 255, 127),
        (3.0, 5.1, 0.02, -128),  # the range is widened to zero
        (0.0, 0.0, 1.0, 0),
    ],
)
def test_ranges_by_hand(low, high, scale, zero_point):
    found = quantisation_of_range(low, high)
    assert found.scale == pytest.approx(scale, rel=1e-6)
    assert found.zero_point == zero_point


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_a_range_is_covered_to_half_a_step_and_holds_zero(one, other):
    low, high = sorted((one, other))
    found = quantisation_of_range(low, high)
    assert -128 <= found.zero_point <= 127
    assert found.scale == float(np.float32(found.scale))
    assert found.scale * (-128 - found.zero_point) <= min(low, 0) + 0.51 * found.scale
    assert found.scale * (127 - found.zero_point) >= max(high, 0) - 0.51 * found.scale


def test_weights_by_hand():
    weight = torch.tensor([[1.27, -0.5], [0.0, -2.54]]).reshape(2, 2, 1, 1)
    found = quantise_weights(CONV, FoldedLayer(weight, torch.tensor([0.3, -1.0])), input_scale=0.5)
    np.testing.assert_allclose(found.scales, [0.01, 0.02], rtol=1e-6)
    assert found.values.reshape(2, 2).tolist() == [[127, -50], [0, -127]]
    # 0.3 / (0.5 * 0.01) = 60 and -1 / (0.5 * 0.02) = -100
    assert found.bias.tolist() == [60, -100]


def test_four_bit_weights_use_seven_steps_each_side():
    layer = Conv2D(name="c", inputs=("input",), out_channels=2, kernel=(1, 1), weight_bits=4)
    weight = torch.tensor([[0.7, -0.26], [-1.4, 0.3]]).reshape(2, 2, 1, 1)
    found = quantise_weights(layer, FoldedLayer(weight, torch.zeros(2)), input_scale=1.0)
    np.testing.assert_allclose(found.scales, [0.1, 0.2], rtol=1e-6)
    assert found.values.reshape(2, 2).tolist() == [[7, -3], [-7, 2]]  # 0.3 / 0.2 = 1.5, to the even 2


def test_four_bit_dense_layers_have_one_scale_and_eight_bit_ones_one_per_channel():
    folded = FoldedLayer(torch.tensor([[0.61, 0.0], [1.4, 0.4]]), torch.tensor([0.2, 0.4]))
    four = quantise_weights(Dense(name="d", inputs=("x",), out_channels=2, weight_bits=4), folded, input_scale=1.0)
    eight = quantise_weights(Dense(name="d", inputs=("x",), out_channels=2), folded, input_scale=1.0)
    np.testing.assert_allclose(four.scales, [0.2], rtol=1e-6)
    assert four.values.tolist() == [[3, 0], [7, 2]]
    assert four.bias.tolist() == [1, 2]
    assert eight.scales.shape == (2,)


def test_layouts_are_those_of_tflite():
    conv = Conv2D(name="c", inputs=("x",), out_channels=2, kernel=(3, 5))
    depthwise = DepthwiseConv2D(name="d", inputs=("x",), kernel=(3, 5))
    weight = torch.randn(2, 4, 3, 5)
    found = quantise_weights(conv, FoldedLayer(weight, torch.zeros(2)), 1.0)
    assert found.values.shape == (2, 3, 5, 4)
    assert found.values[1, 2, 3, 0] == round(float(weight[1, 0, 2, 3]) / float(found.scales[1]))
    weight = torch.randn(4, 1, 3, 5)
    found = quantise_weights(depthwise, FoldedLayer(weight, torch.zeros(4)), 1.0)
    assert found.values.shape == (1, 3, 5, 4)
    assert found.values[0, 2, 3, 1] == round(float(weight[1, 0, 2, 3]) / float(found.scales[1]))


@pytest.mark.parametrize("weights", [[0.0, 0.0], [0.0, 1e-3]])
def test_a_dead_channel_keeps_its_bias(weights):
    bias = torch.tensor([0.731, -0.2])
    found = quantise_weights(CONV, FoldedLayer(torch.tensor(weights).reshape(2, 1, 1, 1), bias), input_scale=0.01)
    assert found.values[0].item() == 0
    np.testing.assert_allclose(found.bias * 0.01 * found.scales, bias, atol=1e-4)


def test_a_bias_beyond_32_bits_makes_the_scale_coarser():
    weight = torch.tensor([1e-12, 1.0]).reshape(2, 1, 1, 1)
    found = quantise_weights(CONV, FoldedLayer(weight, torch.tensor([5.0, 5.0])), input_scale=0.01)
    assert np.abs(found.bias.astype(np.int64)).max() <= 2**30 + 2**10
    np.testing.assert_allclose(found.bias * 0.01 * found.scales.astype(float), [5.0, 5.0], rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_pooling_and_reshape_share_scales_and_softmax_has_a_fixed_one(name):
    module, shape = build(name)
    network = quantise(module, trace(module, shape), inputs(shape))
    for layer in network.graph.layers:
        if isinstance(layer, Pool2D | Reshape):
            assert network.tensors[layer.name] == network.tensors[layer.inputs[0]]
        if isinstance(layer, Softmax):
            assert (network.tensors[layer.name].scale, network.tensors[layer.name].zero_point) == (1 / 256, -128)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_integers_keep_to_their_ranges(name, bits):
    module, shape = build(name)
    traced = trace(module, shape)
    asked = {layer.name: bits for layer in traced.graph.weight_layers}
    network = quantise(module, traced, inputs(shape), weight_bits=asked)
    limit = {4: 7, 8: 127}[bits]
    for layer in network.graph.weight_layers:
        found = network.weights[layer.name]
        assert layer.weight_bits == bits
        assert int(np.abs(found.values.astype(int)).max()) == limit
        assert (found.values.dtype, found.bias.dtype, found.scales.dtype) == (np.int8, np.int32, np.float32)


def test_a_network_of_zeros_can_be_quantised_and_answers_its_bias():
    module, shape = build("residual")
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    module.head.bias.data[3] = 0.5
    network = quantise(module, trace(module, shape), inputs(shape))
    logits = IntegerInterpreter(network).logits(inputs(shape, 4))
    np.testing.assert_allclose(logits, np.tile(np.eye(10)[3] * 0.5, (4, 1)), atol=0.01)


def test_constant_inputs_can_be_quantised():
    module, shape = build("plain")
    x = torch.full((8, 1, 8, 8), 2.5)
    network = quantise(module, trace(module, shape), x)
    torch.testing.assert_close(IntegerInterpreter(network).logits(x), module(x).detach(), rtol=0, atol=0.05)


def test_a_tensor_that_is_not_finite_is_named():
    module, shape = build("plain")
    module.get_submodule("1.1").bias.data[0] = 3e38
    module.get_submodule("2.0").weight.data[:] = 1e3
    with pytest.raises(EnvError, match=r"tensor '2\.0' is not finite on the calibration samples"):
        quantise(module, trace(module, shape), inputs(shape))


def test_bits_of_an_unknown_layer_are_refused():
    module, shape = build("plain")
    with pytest.raises(GraphError, match="unknown layer 'nope'"):
        quantise(module, trace(module, shape), inputs(shape), weight_bits={"nope": 4})


def test_unknown_widths_are_refused():
    module, shape = build("plain")
    with pytest.raises(EnvError, match=r"layer '0\.0' has 2-bit weights; allowed is 4 or 8"):
        quantise(module, trace(module, shape), inputs(shape), weight_bits={"0.0": 2})


def test_the_input_scale_comes_from_the_calibration():
    module, shape = build("plain")
    x = inputs(shape).clamp(-1, 3)
    network = quantise(module, trace(module, shape), x)
    assert network.tensors[INPUT].scale == pytest.approx(float(x.max() - x.min()) / 255, rel=1e-6)


def test_a_relu6_of_its_own_keeps_its_inputs_scale_and_a_relu_does_not():
    # TFLM's RELU6 only clamps, its RELU rescales.
    class Branching(torch.nn.Module):
        def __init__(self, activation: torch.nn.Module) -> None:
            super().__init__()
            self.pool, self.activation = torch.nn.AvgPool2d(2), activation

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.activation(self.pool(x))

    for activation, is_same in ((torch.nn.ReLU6(), True), (torch.nn.ReLU(), False)):
        module = Branching(activation).eval()
        traced = trace(module, (4, 4, 1))
        network = quantise(module, traced, inputs((4, 4, 1)))
        assert [layer.kind for layer in traced.graph.layers] == ["average_pool2d", "activation"]
        assert (network.tensors[traced.graph.output] == network.tensors["pool"]) is is_same


@pytest.mark.parametrize("name", NETWORKS)
def test_corrected_biases_make_up_for_the_mean_change_by_rounding(name):
    module, shape = build(name)
    traced, x = trace(module, shape), inputs(shape) + 0.5
    bits = {layer.name: 4 for layer in traced.graph.weight_layers}
    plain, corrected = (
        quantise(module, traced, x, weight_bits=bits, bias_correction=chosen) for chosen in (False, True)
    )
    first = traced.graph.weight_layers[0]
    exact = weighted_sums(first, x, fold(module, traced)[first.name]).mean(dim=(0, 2, 3))
    gaps = []
    for network in (plain, corrected):
        found, source = network.weights[first.name], network.tensors[INPUT].scale
        # All networks begin with a convolution: O x kh x kw x I.
        weight = torch.from_numpy(found.values.transpose(0, 3, 1, 2) * found.scales.reshape(-1, 1, 1, 1))
        bias = torch.from_numpy((found.bias * found.scales * source).astype(np.float32))
        sums = weighted_sums(first, x, FoldedLayer(weight, bias)).mean(dim=(0, 2, 3))
        gaps.append((sums - exact).abs())
        assert np.array_equal(found.values, plain.weights[first.name].values)
    # What is left is the rounding of the bias itself.
    assert float(gaps[1].max()) <= 0.51 * float(found.scales.max() * source)
    assert float(gaps[0].max()) > 3 * float(gaps[1].max())


def test_corrected_networks_answer_more_like_the_float_one():
    module, shape = build("residual")
    traced, x = trace(module, shape), inputs(shape) + 0.5
    bits = {layer.name: 4 for layer in traced.graph.weight_layers}
    with torch.no_grad():
        wanted = module(x).mean(dim=0)
    gaps = []
    for chosen in (False, True):
        network = quantise(module, traced, x, weight_bits=bits, bias_correction=chosen)
        gaps.append(float((IntegerInterpreter(network).logits(x).mean(dim=0) - wanted).abs().sum()))
    assert gaps[1] < gaps[0]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"0.1": 2}, r"unknown layer with weights '0\.1'; did you mean '0\.0'"),
        ({"0.0": 4}, r"layer '0\.0' has 4 stored bits; allowed is one of 2, 3, 5, 6"),
    ],
)
def test_stored_widths_that_cannot_be_are_refused(stored, message):
    module, shape = build("plain")
    with pytest.raises(EnvError, match=message):
        quantise(module, trace(module, shape), inputs(shape), stored_bits=stored)


def test_given_scales_of_tensors_and_weights_are_taken_as_they_are():
    module, shape = build("plain")
    traced = trace(module, shape)
    network = quantise(module, traced, inputs(shape))
    tensors = {name: replace(tensor, scale=2 * tensor.scale) for name, tensor in network.tensors.items()}
    scales = {name: 2 * found.scales for name, found in network.weights.items()}
    again = quantise_folded(traced.graph, fold(module, traced), tensors, weight_scales=scales)
    assert again.tensors == tensors
    for name, found in network.weights.items():
        np.testing.assert_array_equal(again.weights[name].scales, scales[name])
        assert int(np.abs(2 * again.weights[name].values.astype(int) - found.values).max()) <= 2
        assert int(np.abs(4 * again.weights[name].bias.astype(int) - found.bias).max()) <= 4
