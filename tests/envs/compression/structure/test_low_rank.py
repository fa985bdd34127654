"""Chains of factor layers in every kind of network."""

import numpy as np
import pytest
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.quantisation import quantise
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.factorisation import svd_factors
from envs.compression.structure.groups import compressed_graph, pruning_groups
from envs.compression.structure.low_rank import FORMS, Factors, decompose, factors_by_energy, factors_by_ratio
from envs.compression.structure.pruning import prune
from envs.errors import EnvError
from hw_models.graph.from_torch import TorchTrace, trace
from hw_models.graph.layer_graph import Conv2D, Dense, DepthwiseConv2D, LayerGraph
from tests.envs.networks import NETWORKS, build


def prepared(name):
    module, shape = build(name)
    return module, shape, trace(module, shape)


def inputs(shape, count=16, seed=0):
    return torch.randn(count, shape[2], shape[0], shape[1], generator=torch.Generator().manual_seed(seed))


def parameters(graph: LayerGraph) -> int:
    return sum(
        layer.weight_count(graph.input_shapes(layer)) + graph.shapes[layer.name][2] for layer in graph.weight_layers
    )


def full(traced: TorchTrace, form: str) -> dict[str, Factors]:
    """Every layer at its full rank, whether that saves anything or not."""
    found = {}
    for layer in traced.graph.layers:
        if not isinstance(layer, Conv2D | Dense):
            continue
        ins, outs = traced.graph.input_shapes(layer)[0][2], layer.out_channels
        positions = layer.kernel[0] * layer.kernel[1] if isinstance(layer, Conv2D) else 1
        if form == "svd" or positions == 1:
            found[layer.name] = Factors("svd", (min(ins * positions, outs),))
        elif form == "tucker":
            found[layer.name] = Factors("tucker", (min(ins, outs * positions), min(outs, ins * positions)))
        else:
            found[layer.name] = Factors("cp", (max(2, min(ins * outs, ins * positions, outs * positions)),))
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_at_full_rank_the_outputs_are_the_same(name, form):
    module, shape, traced = prepared(name)
    x = inputs(shape)
    before = module(x)
    state = {key: tensor.clone() for key, tensor in module.state_dict().items()}
    chains = decompose(module, traced, full(traced, form))
    torch.testing.assert_close(chains(x), before, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(tensor, state[key]) for key, tensor in module.state_dict().items())
    kinds = [layer for layer in trace(chains, shape).graph.layers if isinstance(layer, DepthwiseConv2D)]
    if form != "cp":
        assert len(kinds) == sum(isinstance(layer, DepthwiseConv2D) for layer in traced.graph.layers)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_by_ratio_every_chain_is_as_small_as_asked_and_known_before_training(name, form):
    module, shape, traced = prepared(name)
    chosen = factors_by_ratio(traced.graph, form=form, ratio=0.7, rank_round=2)
    chains = decompose(module, traced, chosen)
    graph = trace(chains, shape).graph
    foretold = trace(decompose(build(name, seed=1)[0], traced, chosen, fitted=False), shape).graph
    assert graph == foretold
    for layer in traced.graph.weight_layers:
        own = layer.weight_count(traced.graph.input_shapes(layer)) + traced.graph.shapes[layer.name][2]
        parts = [part for part in graph.weight_layers if part.name.startswith(f"{layer.name}.")]
        assert bool(parts) == (layer.name in chosen)
        count = sum(part.weight_count(graph.input_shapes(part)) + graph.shapes[part.name][2] for part in parts)
        assert count <= 0.7 * own


@pytest.mark.parametrize("form", [pytest.param(form, marks=pytest.mark.slow if form == "cp" else ()) for form in FORMS])
def test_by_energy_what_is_lost_falls_and_parameters_rise_with_the_share(form):
    module, shape, traced = prepared("residual")
    x = inputs(shape)
    sizes, errors = [], []
    for energy in (0.3, 0.6):
        chosen = factors_by_energy(module, traced, form=form, energy=energy, rank_round=1)
        chains = decompose(module, traced, chosen)
        for name, factors in chosen.items():
            original = module.get_submodule(name).weight.detach()
            kept = sum_of_chain(chains, name, factors)
            lost = float((original - kept).square().sum() / original.square().sum())
            assert lost <= (2 if factors.form == "tucker" else 1) * (1 - energy) + 1e-6
        sizes.append(parameters(trace(chains, shape).graph))
        errors.append((chains(x) - module(x)).norm().item())
    assert sizes == sorted(sizes)
    assert sizes[-1] < parameters(traced.graph)
    assert errors == sorted(errors, reverse=True)


def sum_of_chain(chains, name, factors):
    weights = [part.weight.detach() for part in chains.get_submodule(name)]
    if factors.form == "svd":
        return torch.tensordot(weights[1].flatten(1), weights[0], dims=1)
    middle = (
        weights[1]
        if factors.form == "tucker"
        else torch.diag_embed(weights[1][:, 0].permute(1, 2, 0)).permute(2, 3, 0, 1)
    )
    return torch.einsum("or,rqhw,qi->oihw", weights[2].flatten(1), middle, weights[0].flatten(1))


def test_a_layer_that_would_not_shrink_stays():
    module, _, traced = prepared("plain")
    assert factors_by_energy(module, traced, form="svd", energy=1.0, rank_round=1) == {}
    assert factors_by_ratio(traced.graph, form="svd", ratio=0.01, rank_round=4) == {}


def test_protected_and_depthwise_layers_stay():
    module, _, traced = prepared("depthwise")
    names = [layer.name for layer in traced.graph.layers if isinstance(layer, Conv2D | Dense)]
    for protected in (frozenset(), frozenset(names[-1:])):
        chosen = factors_by_energy(module, traced, form="svd", energy=0.5, rank_round=1, protected=protected)
        assert set(chosen) <= set(names) - protected
    assert names[-1] in factors_by_energy(module, traced, form="svd", energy=0.5, rank_round=1)


@pytest.mark.parametrize("name", NETWORKS)
def test_pruning_inner_channels_by_l2_is_truncation_to_the_smaller_rank(name):
    """The rank is a keep ratio: half of the inner channels of every pair are its svd of half the rank."""
    module, shape, traced = prepared(name)
    whole = {key: Factors("svd", (factors.ranks[0] // 2 * 2,)) for key, factors in full(traced, "svd").items()}
    chains = decompose(module, traced, whole)
    rank_trace = trace(chains, shape)
    groups = pruning_groups(chains, rank_trace.graph)
    inner = [group for group in groups if group.name.endswith(".reduce")]
    assert {group.name.removesuffix(".reduce") for group in inner} == set(whole)
    assert all(group.prunable for group in inner)
    policy = CompressionPolicy({group.name: 0.5 for group in inner})
    smaller = prune(chains, rank_trace, groups, policy, channel_round=1, criterion="l2")
    truncated = decompose(module, traced, {key: Factors("svd", (item.ranks[0] // 2,)) for key, item in whole.items()})
    torch.testing.assert_close(smaller(inputs(shape)), truncated(inputs(shape)), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("form", [pytest.param(form, marks=pytest.mark.slow if form == "cp" else ()) for form in FORMS])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_follows_works_on_chains(name, form):
    """Groups, pruning and integers: the graph of the pruned chains is the one foretold."""
    module, shape, traced = prepared(name)
    chains = decompose(module, traced, factors_by_energy(module, traced, form=form, energy=0.7, rank_round=2))
    after = trace(chains, shape)
    groups = pruning_groups(chains, after.graph)
    policy = CompressionPolicy({group.name: 0.5 for group in groups if group.prunable})
    smaller = prune(chains, after, groups, policy, channel_round=2)
    graph = compressed_graph(after.graph, groups, policy, channel_round=2)
    assert trace(smaller, shape).graph == graph
    x = inputs(shape, 64)
    network = quantise(smaller, TorchTrace(graph, after.batch_norms), x)
    difference = (IntegerInterpreter(network).logits(x) - smaller(x)).abs().max()
    assert difference.item() < 0.15 * smaller(x).abs().max().item()


def test_a_flattened_map_is_read_in_the_right_order():
    module, _, traced = prepared("flattening")
    dense = next(layer for layer in traced.graph.layers if isinstance(layer, Dense))
    chains = decompose(module, traced, {dense.name: Factors("svd", (5,))})
    weight = module.get_submodule(dense.name).weight.detach().double()
    factors = svd_factors(weight, 5)
    chain = chains.get_submodule(dense.name)
    np.testing.assert_allclose((chain.expand.weight @ chain.reduce.weight).detach(), factors.weight(), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m, t: factors_by_energy(m, t, form="svg", energy=0.5, rank_round=1),
            "unknown low-rank form 'svg'; did",
        ),
        (lambda m, t: factors_by_energy(m, t, form="svd", energy=0.0, rank_round=1), "rank energy is 0"),
        (lambda m, t: factors_by_ratio(t.graph, form="svd", ratio=1.0, rank_round=1), "rank ratio is 1"),
        (lambda m, t: decompose(m, t, {"0.9": Factors("svd", (1,))}), "unknown dense or convolutional layer '0.9'"),
    ],
)
def test_bad_arguments_are_told(call, message):
    module, _, traced = prepared("plain")
    with pytest.raises(EnvError, match=message):
        call(module, traced)


def test_weights_that_are_not_finite_are_told():
    module, _, traced = prepared("plain")
    name = traced.graph.weight_layers[1].name
    module.get_submodule(name).weight.data[0] = torch.inf
    with pytest.raises(EnvError, match=f"layer '{name}' has weights that are not finite"):
        factors_by_energy(module, traced, form="svd", energy=0.9, rank_round=1)
