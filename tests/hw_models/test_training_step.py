"""What training the last layers costs, against sums worked out by hand."""

import math

import pytest

from hw_models import estimate, load_device, load_runtime
from hw_models.graph.layer_graph import (
    INPUT,
    Conv2D,
    Dense,
    LayerGraph,
    MaxPool2D,
    Reshape,
)
from hw_models.interval import Z80
from hw_models.training_step import TrainingStepError, training_step

# 8x8x1 -> 8x8x4 -> 4x4x4 -> 64 -> 16 -> 10
GRAPH = LayerGraph(
    (8, 8, 1),
    (
        Conv2D(name="conv", inputs=(INPUT,), out_channels=4, kernel=(3, 3), stride=(1, 1), padding="same"),
        MaxPool2D(name="pool", inputs=("conv",), kernel=(2, 2), stride=(2, 2), padding="valid"),
        Reshape(name="flat", inputs=("pool",)),
        Dense(name="hidden", inputs=("flat",), out_channels=16),
        Dense(name="logits", inputs=("hidden",), out_channels=10),
    ),
    8,
)
COST = estimate(GRAPH, load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"))
LATENCY = {row.name: row.latency_ms for row in COST.rows}


def test_the_last_layer_alone_needs_no_errors_before_it() -> None:
    step = training_step(GRAPH, COST, last=1)
    (layer,) = step.layers
    assert (layer.name, layer.parameters, layer.kept_bytes) == ("logits", 170, 16)
    assert (layer.forward_macs, layer.backward_macs) == (160, 160)
    # 160 weights of a byte, 10 biases of four; a sum of four bytes each; errors of 10 outputs.
    assert (step.weights_bytes, step.sums_bytes, step.errors_bytes, step.kept_bytes) == (200, 680, 10, 16)
    assert step.backward_ms == pytest.approx(LATENCY["logits"])
    assert step.ram_bytes == COST.ram_bytes + 200 + 680 + 10 + 16


def test_errors_go_back_through_what_lies_between() -> None:
    step = training_step(GRAPH, COST, last=3)
    assert [layer.name for layer in step.layers] == ["conv", "hidden", "logits"]
    assert [layer.backward_macs / layer.forward_macs for layer in step.layers] == [1, 2, 2]
    # The inputs of the three, and where each of the 64 maxima was.
    assert step.kept_bytes == 64 + 64 + 16 + 64
    # The widest pair: 64 errors behind the pooling, 256 before it.
    assert step.errors_bytes == 64 + 256
    between = LATENCY["pool"] + LATENCY["flat"]
    expected = LATENCY["conv"] + between + 2 * (LATENCY["hidden"] + LATENCY["logits"])
    assert step.backward_ms == pytest.approx(expected)
    assert step.forward_ms == pytest.approx(COST.latency_ms)


def test_its_bar_is_wider_than_that_of_the_inference() -> None:
    step = training_step(GRAPH, COST, last=2)
    spread = math.hypot(COST.log_std["latency_ms"], math.log(2) / Z80)
    assert step.latency_ms.high / step.latency_ms.value == pytest.approx(math.exp(Z80 * spread))
    told = step.to_dict()
    assert (told["ram_bytes"], told["latency_ms_low"]) == (step.ram_bytes, step.latency_ms.low)


@pytest.mark.parametrize("last", [0, 4])
def test_layers_that_do_not_exist_are_refused(last: int) -> None:
    with pytest.raises(TrainingStepError, match=f"the last {last} layers with weights .* the network has 3"):
        training_step(GRAPH, COST, last=last)
