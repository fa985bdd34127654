"""Published networks are designs of the families: their multiply-accumulates and sizes, derived layer by layer."""

from collections.abc import Mapping
from itertools import pairwise

import pytest
import torch

from envs.compression import CompressionPolicy, compressed_graph, prune, pruning_groups, quantise
from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models import estimate, load_device, load_runtime
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import LayerGraph, Shape
from hw_models.graph.layers import ActivationLayer
from mobo.base.errors import MoboError
from mobo.tinyml.networks import load_family

PUBLISHED: Mapping[str, tuple[str, Mapping[str, float | str], Shape, int]] = {
    "resnet8": (
        "residual",
        {"width": 16, "stages": 3, "blocks": 1, "width_growth": 2.0, "kernel": 3, "stem_stride": 1},
        (32, 32, 3),
        10,
    ),
    "resnet18 of three stages": (
        "residual",
        {"width": 48, "stages": 3, "blocks": 2, "width_growth": 2.0, "kernel": 3, "stem_stride": 1},
        (32, 32, 3),
        10,
    ),
    "ds_cnn": (
        "ds_cnn",
        {"width": 64, "blocks": 4, "kernel": 3, "stem_kernel_h": 10, "stem_kernel_w": 4, "stem_stride": 2, "middle_stride": 1},
        (49, 10, 1),
        12,
    ),
    "mobilenet_v1 0.25": (
        "mobilenet_v1",
        {"width_multiplier": 0.25, "stages": 5, "wide_blocks": 6, "kernel": 3, "stem_stride": 2},
        (96, 96, 3),
        2,
    ),
    "mobilenet_v3 on maps": (
        "mobilenet_v3",
        {"width_multiplier": 0.5, "stages": 5, "kernel": 5, "stem_stride": 2},
        (32, 32, 3),
        10,
    ),
    "mobilenet_v3 on signals": (
        "mobilenet_v3",
        {"width_multiplier": 0.5, "stages": 5, "kernel": 5, "stem_stride": 2},
        (1, 256, 24),
        13,
    ),
    "mobilenet_v3 with all that the paper has": (
        "mobilenet_v3",
        {"width_multiplier": 0.5, "stages": 3, "kernel": 5, "stem_stride": 2, "squeeze_excite": "published", "activation": "published"},
        (32, 32, 3),
        10,
    ),
    "appliance network": (
        "cnn1d",
        {"width": 20, "layers": 5, "width_growth": 2.0, "kernel": 3, "pool": 2},
        (1, 512, 1),
        12,
    ),
    "autoencoder": ("autoencoder", {"width": 128, "layers": 4, "bottleneck": 8}, (1, 1, 640), 640),
}  # fmt: skip


def graph_of(family: str, values: Mapping[str, float | str], shape: Shape, class_count: int) -> LayerGraph:
    return trace(load_family(family).build(values, shape, class_count), shape).graph


def parameter_count(graph: LayerGraph) -> int:
    """Return weights and biases with the batch norms folded: what is stored on the target."""
    weights = sum(layer.weight_count(graph.input_shapes(layer)) for layer in graph.weight_layers)
    return weights + sum(graph.shapes[layer.name][2] for layer in graph.weight_layers)


def residual_parameters(widths: tuple[int, ...], blocks: int, kernel: int, channels: int, classes: int) -> int:
    """Count a residual network by its formula: stem, stages of blocks with a projection where the width changes."""
    total = kernel**2 * channels * widths[0] + widths[0]
    before = widths[0]
    for width in widths:
        projection = before * width + width if width != before else 0
        first = kernel**2 * (before * width + width * width) + 2 * width + projection
        total += first + (blocks - 1) * (2 * kernel**2 * width * width + 2 * width)
        before = width
    return total + (before + 1) * classes


def test_lenet5() -> None:
    """28x28 padded, 6 and 16 filters of 5x5, dense 400-120-84-10: 61,706 parameters, batch norms folded."""
    graph = graph_of("lenet5", {"width_multiplier": 1.0}, (28, 28, 1), 10)
    dense = 400 * 120 + 120 * 84 + 84 * 10
    assert graph.macs == 28 * 28 * 25 * 6 + 10 * 10 * 25 * 6 * 16 + dense
    assert parameter_count(graph) == (25 + 1) * 6 + (25 * 6 + 1) * 16 + dense + 120 + 84 + 10 == 61_706


def test_resnet8_of_mlperf_tiny() -> None:
    """12,501,632 MACs; the reference file holds 77,708 constants, two of them the target of a reshape."""
    graph = graph_of(*PUBLISHED["resnet8"])
    assert graph.macs == 12_501_632
    assert parameter_count(graph) == residual_parameters((16, 32, 64), 1, 3, 3, 10) == 77_708 - 2


def test_resnet18_of_three_stages() -> None:
    """The 3-stage ResNet-18 of the paper has 1.6 million parameters on 32x32x3; width 48 comes to that."""
    graph = graph_of(*PUBLISHED["resnet18 of three stages"])
    assert parameter_count(graph) == residual_parameters((48, 96, 192), 2, 3, 3, 10) == 1_562_410
    # Blocks cost the same at every stage; the two that enter a stage read half the channels in their first convolution.
    block = 32 * 32 * 2 * 9 * 48 * 48
    projections = 16 * 16 * 48 * 96 + 8 * 8 * 96 * 192
    assert graph.macs == 32 * 32 * 27 * 48 + 4 * block + 2 * block * 3 // 4 + projections + 192 * 10 == 237_258_624
    # 18 layers less the four convolutions of the fourth stage, and two projections.
    assert len(graph.weight_layers) == 18 - 4 + 2


def test_keyword_network_of_mlperf_tiny() -> None:
    """49x10 input, stem 10x4 stride 2 and 64 channels, four 3x3 blocks: 2,656,768 MACs, 24,908 parameters unfolded."""
    graph = graph_of(*PUBLISHED["ds_cnn"])
    # Stem 25*5*64*40, four blocks of 25*5*64*9 and 25*5*64*64, dense 64*12.
    assert graph.macs == 125 * 64 * 40 + 4 * (125 * 64 * 9 + 125 * 64 * 64) + 64 * 12 == 2_656_768
    assert parameter_count(graph) == 22_604
    # The reference counts the four values per channel of nine batch norms beside the convolutions' own biases.
    assert parameter_count(graph) + 9 * 64 * 4 == 24_908


def test_visual_wake_words_network_of_mlperf_tiny() -> None:
    """MobileNetV1 0.25 on 96x96x3: 7,489,664 MACs; 210,852 constants, two of them the target of a reshape."""
    graph = graph_of(*PUBLISHED["mobilenet_v1 0.25"])
    assert graph.macs == 7_489_664
    assert parameter_count(graph) == 210_852 - 2


def test_mobilenet_v3_small_has_the_topology_of_the_paper() -> None:
    """Table 2 for 224x224x3: eleven blocks, a shortcut in all that keep their shape, 7x7x576 at the end, 56 million MACs."""
    values = {"width_multiplier": 1.0, "stages": 5, "kernel": 5, "stem_stride": 2}
    graph = graph_of("mobilenet_v3", values, (224, 224, 3), 1000)
    assert graph.shapes["widen.0"] == (7, 7, 576)
    depthwise = [layer for layer in graph.layers if layer.kind == "depthwise_conv2d"]
    assert [graph.shapes[layer.name][2] for layer in depthwise] == [16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576]
    # The first block of every stage changes the shape.
    assert sum(layer.kind == "add" for layer in graph.layers) == 11 - 5
    assert round(graph.macs / 1e6) == 56


def test_mobilenet_v3_small_of_the_paper() -> None:
    """Table 2 for 224x224x3 and 1000 classes: 2.5 million parameters; torchvision's has 2,542,856."""
    values = {"width_multiplier": 1.0, "stages": 5, "kernel": 5, "stem_stride": 2}
    published = {"squeeze_excite": "published", "activation": "published"}
    module = load_family("mobilenet_v3").build({**values, **published}, (224, 224, 3), 1000)
    assert sum(parameter.numel() for parameter in module.parameters()) == 2_542_856
    graph = trace(module, (224, 224, 3)).graph
    gates = [layer for layer in graph.layers if layer.kind == "elementwise"]
    assert [graph.shapes[layer.name][2] for layer in gates] == [16, 96, 240, 240, 120, 144, 288, 576, 576]
    # Stem, two for each of the blocks from the fourth on, the last convolution, the dense layer.
    swishes = [layer for layer in graph.layers if isinstance(layer, ActivationLayer)]
    assert len(swishes) == 1 + 2 * 8 + 1 + 1
    assert {layer.activation for layer in swishes} == {"hard_swish"}


def test_mobilenet_v3_reaches_the_size_of_the_activity_network() -> None:
    """The paper's MobileNetV3 for DaLiAc (1024 samples of 24 channels, 13 classes) has 2.3 million parameters."""
    values = {"width_multiplier": 1.5, "stages": 5, "kernel": 5, "stem_stride": 2}
    assert round(parameter_count(graph_of("mobilenet_v3", values, (1, 1024, 24), 13)) / 1e6, 1) == 2.3


@pytest.mark.parametrize("family", ["mobilenet_v1", "mobilenet_v3"])
@pytest.mark.parametrize("stages", [0, 6])
def test_stages_that_the_paper_does_not_have_are_refused(family: str, stages: int) -> None:
    values = {"width_multiplier": 0.25, "stages": stages, "wide_blocks": 1, "kernel": 3, "stem_stride": 1}
    with pytest.raises(MoboError, match=rf"space\.stages: {stages} stages are asked for; this family has 1 to 5"):
        load_family(family).build(values, (8, 8, 1), 2)


def test_anomaly_detection_network_of_mlperf_tiny() -> None:
    """640-128-128-128-128-8-128-128-128-128-640: 264,192 MACs, 265,864 constants."""
    graph = graph_of(*PUBLISHED["autoencoder"])
    biases = 8 * 128 + 8 + 640
    assert graph.macs == 2 * (640 * 128 + 3 * 128 * 128 + 128 * 8) == 264_192
    assert parameter_count(graph) == graph.macs + biases == 265_864


@pytest.mark.parametrize(("classes", "megabytes"), [(12, 0.83), (33, 0.86)])
def test_appliance_network_reaches_its_published_size(classes: int, megabytes: float) -> None:
    """Five layers and 0.83 MB in float32; with more appliances the dense layer grows."""
    family, values, shape, _ = PUBLISHED["appliance network"]
    graph = graph_of(family, values, shape, classes)
    widths = (1, 20, 40, 80, 160, 320)
    convolutions = sum(3 * before * after + after for before, after in pairwise(widths))
    assert parameter_count(graph) == convolutions + 321 * classes
    assert round(4 * parameter_count(graph) / 1e6, 2) == megabytes
    # The map of 512 positions is halved behind every layer but the last.
    positions = (512, 256, 128, 64, 32)
    per_position = [3 * before * after for before, after in pairwise(widths)]
    assert graph.macs == sum(n * macs for n, macs in zip(positions, per_position, strict=True)) + 320 * classes


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_network_is_pruned_quantised_and_costed(name: str) -> None:
    """Without half of every group's channels it has the predicted graph, runs in integers and costs less."""
    family, values, shape, outputs = PUBLISHED[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = load_family(family).build(values, shape, outputs).eval()
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    policy = CompressionPolicy({group.name: 0.5 for group in groups if group.prunable})
    smaller = prune(module, traced, groups, policy, channel_round=4)
    found = trace(smaller, shape)
    assert found.graph == compressed_graph(traced.graph, groups, policy, channel_round=4)
    x = torch.randn(4, shape[2], *shape[:2], generator=torch.Generator().manual_seed(1))
    network = quantise(smaller, found, x)
    assert IntegerInterpreter(network).logits(x).shape == (4, outputs)
    cost = estimate(network.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    before = estimate(traced.graph, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
    for total in ("macs", "flash_model_bytes", "latency_ms"):
        assert 0 < cost.value(total) < 0.75 * before.value(total)
