import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compression.policy import CompressionPolicy
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import compressed_graph, pruning_groups
from envs.compression.structure.importance import channel_importance
from envs.compression.structure.pruning import prune
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import INPUT, DepthwiseConv2D
from tests.envs.networks import NETWORKS, build


def prepared(name):
    module, shape = build(name)
    traced = trace(module, shape)
    return module, shape, traced, pruning_groups(module, traced.graph)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_pruned_network_has_the_graph_that_was_foretold(name, data):
    module, shape, traced, groups = prepared(name)
    ratios = {group.name: data.draw(st.floats(0.01, 1), group.name) for group in groups if group.prunable}
    bits = {layer.name: data.draw(st.sampled_from([4, 8])) for layer in traced.graph.weight_layers}
    policy = CompressionPolicy(ratios, bits)
    # At least two channels: a depthwise convolution of one channel cannot be told from a convolution when traced.
    channel_round = data.draw(st.integers(2, 5))
    smaller = prune(module, traced, groups, policy, channel_round=channel_round)
    foretold = compressed_graph(traced.graph, groups, policy, channel_round=channel_round)
    assert trace(smaller, shape).graph.resized(weight_bits=bits) == foretold


@pytest.mark.parametrize("name", NETWORKS)
def test_a_channel_is_removed_from_the_output_and_from_everything_that_reads_it(name):
    """Removing a channel equals silencing it: zero weights in every layer of the group, zero after its batch norm."""
    module, shape, traced, groups = prepared(name)
    x = torch.randn(4, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(0))
    for group in (group for group in groups if group.prunable):
        policy = CompressionPolicy({group.name: 0.5})
        smaller = prune(module, traced, groups, policy, channel_round=1).eval()
        importance = channel_importance(module, group)
        dropped = np.argsort(-importance, kind="stable")[int(group.channels * 0.5 + 0.5) :]
        silenced, _ = build(name)
        for layer in group.layers:
            for part in (layer, traced.batch_norms.get(layer)):
                if part is not None:
                    found = silenced.get_submodule(part)
                    for parameter in found.parameters():
                        parameter.data[dropped.copy()] = 0.0
        torch.testing.assert_close(smaller(x), silenced(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_original_network_is_not_changed(name):
    module, _, traced, groups = prepared(name)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    policy = CompressionPolicy({group.name: 0.3 for group in groups if group.prunable})
    prune(module, traced, groups, policy, channel_round=1)
    assert all(state[key].equal(value) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_pruning_nothing_leaves_the_same_outputs(name):
    module, shape, traced, groups = prepared(name)
    x = torch.randn(4, shape[2], shape[0], shape[1])
    same = prune(module, traced, groups, CompressionPolicy(), channel_round=4)
    assert torch.equal(same(x), module(x))


def test_known_dependencies_give_the_same_network_twice():
    module, _, traced, groups = prepared("residual")
    dependencies = ChannelDependencies(module, traced.graph, traced.graph.input_shape)
    policy = CompressionPolicy({"stem.0": 0.5, "conv4": 0.5})
    networks = [
        prune(module, traced, groups, policy, channel_round=2, dependencies=known)
        for known in (None, dependencies, dependencies)
    ]
    states = [network.state_dict() for network in networks]
    assert all(value.equal(state[key]) for state in states[1:] for key, value in states[0].items())


def test_of_equal_channels_the_first_stay():
    module, _, traced, groups = prepared("plain")
    with torch.no_grad():
        module.get_submodule("0.0").weight.fill_(0.5)
        module.get_submodule("0.1").bias.copy_(torch.arange(8.0))
    smaller = prune(module, traced, groups, CompressionPolicy({"0.0": 0.5}), channel_round=1)
    assert smaller.get_submodule("0.1").bias.tolist() == [0, 1, 2, 3]


def test_a_given_importance_decides():
    module, _, traced, groups = prepared("plain")
    importance = {group.name: np.arange(float(group.channels)) for group in groups}
    smaller = prune(module, traced, groups, CompressionPolicy({"0.0": 0.5}), channel_round=1, importance=importance)
    assert torch.equal(smaller.get_submodule("0.0").weight, module.get_submodule("0.0").weight[4:])


def test_input_channels_stay():
    module, shape, traced, groups = prepared("sequence")
    policy = CompressionPolicy({group.name: 0.01 for group in groups if group.prunable})
    smaller = prune(module, traced, groups, policy, channel_round=1)
    assert trace(smaller, shape).graph.shapes[INPUT] == (1, 32, 3)
    assert not any(isinstance(layer, DepthwiseConv2D) for layer in traced.graph.layers)
