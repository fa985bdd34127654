"""Zeros that were asked for are there, stay there, and are counted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.quantisation import quantise
from envs.compression.structure.sparsity import SCOPES, kept_sparse, magnitude_masks
from envs.compression.training.quantisation_aware import train_quantised
from envs.compression.training.recovery import recover
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.networks import NETWORKS, build


def prepared(name="plain"):
    module, shape = build(name)
    traced = trace(module, shape)
    return module, shape, traced, [layer.name for layer in traced.graph.weight_layers]


def samples(shape, count=64, classes=10):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, shape[2], shape[0], shape[1], generator=generator)
    return LabelledSamples(x, torch.randint(0, classes, (count,), generator=generator))


@settings(max_examples=25)
@given(share=st.floats(0, 0.95), scope=st.sampled_from(SCOPES))
def test_the_smallest_weights_go_and_no_more_than_asked(share, scope):
    module, _, _, layers = prepared()
    masks = magnitude_masks(module, layers, share, scope=scope)
    dropped = sum(int((~mask).sum()) for mask in masks.values())
    total = sum(mask.numel() for mask in masks.values())
    assert share * total - len(layers) <= dropped <= share * total + len(layers)
    for name, mask in masks.items():
        magnitudes = module.get_submodule(name).weight.detach().abs()
        assert bool(mask.any())
        assert bool(mask.view(-1)[magnitudes.argmax()])
        if not bool(mask.all()):
            assert magnitudes[~mask].max() <= magnitudes[mask].min()
        if scope == "local":
            assert int((~mask).sum()) >= min(share * mask.numel(), mask.numel() - 1) - 1e-6


def test_a_global_ranking_takes_more_where_magnitudes_are_uneven():
    module, _, _, layers = prepared()
    with torch.no_grad():
        weight = module.get_submodule(layers[1]).weight
        weight[:] = weight.sign() * 100  # large, but none matters more than its neighbours
    masks = magnitude_masks(module, layers, 0.2, scope="global")
    shares = [float((~mask).float().mean()) for mask in masks.values()]
    assert shares[1] == 0
    assert max(shares) > 0.2


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_zeros_survive_recovery_and_reach_the_integers(name, bits):
    module, shape, _, layers = prepared(name)
    data = samples(shape, classes=4)
    masks = magnitude_masks(module, layers, 0.7)
    before = {layer: module.get_submodule(layer).weight.detach().clone() for layer in layers}
    widths = dict.fromkeys(layers, bits)
    with kept_sparse(module, masks):
        recover(module, data, RecoverySettings(steps=5), weight_bits=widths, seed=0)
    for layer in layers:
        weight = module.get_submodule(layer).weight.detach()
        assert not bool(weight[~masks[layer]].any())
        assert not torch.equal(weight[masks[layer]], before[layer][masks[layer]])
    network = quantise(module, trace(module, shape), data.x, weight_bits=widths)
    for layer in layers:
        values = network.weights[layer].values
        assert (values == 0).mean() >= min(0.7, 1 - 1 / values.size)


@pytest.mark.parametrize("scales", ["ema", "learned"])
def test_zeros_survive_quantisation_aware_training(scales):
    module, shape, traced, layers = prepared()
    data = samples(shape)
    masks = magnitude_masks(module, layers, 0.7)
    with kept_sparse(module, masks):
        pass
    recovery = RecoverySettings(steps=5, quantisation_aware=scales, quantisation_aware_share=1.0)
    network = train_quantised(module, traced, data, recovery, calibration=data.x, activation_ranges="min-max", seed=0)
    for layer in layers:
        values = network.weights[layer].values
        assert (values == 0).mean() >= min(0.7, 1 - 1 / values.size)


def test_outside_the_block_weights_move_again():
    module, shape, _, layers = prepared()
    masks = magnitude_masks(module, layers, 0.7)
    with kept_sparse(module, masks):
        pass
    recover(module, samples(shape), RecoverySettings(steps=2), seed=0)
    assert any(bool(module.get_submodule(name).weight[~mask].any()) for name, mask in masks.items())


@pytest.mark.parametrize(
    ("share", "scope", "message"),
    [
        (1.0, "local", "the sparsity is 1"),
        (-0.1, "local", "the sparsity is -0.1"),
        (0.5, "globl", "did you mean 'global'"),
    ],
)
def test_bad_arguments_are_told(share, scope, message):
    module, _, _, layers = prepared()
    with pytest.raises(EnvError, match=message):
        magnitude_masks(module, layers, share, scope=scope)


def test_weights_that_are_not_finite_are_told():
    module, _, _, layers = prepared()
    module.get_submodule(layers[0]).weight.data[0] = torch.nan
    with pytest.raises(EnvError, match="weights that are not finite"):
        magnitude_masks(module, layers, 0.5)
