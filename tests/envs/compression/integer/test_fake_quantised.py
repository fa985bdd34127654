"""Real numbers on grids against the integer interpreter: every tensor, to the bit."""

import pytest
import torch

from envs.compression.integer.fake_quantised import FakeQuantisedNetwork
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork
from envs.compression.integer.quantisation import quantise
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, ActivationLayer, Add, AveragePool2D, Dense, LayerGraph, Reshape
from tests.envs.compression.integer.test_network import by_hand
from tests.envs.networks import NETWORKS, build


def mismatches(network: QuantisedNetwork, x: torch.Tensor) -> dict[str, int]:
    found, expected = (
        FakeQuantisedNetwork(network),
        IntegerInterpreter(network).run(quantise_values(x, network.tensors[INPUT])),
    )
    return {name: int((found.integers(name, values) != expected[name]).sum()) for name, values in found.run(x).items()}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_every_tensor_equals_the_interpreters(name, bits):
    module, (height, width, channels) = build(name)
    traced = trace(module, (height, width, channels))
    x = 1.5 * torch.randn(60, channels, height, width, generator=torch.Generator().manual_seed(bits))
    widths = {layer.name: bits for layer in traced.graph.weight_layers}
    network = quantise(module, traced, x[:30] / 2, weight_bits=widths)
    assert set(mismatches(network, x).values()) == {0}
    torch.testing.assert_close(
        FakeQuantisedNetwork(network).logits(x).float(), IntegerInterpreter(network).logits(x), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
def test_odd_scales_and_zero_points_make_no_difference(activation, seed):
    layers = (
        AveragePool2D(name="pool", inputs=("input",), kernel=(3, 3), stride=(2, 2), padding="same"),
        Add(name="sum", inputs=("pool", "pool"), activation=activation),
        ActivationLayer(name="act", inputs=("sum",), activation="relu"),
        Reshape(name="flat", inputs=("act",)),
        Dense(name="head", inputs=("flat",), out_channels=40, activation=activation),
    )
    network = by_hand(LayerGraph((5, 6, 3), layers), seed=seed)
    x = 3 * torch.randn(50, 3, 5, 6, generator=torch.Generator().manual_seed(seed))
    assert set(mismatches(network, x).values()) == {0}


def test_a_multiplier_above_one_and_a_vanishing_one():
    layers = (
        ActivationLayer(name="finer", inputs=("input",), activation="relu"),
        ActivationLayer(name="gone", inputs=("input",), activation="relu"),
    )
    network = by_hand(LayerGraph((4, 4, 2), layers))
    scales = {"input": 1.0, "finer": 0.013, "gone": 2.0**40}
    tensors = {name: type(found)(scales[name], found.zero_point) for name, found in network.tensors.items()}
    network = QuantisedNetwork(network.graph, tensors, {})
    x = 40 * torch.randn(20, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    assert set(mismatches(network, x).values()) == {0}
    assert set(FakeQuantisedNetwork(network).run(x)["gone"].unique().tolist()) == {0.0}


def test_one_wrong_weight_is_seen():
    module, _ = build("plain")
    traced = trace(module, (8, 8, 1))
    x = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = quantise(module, traced, x)
    integers = IntegerInterpreter(network).run(quantise_values(x, network.tensors[INPUT]))
    network.weights["5"].values[0, 0] ^= 64
    real = FakeQuantisedNetwork(network)
    assert bool((real.integers("5", real.run(x)["5"]) != integers["5"]).any())


def test_wide_tensors_are_refused():
    graph = LayerGraph((4, 4, 2), (ActivationLayer(name="act", inputs=("input",), activation="relu", output_bits=16),))
    with pytest.raises(EnvError, match="tensor 'act' has 16 bits; the fake-quantised network has 8-bit tensors only"):
        FakeQuantisedNetwork(by_hand(graph))
