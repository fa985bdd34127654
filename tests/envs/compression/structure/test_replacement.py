"""Cheaper convolutions before training, in every kind of network."""

import pytest
import torch
from torch import nn

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.groups import compressed_graph, pruning_groups
from envs.compression.structure.pruning import prune
from envs.compression.structure.replacement import REPLACEMENTS, replace_convolutions
from envs.errors import EnvError
from envs.same_conv import SameConv2d
from hw_models.graph.from_torch import TorchTrace, trace
from hw_models.graph.layer_graph import INPUT, Conv2D, DepthwiseConv2D
from tests.envs.networks import NETWORKS, build


def prepared(name):
    module, shape = build(name)
    return module, shape, trace(module, shape)


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_stay_and_weights_become_fewer(name, kind):
    module, shape, traced = prepared(name)
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    cheaper = trace(replace_convolutions(module, traced, kind), shape)
    assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    shapes = cheaper.graph.shapes
    for layer in traced.graph.layers:
        parts = [
            part for part in cheaper.graph.weight_layers if part.name in (f"{layer.name}.first", f"{layer.name}.last")
        ]
        assert shapes[parts[-1].name if parts else layer.name] == traced.graph.shapes[layer.name]
        if parts:
            count = sum(part.weight_count(cheaper.graph.input_shapes(part)) for part in parts)
            assert count < layer.weight_count(traced.graph.input_shapes(layer))
            # A batch norm behind the layer is behind the last part now, and there is one between.
            assert {part.name in cheaper.batch_norms for part in parts} == {layer.name in traced.batch_norms}
            assert INPUT not in layer.inputs


@pytest.mark.parametrize(("name", "kind", "count"), [
    ("plain", "separable", 2), ("plain", "factorised", 2), ("residual", "separable", 4), ("residual", "factorised", 4),
    ("depthwise", "separable", 0), ("sequence", "separable", 1), ("sequence", "factorised", 0),
])  # fmt: skip
def test_which_layers_are_replaced(name, kind, count):
    """All K x K ones but the first; a signal's kernel has one axis, and 1 x 1 ones have nothing to save."""
    module, shape, traced = prepared(name)
    cheaper = trace(replace_convolutions(module, traced, kind), shape).graph
    assert len(cheaper.weight_layers) == len(traced.graph.weight_layers) + count
    depthwise = [sum(isinstance(layer, DepthwiseConv2D) for layer in graph.layers) for graph in (traced.graph, cheaper)]
    assert depthwise[1] - depthwise[0] == (count if kind == "separable" else 0)


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_pair_can_be_the_layer_it_stands_for(kind, stride):
    """One filter per input channel, or an outer product of two columns: both pairs reproduce the convolution exactly."""
    generator = torch.Generator().manual_seed(0)
    columns, rows = torch.randn(4, 4, 3, generator=generator), torch.randn(4, 4, 3, generator=generator)
    network = nn.Sequential(SameConv2d(1, 4, 3), SameConv2d(4, 4, 3, stride))
    traced = trace(network, (8, 8, 1))
    pair = replace_convolutions(network, traced, kind)
    first, last = pair[1].first, pair[1].last
    with torch.no_grad():
        if kind == "separable":
            filters = torch.einsum("ih,iw->ihw", columns[0], rows[0])
            first.weight.copy_(filters[:, None])
            last.weight.copy_(columns[1, :, 0][None, :, None, None].expand(4, 4, 1, 1))
            network[1].weight.copy_(filters[None] * columns[1, :, 0][None, :, None, None])
        else:
            first.weight.copy_(columns[..., None])
            last.weight.copy_(rows[:, :, None])
            network[1].weight.copy_(torch.einsum("omw,mih->oihw", rows, columns))
        first.bias = None
        last.bias.copy_(network[1].bias)
        x = torch.randn(2, 1, 8, 8, generator=generator)
        torch.testing.assert_close(pair(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("name", ["plain", "residual", "sequence", "flattening"])
def test_what_follows_works_on_the_new_layers(name, kind):
    module, shape, traced = prepared(name)
    cheaper = replace_convolutions(module, traced, kind)
    after = trace(cheaper, shape)
    groups = pruning_groups(cheaper, after.graph)
    policy = CompressionPolicy({group.name: 0.5 for group in groups if group.prunable})
    smaller = prune(cheaper, after, groups, policy, channel_round=2)
    graph = compressed_graph(after.graph, groups, policy, channel_round=2)
    assert trace(smaller, shape).graph == graph
    x = torch.randn(16, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(0))
    assert (
        IntegerInterpreter(quantise(smaller, TorchTrace(graph, after.batch_norms), x)).logits(x).shape
        == smaller(x).shape
    )


def test_protected_layers_stay():
    module, _, traced = prepared("plain")
    names = [layer.name for layer in traced.graph.layers if isinstance(layer, Conv2D)]
    cheaper = replace_convolutions(module, traced, "separable", protected=frozenset(names[1:2]))
    assert isinstance(cheaper.get_submodule(names[1]), SameConv2d)
    assert isinstance(cheaper.get_submodule(names[2]), nn.Sequential)


def test_an_unknown_kind_is_told():
    module, _, traced = prepared("plain")
    with pytest.raises(EnvError, match="unknown replacement 'seperable'; did you mean 'separable'"):
        replace_convolutions(module, traced, "seperable")
