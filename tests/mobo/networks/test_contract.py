"""What every network family must offer, run over all of them."""

import numpy as np
import pytest
import torch

from hw_models.from_torch import trace
from hw_models.graph import Shape
from mobo.networks import load_family, network_families
from mobo.space import Design, SearchSpace

SHAPES: tuple[Shape, ...] = ((8, 8, 1), (49, 10, 1), (1, 128, 3))


def designs(family: str, shape: Shape) -> list[Design]:
    """Return both extremes, the middle and a few random designs."""
    space = SearchSpace(load_family(family).parameters(shape))
    generator = np.random.default_rng(0)
    points = [np.zeros(len(space)), np.full(len(space), 0.5), np.ones(len(space)), *generator.random((3, len(space)))]
    return [space.decode(point) for point in points]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("family", network_families())
class TestFamily:
    def test_every_design_builds_and_traces_to_what_torch_computes(self, family: str, shape: Shape) -> None:
        for design in designs(family, shape):
            module = load_family(family).build(design, shape, 5).eval()
            graph = trace(module, shape).graph
            assert graph.shapes[graph.output] == (1, 1, 5)
            height, width, channels = shape
            assert module(torch.zeros(2, channels, height, width)).shape == (2, 5)
            weights = sum(layer.weight_count(graph.input_shapes(layer)) for layer in graph.weight_layers)
            assert weights == sum(p.numel() for name, p in module.named_parameters() if p.ndim > 1)

    def test_the_global_generator_alone_decides_the_weights(self, family: str, shape: Shape) -> None:
        design = designs(family, shape)[1]
        modules = []
        for _ in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(3)
                modules.append(load_family(family).build(design, shape, 5))
        first, second = (torch.cat([p.flatten() for p in module.parameters()]) for module in modules)
        assert torch.equal(first, second)


def test_mlperf_keyword_network_is_a_design() -> None:
    """DS-CNN of MLPerf Tiny: 49x10 input, stem 10x4 stride 2 and 64 channels, four 3x3 blocks: 2,656,768 MACs."""
    values = {
        "width": 64,
        "blocks": 4,
        "kernel": 3,
        "stem_kernel_h": 10,
        "stem_kernel_w": 4,
        "stem_stride": 2,
        "middle_stride": 1,
    }
    graph = trace(load_family("ds_cnn").build(values, (49, 10, 1), 12), (49, 10, 1)).graph
    # Stem 25*5*64*40, four blocks of 25*5*64*9 and 25*5*64*64, dense 64*12.
    assert graph.macs == 125 * 64 * 40 + 4 * (125 * 64 * 9 + 125 * 64 * 64) + 64 * 12 == 2_656_768


def test_an_unknown_family_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown network family 'residul'; did you mean 'residual'"):
        load_family("residul")
