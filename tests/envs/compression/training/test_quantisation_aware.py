import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.compression.float_network.folding import fold
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.quantisation import quantise, quantise_folded
from envs.compression.training.quantisation_aware import QuantisationAwareNetwork, train_quantised
from envs.compression.training.recovery import DivergedError
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, Pool2D, Reshape, Softmax
from tests.envs.networks import NETWORKS, build

MODES = ("ema", "learned")


def samples_for(name, count=60, seed=0):
    _, (height, width, channels) = NETWORKS[name]
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, channels, height, width, generator=generator)
    return LabelledSamples(x, torch.randint(0, 4, (count,), generator=generator))


def settings(mode, **changes):
    values = {"steps": 4, "batch_size": 16, "quantisation_aware": mode, "quantisation_aware_share": 1.0}
    return RecoverySettings(**values | changes)


def trained(name, mode, *, bits=8, stored=None, seed=0, module=None, **changes):
    built, shape = build(name)
    module = built if module is None else module
    traced = trace(module, shape)
    layers = [layer.name for layer in traced.graph.weight_layers]
    traced = replace(traced, graph=traced.graph.resized(weight_bits=dict.fromkeys(layers, bits)))
    train = samples_for(name)
    network = train_quantised(
        module,
        traced,
        train,
        settings(mode, **changes),
        calibration=train.x[:40],
        activation_ranges="min-max",
        stored_bits=None if stored is None else dict.fromkeys(layers, stored),
        seed=seed,
    )
    return module, traced, network


def aware(name, mode, *, bits=8):
    """Return an untrained quantisation-aware network and the integer network it starts from."""
    module, shape = build(name)
    traced = trace(module, shape)
    widths = {layer.name: bits for layer in traced.graph.weight_layers}
    start = quantise(module, traced, samples_for(name).x, weight_bits=widths)
    return QuantisationAwareNetwork(start, fold(module, traced), learned=mode == "learned"), start


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("mode", "bits"), [("ema", 8), ("learned", 4)])
def test_what_was_trained_is_what_runs(name, mode, bits):
    # In training biases are not rounded, halves go to the even number and all is float32; the integers round biases, send
    # halves away from zero and multiply in fixed point. Layer by layer that is a step now and then, never two.
    network, _ = aware(name, mode, bits=bits)
    train = samples_for(name)
    network.train()(train.x)
    integers = network.eval().quantised()
    with torch.no_grad():
        tensors = network.tensors(train.x)
    for layer in integers.graph.layers:
        found, inputs = integers.tensors[layer.name], []
        for source in layer.inputs:
            inputs.append(quantise_values(tensors[source], integers.tensors[source]))
        expected = IntegerInterpreter(integers).run_layer(layer.name, *inputs).long()
        steps = (tensors[layer.name] / found.scale).round().long() + found.zero_point
        apart = (steps - expected).abs()
        share = float((apart > 0).double().mean())
        assert int(apart.max()) <= 1
        assert share < 0.2


@pytest.mark.parametrize(("name", "mode"), [*((name, "learned") for name in NETWORKS), ("flattening", "ema")])
def test_the_float_network_ends_with_the_weights_that_run(name, mode):
    module, traced, network = trained(name, mode, bits=4)
    folded = fold(module, traced)
    again = quantise_folded(
        traced.graph,
        folded,
        network.tensors,
        weight_scales={layer: found.scales for layer, found in network.weights.items()},
    )
    for layer, found in network.weights.items():
        np.testing.assert_array_equal(again.weights[layer].values, found.values)
        assert int(np.abs(again.weights[layer].bias.astype(int) - found.bias).max()) <= 1 + int(
            np.abs(found.bias).max() / 2**22
        )
    x = samples_for(name, seed=1).x
    assert not module.training
    with torch.no_grad():
        agreement = (module(x).argmax(1) == IntegerInterpreter(network).predict(x)).double().mean()
    assert float(agreement) > 0.85


@pytest.mark.parametrize("mode", MODES)
def test_training_lowers_the_loss_of_the_integers(mode):
    train = samples_for("plain")
    losses = []
    for steps in (1, 40):
        _, _, network = trained("plain", mode, bits=4, steps=steps, batch_size=30, learning_rate=0.05)
        losses.append(float(train.purpose.loss(IntegerInterpreter(network).logits(train.x), train.x, train.y)))
    assert losses[1] < losses[0] - 0.1


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("mode", MODES)
def test_scales_are_shared_where_the_kernels_share_them(name, mode):
    network = aware(name, mode)[0].quantised()
    for layer in network.graph.layers:
        if isinstance(layer, Pool2D | Reshape):
            assert network.tensors[layer.name] == network.tensors[layer.inputs[0]]
        if isinstance(layer, Softmax):
            assert (network.tensors[layer.name].scale, network.tensors[layer.name].zero_point) == (1 / 256, -128)
    assert all(np.float32(tensor.scale) == tensor.scale for tensor in network.tensors.values())


def test_the_seed_alone_decides():
    networks = [trained("depthwise", "learned", seed=seed)[2] for seed in (1, 1, 2)]
    weights = [network.weights["0.0"].scales for network in networks]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_learned_scales_move_and_averages_follow_the_batches():
    network, _ = aware("plain", "learned")
    loss = network.train()(samples_for("plain").x).square().mean()
    loss.backward()
    moved = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert any("log_scale" in name for name in moved)
    averaging, _ = aware("plain", "ema")
    low, high = (samples_for("plain").x[:8] / 3).aminmax()
    expected = float(high - low) / 255
    for _ in range(250):
        averaging.train()(samples_for("plain").x[:8] / 3)
    assert averaging.quantised().tensors[INPUT].scale == pytest.approx(expected, rel=0.02)
    before = averaging.quantised().tensors
    averaging.eval()(samples_for("plain").x * 5)
    assert averaging.quantised().tensors == before


@pytest.mark.parametrize(("mode", "stored"), [("ema", 2), ("learned", 3)])
def test_stored_widths_keep_to_their_grid(mode, stored):
    _, _, network = trained("plain", mode, stored=stored)
    limit = 2 ** (stored - 1) - 1
    for layer in network.graph.weight_layers:
        assert layer.weight_bits == 8
        assert int(np.abs(network.weights[layer.name].values).max()) == limit


def test_a_layer_without_a_place_for_a_bias_gets_none():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10, bias=False)).eval()
    traced = trace(module, (8, 8, 1))
    train = samples_for("plain")
    network = train_quantised(
        module, traced, train, settings("learned"), calibration=train.x, activation_ranges="min-max", seed=0
    )
    assert not network.weights["1"].bias.any()
    assert set(module.state_dict()) == {"1.weight"}


def test_the_state_of_the_module_keeps_its_keys():
    module, _ = build("flattening")
    keys = set(module.state_dict())
    trained("flattening", "learned", module=module)
    assert set(module.state_dict()) == keys


def test_a_dead_channel_survives():
    module, _ = build("plain")
    with torch.no_grad():
        module.get_submodule("0.0").weight[2] = 0.0
    for mode in MODES:
        _, _, network = trained("plain", mode, module=copy.deepcopy(module))
        assert np.isfinite(network.weights["0.0"].scales).all()


def test_a_loss_that_is_not_finite_stops_it():
    with pytest.raises(DivergedError, match="lower the recovery learning rate"):
        trained("plain", "learned", learning_rate=1e30)


def test_distillation_without_its_teachers_answers_is_not_silent():
    with pytest.raises(EnvError, match="there is no teacher"):
        trained("plain", "ema", distillation_weight=0.5)


def test_wide_activations_are_refused():
    module, shape = build("plain")
    traced = trace(module, shape)
    layers = tuple(replace(layer, output_bits=16) for layer in traced.graph.layers)
    wide = replace(traced, graph=replace(traced.graph, layers=layers))
    with pytest.raises(EnvError, match=r"tensor '0\.0' has 16 bits; quantisation-aware training knows 8-bit"):
        train_quantised(
            module,
            wide,
            samples_for("plain"),
            settings("ema"),
            calibration=samples_for("plain").x,
            activation_ranges="mse",
            seed=0,
        )
