"""What every network family must offer, run over all of them."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression import CompressionPolicy, compressed_graph, prune, pruning_groups, quantise
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.groups import tied_layers
from envs.compression.training.recovery import reestimate_batch_norms
from hw_models import estimate, load_device, load_runtime
from hw_models.graph.from_torch import TorchTrace, trace
from hw_models.graph.layer_graph import LayerGraph, Shape
from mobo.space.search_space import Design, SearchSpace
from mobo.tinyml.networks import load_family, network_families
from mobo.tinyml.networks.family import NetworkFamily
from tests.envs.compression.integer.reference_kernels import ReferenceNetwork

SHAPES: tuple[Shape, ...] = ((8, 8, 1), (49, 10, 1), (1, 128, 3))
OUTPUTS = 5
# Families that must be told where the network is.
MODULES = {"module": "tests.mobo.tinyml.networks.own_networks:build"}


def family_of(name: str) -> NetworkFamily:
    return load_family(name, MODULES.get(name))


def designs(family: str, shape: Shape) -> list[Design]:
    """Return both extremes, the middle and a few random designs."""
    parameters = family_of(family).parameters(shape)
    if not parameters:
        return [Design({})] * 2
    space = SearchSpace(parameters)
    generator = np.random.default_rng(0)
    points = [np.zeros(len(space)), np.full(len(space), 0.5), np.ones(len(space)), *generator.random((3, len(space)))]
    return [space.decode(point) for point in points]


def built(family: str, design: Design, shape: Shape) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return family_of(family).build(design, shape, OUTPUTS).eval()


def inputs(shape: Shape, count: int) -> torch.Tensor:
    height, width, channels = shape
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def weight_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


@cache
def halved(family: str, shape: Shape) -> tuple[nn.Module, nn.Module, TorchTrace]:
    """Return the middle design, the same with half of every group's channels, and the trace of the smaller one."""
    module = built(family, designs(family, shape)[1], shape)
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    policy = CompressionPolicy({group.name: 0.5 for group in groups if group.prunable})
    smaller = prune(module, traced, groups, policy, channel_round=4)
    reestimate_batch_norms(smaller, inputs(shape, 64))
    found = trace(smaller, shape)
    assert found.graph == compressed_graph(traced.graph, groups, policy, channel_round=4)
    return module, smaller, found


def test_lenet_tells_factors_apart_by_the_widths_that_they_round_to() -> None:
    factors = np.linspace(0.25, 1.0, 1001)
    told = {tuple(load_family("lenet5").distinct({"width_multiplier": factor}).items()) for factor in factors}
    # 6, 16, 120 and 84 channels: one more network at most for every step of one of them.
    assert 90 < len(told) < 6 + 16 + 120 + 84


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("family", network_families())
class TestFamily:
    def test_every_design_builds_and_traces_to_what_torch_computes(self, family: str, shape: Shape) -> None:
        for design in designs(family, shape):
            module = built(family, design, shape)
            graph = trace(module, shape).graph
            assert graph.shapes[graph.output] == (1, 1, OUTPUTS)
            assert module(inputs(shape, 2)).shape == (2, OUTPUTS)
            assert weight_count(module) == sum(
                layer.weight_count(graph.input_shapes(layer)) for layer in graph.weight_layers
            )

    def test_the_global_generator_alone_decides_the_weights(self, family: str, shape: Shape) -> None:
        modules = [built(family, designs(family, shape)[1], shape) for _ in range(2)]
        first, second = (torch.cat([p.flatten() for p in module.parameters()]) for module in modules)
        assert torch.equal(first, second)

    def test_it_can_be_pruned_to_a_physically_smaller_network(self, family: str, shape: Shape) -> None:
        module, smaller, _ = halved(family, shape)
        # Half of the inputs and half of the outputs of most layers; a layer at the network's ends loses one side only.
        assert weight_count(smaller) < 0.6 * weight_count(module)
        assert smaller(inputs(shape, 2)).shape == (2, OUTPUTS)

    def test_its_graph_ties_the_channels_that_torch_pruning_ties(self, family: str, shape: Shape) -> None:
        for design in designs(family, shape):
            module = built(family, design, shape)
            graph = trace(module, shape).graph
            assert tied_layers(graph) == ChannelDependencies(module, graph, shape).tied_layers()

    def test_its_integer_network_follows_the_float_one(self, family: str, shape: Shape) -> None:
        _, smaller, traced = halved(family, shape)
        x = inputs(shape, 64)
        with torch.no_grad():
            expected = smaller(x)
        found = IntegerInterpreter(quantise(smaller, traced, x)).logits(x)
        assert (found - expected).abs().mean() < 0.1 * (expected.max() - expected.min())

    def test_what_it_does_not_search_is_what_it_has_without_a_word(self, family: str, shape: Shape) -> None:
        said = {parameter.name: parameter.values for parameter in family_of(family).unsearched()}
        assert all(len(values) == 1 or isinstance(values[0], str) for values in said.values())
        assert not said.keys() & {parameter.name for parameter in family_of(family).parameters(shape)}
        for design in designs(family, shape)[:3]:
            spoken = Design({**design, **{name: values[0] for name, values in said.items()}})
            silent, told = (trace(built(family, one, shape), shape).graph for one in (design, spoken))
            assert silent == told

    def test_designs_that_it_does_not_tell_apart_are_one_network(self, family: str, shape: Shape) -> None:
        space = SearchSpace(parameters) if (parameters := family_of(family).parameters(shape)) else None
        seen: dict[object, LayerGraph] = {}
        for position in np.linspace(0.4, 0.6, 8):
            design = Design({}) if space is None else space.decode(np.full(len(space), position))
            graph = trace(built(family, design, shape), shape).graph
            told = tuple(sorted(family_of(family).distinct(design).items()))
            assert seen.setdefault(told, graph) == graph

    def test_its_cost_on_a_board_is_known(self, family: str, shape: Shape) -> None:
        _, _, traced = halved(family, shape)
        cost = estimate(traced.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
        assert cost.macs == traced.graph.macs > 0
        assert min(cost.latency_ms, cost.ram_bytes, cost.flash_model_bytes) > 0


# What is searched only where [space] says so: a value beside the default, and how the weights then change.
UNSEARCHED = [
    ("cnn1d", "stem_stride", 2, 0),
    ("ds_cnn", "width_growth", 1.5, 1),
    ("residual", "last_stride", 1, 0),
    ("mobilenet_v1", "most_blocks", 1, -1),
    ("mobilenet_v3", "expansion", 0.5, -1),
    ("mobilenet_v3", "most_blocks", 1, -1),
    ("ds_cnn", "squeeze_excite", "all", 1),
    ("mobilenet_v1", "squeeze_excite", "all", 1),
    ("mobilenet_v3", "squeeze_excite", "published", 1),
    ("mobilenet_v3", "activation", "published", 0),
]


def test_all_that_is_not_searched_by_default_is_tested() -> None:
    names = {(family, found.name) for family in network_families() for found in family_of(family).unsearched()}
    assert names == {(family, name) for family, name, _, _ in UNSEARCHED}


@pytest.mark.parametrize(("family", "name", "value", "sign"), UNSEARCHED)
def test_another_value_of_what_is_not_searched_is_another_network(
    family: str, name: str, value: float | str, sign: int
) -> None:
    shape = (16, 16, 1)
    largest = designs(family, shape)[2]
    usual, other = (built(family, one, shape) for one in (largest, Design({**largest, name: value})))
    assert np.sign(weight_count(other) - weight_count(usual)) == sign
    assert trace(other, shape).graph != trace(usual, shape).graph
    assert other(inputs(shape, 2)).shape == (2, OUTPUTS)


def test_ds_cnn_grows_from_its_middle_block_on() -> None:
    design = Design({**designs("ds_cnn", SHAPES[0])[0], "width": 10, "blocks": 3})
    for growth, expected in ((1.0, [10, 10, 10]), (1.5, [10, 16, 16])):
        graph = trace(built("ds_cnn", Design({**design, "width_growth": growth}), SHAPES[0]), SHAPES[0]).graph
        pointwise = [layer for layer in graph.weight_layers if layer.name.endswith("pointwise")]
        assert [graph.shapes[layer.name][2] for layer in pointwise] == expected


@pytest.mark.parametrize("family", network_families())
def test_every_integer_tensor_equals_the_slow_twin(family: str) -> None:
    check_against_the_slow_twin(family, designs(family, (5, 7, 2))[0])


@pytest.mark.parametrize(("family", "value"), [(row[0], row[2]) for row in UNSEARCHED if row[1] == "squeeze_excite"])
def test_so_does_squeeze_and_excitation(family: str, value: str) -> None:
    check_against_the_slow_twin(family, Design({**designs(family, (5, 7, 2))[0], "squeeze_excite": value}))


def check_against_the_slow_twin(family: str, design: Design) -> None:
    shape = (5, 7, 2)
    module = built(family, design, shape)
    network = quantise(module, trace(module, shape), inputs(shape, 16))
    sample = torch.randint(-128, 128, (1, 2, 5, 7), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    found = IntegerInterpreter(network).run(sample)
    for name, expected in ReferenceNetwork(network).run(sample[0].permute(1, 2, 0).numpy()).items():
        np.testing.assert_array_equal(found[name][0].permute(1, 2, 0).numpy(), expected, err_msg=name)


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown network family 'residul'; did you mean 'residual'"):
        load_family("residul")
