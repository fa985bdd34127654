"""Weights with a stored width under the engine that decodes them, beside TFLM as it is."""

from dataclasses import replace

import pytest

from hw_models.cost import estimate
from hw_models.decoding import CODE_BYTES, DECODED_BITS, SPREAD, Decoding, decoding, instructions
from hw_models.device import load_device
from hw_models.errors import HardwareModelError
from hw_models.flash import flash_image_bytes
from hw_models.graph.layer_graph import INPUT, Conv2D, Dense, DepthwiseConv2D, LayerGraph, Reshape
from hw_models.latency import instruction_count
from hw_models.runtime import load_runtime

BOARD, PLAIN, DECODES = load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn"), load_runtime("tflm-decode")
NETWORK = LayerGraph(
    (8, 8, 16),
    (
        Conv2D(name="conv", inputs=(INPUT,), out_channels=32, kernel=(3, 3)),
        DepthwiseConv2D(name="depthwise", inputs=("conv",), kernel=(5, 5)),
        Reshape(name="flat", inputs=("depthwise",)),
        Dense(name="dense", inputs=("flat",), out_channels=10, per_channel=True),
    ),
)


def stored(bits: int) -> LayerGraph:
    return NETWORK.resized(stored_bits=dict.fromkeys(("conv", "depthwise", "dense"), bits))


def test_without_a_stored_width_both_engines_are_one() -> None:
    for name in ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "energy_uj"):
        assert estimate(NETWORK, BOARD, DECODES).interval(name) == estimate(NETWORK, BOARD, PLAIN).interval(name)


@pytest.mark.parametrize("bits", DECODED_BITS)
def test_decoding_saves_file_and_takes_code_arena_and_time(bits: int) -> None:
    plain, decoded = (estimate(stored(bits), BOARD, runtime) for runtime in (PLAIN, DECODES))
    saved = plain.flash_model_bytes - decoded.flash_model_bytes
    weights = 32 * 9 * 16 + 32 * 25 + 8 * 8 * 32 * 10
    assert 0 < saved < weights * (8 - bits) / 8
    assert decoded.engine_bytes - plain.engine_bytes == CODE_BYTES
    assert flash_image_bytes(stored(bits), DECODES) == decoded.flash_image_bytes
    # The largest layer's weights lie in the arena while it runs.
    assert decoded.value("ram_bytes") - plain.value("ram_bytes") > 8 * 8 * 32 * 10 - 8 * 8 * 32 * 2
    assert "dense weights" in {buffer.name for buffer in decoded.memory.buffers}  # type: ignore[union-attr]
    counts = [instruction_count(stored(bits), "cortex-m4", runtime) for runtime in (PLAIN, DECODES)]
    assert counts[1] - counts[0] > 3 * weights
    assert decoded.latency_ms > plain.latency_ms
    assert decoded.nearest_kinds == ()


def test_the_bar_of_a_network_that_is_mostly_decoded_is_wide() -> None:
    dense = LayerGraph((1, 1, 256), (Dense(name="x", inputs=(INPUT,), out_channels=256, stored_bits=5),))
    plain, decoded = (estimate(dense, BOARD, runtime).log_std["latency_ms"] for runtime in (PLAIN, DECODES))
    assert decoded > max(plain, 0.6 * SPREAD)


def test_which_layers_are_decoded() -> None:
    conv = Conv2D(name="conv", inputs=(INPUT,), out_channels=32, kernel=(3, 3))
    inputs, output = ((8, 8, 16),), (8, 8, 32)
    wide = replace(conv, stored_bits=3)
    assert decoding(wide, inputs, output) == Decoding(3, 32 * 9 * 16, 32, False)
    assert decoding(replace(wide, weight_bits=4), inputs, output) is None
    assert decoding(conv, inputs, output) is None
    small = replace(wide, out_channels=2, kernel=(1, 1))
    assert decoding(small, inputs, (8, 8, 2)) is None


def test_groups_begin_at_multiples_of_their_size() -> None:
    """Channels of 27 weights: 0..27 holds one group of 16, 27..54 one (32..48), 54..81 one (64..80), the last none."""
    assert Decoding(2, 4 * 27, 4, False).terms == {"grouped": 3 * 16, "single": 60, "channels": 4, "call": 1}
    assert Decoding(5, 4 * 27, 4, False).terms["grouped"] == 0
    assert Decoding(2, 9 * 8, 8, True).terms == {"grouped": 0, "single": 72, "channels": 9, "call": 1}


def test_a_core_that_nothing_was_counted_on_is_named() -> None:
    with pytest.raises(HardwareModelError, match="DECODE was not counted on the core cortex-x; counted are cortex-m0"):
        instructions(Decoding(2, 640, 1, False), "cortex-x")
