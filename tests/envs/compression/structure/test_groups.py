import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.policy import CompressionPolicy, PolicyError
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import (
    PruningGroup,
    check_policy,
    compressed_graph,
    groups_of,
    kept_channels,
    pruning_groups,
    tied_layers,
    with_protection,
)
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import Add, Conv2D, Dense, DepthwiseConv2D, LayerGraph, Reshape
from tests.envs.networks import NETWORKS, build


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain", [("0.0", ("0.0",), 8), ("1.0", ("1.0",), 16), ("2.0", ("2.0",), 16), ("5", ("5",), 10)]),
        (
            "residual",  # the identity shortcut ties stem and conv2, the projection ties conv4 and project
            [
                ("stem.0", ("stem.0", "conv2"), 8),
                ("conv1", ("conv1",), 12),
                ("conv3", ("conv3",), 16),
                ("conv4", ("conv4", "project"), 16),
                ("head", ("head",), 10),
            ],
        ),
        (
            "depthwise",
            [("0.0", ("0.0", "1"), 8), ("4.0", ("4.0", "5"), 12), ("7.0", ("7.0",), 12), ("11", ("11",), 10)],
        ),
        ("sequence", [("0.0", ("0.0",), 8), ("2.0", ("2.0",), 8), ("5", ("5",), 4)]),
        ("flattening", [("0", ("0",), 6), ("3", ("3",), 8), ("6", ("6",), 12), ("9", ("9",), 10)]),
    ],
)
def test_groups_of_every_network(name, expected):
    module, shape = build(name)
    groups = pruning_groups(module, trace(module, shape).graph)
    last = expected[-1][0]
    assert groups == tuple(PruningGroup(*entry, prunable=entry[0] != last) for entry in expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_with_weights_is_in_one_group_and_the_network_stays_as_it_was(name):
    module, shape = build(name)
    module.train()
    graph = trace(module, shape).graph
    state = {key: value.clone() for key, value in module.state_dict().items()}
    groups = pruning_groups(module, graph)
    layers = [layer for group in groups for layer in group.layers]
    assert sorted(layers) == sorted(layer.name for layer in graph.weight_layers)
    assert all(group.channels == graph.shapes[layer][2] for group in groups for layer in group.layers)
    assert module.training
    assert all(state[key].equal(value) for key, value in module.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_ties_what_torch_pruning_ties(name):
    module, shape = build(name)
    graph = trace(module, shape).graph
    assert tied_layers(graph) == ChannelDependencies(module, graph, shape).tied_layers()


def test_frozen_weights_are_grouped_as_well():
    module, shape = build("residual")
    graph = trace(module, shape).graph
    expected = pruning_groups(module, graph)
    module.requires_grad_(False)
    assert pruning_groups(module, graph) == expected
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_channels_that_reach_the_input_are_fixed():
    graph = LayerGraph(
        (4, 4, 3),
        (
            DepthwiseConv2D(name="dw", inputs=("input",), kernel=(3, 3)),
            Conv2D(name="inner", inputs=("dw",), out_channels=8, kernel=(1, 1)),
            Conv2D(name="back", inputs=("inner",), out_channels=3, kernel=(1, 1)),
            Add(name="sum", inputs=("dw", "back")),
            Conv2D(name="last", inputs=("sum",), out_channels=5, kernel=(1, 1)),
        ),
    )
    groups = groups_of(graph, [("dw", "back"), ("inner",), ("last",)])
    assert [group.prunable for group in groups] == [False, True, False]


def test_a_module_the_graph_was_not_traced_from_is_refused():
    module, shape = build("plain")
    other, _ = build("residual")
    with pytest.raises(EnvError, match=r"no module 'stem\.0'; pass the network the graph was traced from"):
        pruning_groups(module, trace(other, shape).graph)


CHANNELS, RATIOS, ROUNDS = st.integers(1, 70), st.floats(0.001, 1), st.integers(1, 9)


@given(CHANNELS, RATIOS, RATIOS, ROUNDS)
def test_kept_channels_never_fall_as_the_ratio_grows(channels, one, other, channel_round):
    low, high = sorted((one, other))
    few = kept_channels(channels, low, channel_round=channel_round)
    many = kept_channels(channels, high, channel_round=channel_round)
    assert 1 <= few <= many <= channels
    assert few % channel_round == 0 or few == channels
    assert kept_channels(channels, 1.0, channel_round=channel_round) == channels


@pytest.mark.parametrize(
    ("channels", "ratio", "channel_round", "expected"),
    [
        (16, 0.5, 4, 8),
        (16, 0.6, 4, 8),  # 9.6 is nearer to 8 than to 12
        (16, 0.63, 4, 12),  # 10.08 is nearer to 12 than to 8
        (16, 0.01, 4, 4),  # never below one multiple
        (3, 0.01, 4, 3),  # fewer than one multiple: all stay
        (10, 0.99, 4, 8),  # 9.9 is nearer to 8 than to 12
        (10, 1.0, 4, 10),
        (5, 0.5, 1, 3),  # 2.5 is rounded up
    ],
)
def test_kept_channels_by_hand(channels, ratio, channel_round, expected):
    assert kept_channels(channels, ratio, channel_round=channel_round) == expected


def test_channel_round_must_be_positive():
    with pytest.raises(EnvError, match="channel_round is 0; it must be at least 1"):
        kept_channels(8, 0.5, channel_round=0)


def test_compressed_graph_by_hand():
    module, shape = build("residual")
    graph = trace(module, shape).graph
    groups = pruning_groups(module, graph)
    policy = CompressionPolicy({"stem.0": 0.5, "conv4": 0.25}, {"conv3": 4})
    smaller = compressed_graph(graph, groups, policy, channel_round=4)
    channels = {layer.name: smaller.shapes[layer.name][2] for layer in smaller.weight_layers}
    assert channels == {"stem.0": 4, "conv1": 12, "conv2": 4, "conv3": 16, "conv4": 4, "project": 4, "head": 10}
    assert [layer.name for layer in smaller.weight_layers if layer.weight_bits == 4] == ["conv3"]


def test_compressed_graph_refuses_a_foreign_policy():
    module, shape = build("plain")
    graph = trace(module, shape).graph
    with pytest.raises(PolicyError, match="unknown pruning group 'stem'"):
        compressed_graph(graph, pruning_groups(module, graph), CompressionPolicy({"stem": 0.5}), channel_round=1)


def test_a_protected_layer_keeps_its_whole_group_and_a_foreign_one_is_told():
    module, shape = build("residual")
    graph = trace(module, shape).graph
    before = pruning_groups(module, graph)
    groups = {group.name: group for group in with_protection(before, ["conv2", "conv3"])}
    assert [name for name, group in groups.items() if group.prunable] == ["conv1", "conv4"]
    assert groups["stem.0"].protected == ("conv2",)
    assert groups["conv3"].protected == ("conv3",)
    policy = CompressionPolicy({"stem.0": 0.5})
    with pytest.raises(PolicyError, match="or a protected layer does"):
        compressed_graph(graph, groups.values(), policy, channel_round=1)
    assert with_protection(before, []) == before
    with pytest.raises(EnvError, match="protected: unknown layer 'conv22'; did you mean 'conv2'"):
        with_protection(before, ["conv22"])


def test_the_plain_data_parts_do_not_import_torch():
    code = "import sys, envs.compression.structure.groups, envs.compression.policy; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


TWO_LAYERS = LayerGraph(
    (1, 1, 3),
    (
        Conv2D(name="conv", inputs=("input",), out_channels=4, kernel=(1, 1)),
        Reshape(name="flat", inputs=("conv",)),
        Dense(name="head", inputs=("flat",), out_channels=2),
    ),
)
TWO_GROUPS = (PruningGroup("conv", ("conv",), 4, True), PruningGroup("head", ("head",), 2, False))


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (CompressionPolicy({"cony": 0.5}), "unknown pruning group 'cony'; did you mean 'conv'"),
        (CompressionPolicy({}, {"haed": 4}), "unknown layer with weights 'haed'; did you mean 'head'"),
        (CompressionPolicy({}, {}, {"flat": 8}), "unknown layer with weights 'flat'"),
        (CompressionPolicy({"head": 0.5}), "group 'head' is 0.5, but the network's input or output fixes"),
    ],
)
def test_check_names_what_does_not_fit_the_network(policy: CompressionPolicy, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        check_policy(policy, TWO_GROUPS, TWO_LAYERS)


def test_a_policy_that_fits_passes_the_check() -> None:
    check_policy(CompressionPolicy({"conv": 0.5, "head": 1.0}, {"head": 4}, {"conv": 16}), TWO_GROUPS, TWO_LAYERS)
