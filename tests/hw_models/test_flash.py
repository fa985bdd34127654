"""Model size: by hand, and against the sizes of published files."""

from math import ceil

import pytest

from experiments.costs.reference_networks import autoencoder, resnet8
from hw_models.flash import flash_image_bytes, flash_model_bytes, layer_flash_bytes
from hw_models.graph.layer_graph import Conv2D, LayerGraph
from hw_models.kernels import kernel_call
from tests.hw_models.factories import LAYER_FACTORIES, runtime


@pytest.mark.parametrize(("bits", "weight_bytes"), [(8, 8 * 3 * 3 * 4), (4, 8 * 3 * 3 * 4 // 2)])
def test_a_convolution_by_hand(bits: int, weight_bytes: int) -> None:
    graph, flash = LAYER_FACTORIES["conv2d"]().resized(weight_bits={"x": bits}), runtime().flash
    structure = flash.operator_bytes + 8 * flash.channel_bytes
    expected = ceil(flash.base_bytes) + ceil(structure + weight_bytes + 4 * 8)
    assert flash_model_bytes(graph, runtime()) == expected
    assert flash_image_bytes(graph, runtime()) == expected + 117_520


def test_an_odd_number_of_four_bit_weights_takes_a_whole_byte() -> None:
    # One output channel of a 3x3 convolution on 3 channels has 27 weights: 14 bytes, not 13.5; two have 54: 27 bytes.
    flash = runtime().flash.model_copy(update={"operator_bytes": 0.0, "channel_bytes": 0.0})
    model = runtime().model_copy(update={"flash": flash})
    sizes = []
    for channels in (1, 2):
        layer = Conv2D(name="x", inputs=("input",), out_channels=channels, kernel=(3, 3), weight_bits=4)
        output = layer.output_shape([(6, 6, 3)])
        call = kernel_call(layer, [(6, 6, 3)], output)
        sizes.append(layer_flash_bytes(layer, [(6, 6, 3)], output, call, model, "cortex-m4") - 4 * channels)
    assert sizes == [14, 27]


@pytest.mark.parametrize(
    ("graph", "file_bytes", "tolerance"),
    # The converter of the MLPerf Tiny convolution models stored more per channel than those the constants come from.
    [(autoencoder(), 276_976, 0.001), (resnet8(), 98_496, 0.03)],
)
def test_published_files(graph: LayerGraph, file_bytes: int, tolerance: float) -> None:
    assert flash_model_bytes(graph, runtime()) == pytest.approx(file_bytes, rel=tolerance)
