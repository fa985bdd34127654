import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from envs.compression.integer.kernels import quantise_values
from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from hw_models.generated_c import packing
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    LayerGraph,
    Patches,
    Quantize,
    Reshape,
    Softmax,
)
from mobo.export.c.layers import pad_before
from mobo.export.c.memory import plan_arena, scratch_bytes
from mobo.export.c.model import QUANTISE_SOURCE, float_literal
from mobo.export.c.project import c_layers, project_sources
from mobo.export.c.text import comment
from mobo.export.c.weights import arranged, output_stage, packed
from mobo.export.errors import ExportError
from mobo.export.firmware.host import SANITIZERS, run_on_host
from tests.envs.networks import NETWORKS
from tests.mobo.export.c.projects import (
    STORED,
    layer_networks,
    packed_network,
    patched_networks,
    vectors,
    write_project,
)
from tests.mobo.export.quantised_networks import by_hand, family

LAYERS = layer_networks()
PATCHED = patched_networks()
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Compiled kernels: the same for most layers and networks."""
    return tmp_path_factory.mktemp("objects")


@needs_compiler
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_what_the_integer_interpreter_computes_and_sanitizers_are_silent(name, objects, tmp_path):
    inputs, expected = vectors(LAYERS[name], 6)
    project = write_project(LAYERS[name], tmp_path)
    outputs, classes = run_on_host(project, inputs, flags=("-O1", "-Werror", *SANITIZERS), objects=objects)
    np.testing.assert_array_equal(outputs, expected)
    np.testing.assert_array_equal(classes, expected.argmax(axis=1))


@needs_compiler
@pytest.mark.parametrize(
    "name", [name if name in ("w8", "16 bits") else pytest.param(name, marks=pytest.mark.slow) for name in PATCHED]
)
def test_what_runs_patch_by_patch_computes_the_same_and_sanitizers_are_silent(name, objects, tmp_path):
    inputs, expected = vectors(PATCHED[name], 6)
    project = write_project(PATCHED[name], tmp_path)
    outputs, _ = run_on_host(project, inputs, flags=("-O1", "-Werror", *SANITIZERS), objects=objects)
    np.testing.assert_array_equal(outputs, expected)


def test_every_patch_finds_its_rows_in_tables_of_the_project():
    # Two patches of the first layer: rows read, made, above, left out; the second reads from row 3 on.
    layer = Conv2D(name="a", inputs=(INPUT,), out_channels=2, kernel=(3, 3))
    network = by_hand(LayerGraph((7, 2, 1), (layer,), patches=Patches("a", 4)))
    text = project_sources(network, c_layers(network), plan_arena(network.graph), "t")["model.c"]
    assert "l0_a_patches[8] = {\n  5, 4, 1, 0, 4, 3, 0, 3\n}" in text
    assert "for (i = 0; i < 2; ++i) {" in text
    assert " + i * 16, " in text


@needs_compiler
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_computes_what_the_integer_interpreter_computes(name, objects, tmp_path):
    network = family(name)
    inputs, expected = vectors(network, 5)
    outputs, _ = run_on_host(write_project(network, tmp_path), inputs, objects=objects)
    np.testing.assert_array_equal(outputs, expected)


@needs_compiler
def test_inputs_of_another_size_are_refused(tmp_path):
    network = LAYERS["dense w8"]
    inputs, _ = vectors(network, 3)
    with pytest.raises(ExportError, match="another shape"):
        run_on_host(write_project(network, tmp_path), inputs[:, :1])


@needs_compiler
def test_a_project_that_does_not_compile_shows_the_compilers_words(tmp_path):
    project = write_project(LAYERS["dense w8"], tmp_path)
    (project / "model.c").write_text("int model_predict(void) { return missing; }")
    with pytest.raises(ExportError, match="missing"):
        run_on_host(project, vectors(LAYERS["dense w8"], 2)[0])


@needs_compiler
def test_real_inputs_are_quantised_as_the_interpreter_does(tmp_path):
    network = LAYERS["dense w8"]
    write_project(network, tmp_path)
    values = np.random.default_rng(0).normal(0, 4, network.graph.input_shape).astype(np.float32)
    values.reshape(-1)[:6] = [0.0, -0.0, 1e30, -1e30, np.inf, -np.inf]
    main = (
        '#include <stdio.h>\n#include "model.h"\nint main(void) { static float x[MODEL_INPUT_BYTES]; '
        "static int8_t y[MODEL_INPUT_BYTES]; if (fread(x, 4, MODEL_INPUT_BYTES, stdin) != MODEL_INPUT_BYTES) return 1;"
        "model_quantise_input(x, y); return fwrite(y, 1, MODEL_INPUT_BYTES, stdout) != MODEL_INPUT_BYTES; }"
    )
    (tmp_path / "main.c").write_text(main)
    files = ["model_quantise_input.c", "main.c"]
    subprocess.run(["cc", "-std=c99", "-fsanitize=undefined", "-o", "a", *files], cwd=tmp_path, check=True)
    found = subprocess.run([tmp_path / "a"], input=values.tobytes(), capture_output=True, check=True).stdout
    expected = quantise_values(torch.from_numpy(values), network.tensors[INPUT]).numpy()
    np.testing.assert_array_equal(np.frombuffer(found, np.int8), expected.reshape(-1))
    assert "model_quantise_input" in QUANTISE_SOURCE


def test_only_kernels_that_are_called_are_copied():
    network = LAYERS["dense w4"]
    files = project_sources(network, c_layers(network), plan_arena(network.graph), "t")
    assert {path for path in files if path.endswith(".c")} == {
        "model.c", "model_quantise_input.c", "kernels/mobo_arithmetic.c", "kernels/mobo_dense_w4.c",
    }  # fmt: skip


def test_eight_bit_rows_lie_in_pairs_four_elements_each():
    layer = Dense(name="d", inputs=(INPUT,), out_channels=2)
    values = np.array([[1, 2, 3, 4, 5], [11, 12, 13, 14, 15]], np.int8)
    assert arranged(layer, values).tolist() == [1, 2, 3, 4, 11, 12, 13, 14, 5, 0, 0, 0, 15, 0, 0, 0]


def test_four_bit_rows_share_bytes_plus_eight():
    layer = Dense(name="d", inputs=(INPUT,), out_channels=2, weight_bits=4)
    values = np.array([[-7, 0, 7, 1], [1, 2, 3, -1]], np.int8)
    # low half: first row + 8; high half: second row + 8
    assert arranged(layer, values).tolist() == [0x91, 0xA8, 0xBF, 0x79]


def test_int16_weights_lie_as_pairs_of_inputs_meet_them():
    layer = Dense(name="d", inputs=(INPUT,), out_channels=2, output_bits=16)
    values = np.array([[1, 2, 3, 4], [11, 12, 13, 14]], np.int8)
    assert arranged(layer, values).tolist() == [1, 3, 2, 4, 11, 13, 12, 14]


@pytest.mark.parametrize(("bits", "stored"), STORED)
def test_packed_weights_lie_in_words_of_bits_of_the_same_weight(bits, stored):
    rng, half = np.random.default_rng(stored), 1 << stored - 1
    layer = Dense(name="d", inputs=(INPUT,), out_channels=4, weight_bits=bits, stored_bits=stored)
    values = rng.integers(1 - half, half, (4, 16), np.int8)
    how = packing(layer, [(1, 1, 16)], (1, 1, 4))
    words = packed(layer, values, how).view("<u4").reshape(-1, stored).astype(np.int64)
    # Read back as the comment in mobo_unpack.c says: words of 8 bits or 4 each, the lower bits first.
    low, found = 4 if stored > 4 else 2, []
    for block in words:
        for k in range(bits):
            word = 0
            for first, width, plane in ((0, low, block[:low]), (low, stored - low, block[low:])):
                for field in range(32 // bits) if width else ():
                    part = int(plane[k // (bits // width)]) >> (bits * field + width * (k % (bits // width)))
                    word |= (part & ((1 << width) - 1)) << (bits * field + first)
            found += [(word >> bits * field & ((1 << bits) - 1)) - half for field in range(32 // bits)]
    pairs = values.reshape(2, 2, 4, 4)
    expected = pairs.transpose(0, 2, 1, 3) if bits == 8 else pairs.transpose(0, 2, 3, 1)
    assert found == expected.reshape(-1).tolist()
    with pytest.raises(
        ExportError, match=f"holds the weight {half}; of {stored} stored bits the largest is {half - 1}"
    ):
        packed(layer, np.full_like(values, half), how)


def test_layers_with_plain_and_with_packed_weights_share_their_kernel():
    network = packed_network(8, 3)
    files = project_sources(network, c_layers(network), plan_arena(network.graph), "t")
    kernels = {path: text for path, text in files.items() if path.startswith("kernels/") and path.endswith(".c")}
    unpacking = {path for path, text in kernels.items() if text.startswith("#define MOBO_PACKED\n")}
    assert unpacking == {f"kernels/mobo_{kind}_w8.c" for kind in ("conv2d", "depthwise", "dense")}
    assert kernels.keys() - unpacking == {"kernels/mobo_arithmetic.c", "kernels/mobo_unpack.c"}
    assert "mobo_conv2d_w8(&l0_plain," in files["model.c"]
    assert "mobo_conv2d_w8_packed(&l1_conv," in files["model.c"]


def int16_dense(weight: int, bias: int, activation: str = "none") -> QuantisedNetwork:
    """Return a dense layer of 516 equal weights that reads int16 behind a layer with an activation."""
    source = ActivationLayer(name="source", inputs=("wide",), activation=activation, output_bits=16)
    before = [Quantize(name="wide", inputs=(INPUT,), output_bits=16)] + ([source] if activation != "none" else [])
    dense = Dense(name="d", inputs=(before[-1].name,), out_channels=1, output_bits=16)
    graph = LayerGraph((1, 1, 516), (*before, dense))
    tensors = {name: TensorQuantisation(2.0**-8 if bits == 16 else 0.5, 0) for name, bits in graph.bits.items()}
    values = np.full((1, 516), weight, np.int8)
    weights = QuantisedWeights(values, np.array([bias], np.int64), np.array([0.01], np.float32))
    return QuantisedNetwork(graph, tensors, {"d": weights})


@pytest.mark.parametrize(
    ("weight", "bias", "wide"),
    [
        # 516 * 127 * 2^15 = 2147352576, and 131072 below 2^31
        (-127, 131071, False),
        (-127, 131072, True),
        (127, 2**33, True),
    ],
)
def test_sums_have_32_bits_where_the_weights_prove_that_they_suffice(weight, bias, wide):
    network = int16_dense(weight, bias)
    assert output_stage(network, network.graph.layer("d")).wide is wide


def test_a_relu_before_a_layer_halves_what_its_sums_can_reach():
    network = int16_dense(-127, 131072, "relu")
    layer = network.graph.layer("d")
    # Inputs from 0 to 32767: 516 * 127 * 32767 is smaller by 516 * 127.
    assert not output_stage(network, layer).wide
    values = network.weights["d"].values.copy()
    values[0, ::2] = 127
    mixed = QuantisedWeights(values, np.array([2**30], np.int64), network.weights["d"].scales)
    assert not output_stage(replace(network, weights={"d": mixed}), layer).wide


def test_sums_beyond_48_bits_are_refused():
    network = int16_dense(1, 2**47)
    with pytest.raises(ExportError, match=r"'d' can reach an accumulator of .*, beyond 48 bits"):
        output_stage(network, network.graph.layer("d"))


def test_a_depthwise_window_whose_products_leave_32_bits_is_refused():
    wide = Quantize(name="wide", inputs=(INPUT,), output_bits=16)
    layer = DepthwiseConv2D(name="dw", inputs=("wide",), kernel=(23, 23), output_bits=16)
    network = by_hand(LayerGraph((23, 23, 1), (wide, layer)))
    # 529 taps of 127: 2201486336 beyond 2^31
    weights = replace(network.weights["dw"], values=np.full((1, 23, 23, 1), 127, np.int8))
    with pytest.raises(ExportError, match=r"'dw' can reach an accumulator of 2201.*8-bit activations"):
        c_layers(replace(network, weights={"dw": weights}))


def test_an_addition_writes_over_an_input_that_nobody_reads_again():
    shape = (4, 4, 8)
    stem = Conv2D(name="stem", inputs=(INPUT,), out_channels=8, kernel=(1, 1))
    inner = Conv2D(name="inner", inputs=("stem",), out_channels=8, kernel=(1, 1))
    add = Add(name="add", inputs=("stem", "inner"))
    plan = plan_arena(LayerGraph(shape, (stem, inner, add)))
    assert plan.offsets["add"] == plan.offsets["stem"]
    # stem and inner live together, the input only beside stem: two buffers of 128 bytes.
    assert plan.bytes == 256


def test_an_addition_leaves_alone_what_is_read_later():
    shape = (4, 4, 8)
    first = Conv2D(name="first", inputs=(INPUT,), out_channels=8, kernel=(1, 1))
    add = Add(name="add", inputs=("first", INPUT))
    again = Add(name="again", inputs=("add", "first"))
    plan = plan_arena(LayerGraph(shape, (first, add, again)))
    assert plan.offsets["add"] == plan.offsets[INPUT] != plan.offsets["first"]


def test_a_reshaped_tensor_keeps_the_buffer_of_its_map_alive():
    shape = (2, 2, 4)
    flat = Reshape(name="flat", inputs=(INPUT,))
    dense = Dense(name="dense", inputs=("flat",), out_channels=3)
    plan = plan_arena(LayerGraph(shape, (flat, dense)))
    assert plan.offsets["flat"] == plan.offsets[INPUT]
    # 16 bytes of input and 3 of output, rounded up to 4
    assert plan.bytes == 20


def test_scratch_is_two_windows_and_none_for_one_by_one_kernels():
    small = Conv2D(name="c", inputs=(INPUT,), out_channels=8, kernel=(1, 1))
    large = Conv2D(name="c", inputs=(INPUT,), out_channels=8, kernel=(3, 3))
    # 3 * 3 * 3 = 27 elements, rounded up to 28
    assert scratch_bytes(LayerGraph((4, 4, 3), (large,)), large) == 56
    assert scratch_bytes(LayerGraph((4, 4, 3), (small,)), small) == 0


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"), [(8, 3, 1, 1), (8, 3, 2, 0), (7, 3, 2, 1), (5, 1, 2, 0)]
)
def test_same_padding_puts_the_smaller_half_before(size, kernel, stride, expected):
    output = -(-size // stride)
    assert pad_before(size, kernel, stride, output, "same") == expected
    assert pad_before(size, kernel, stride, output, "valid") == 0


def test_layers_that_cannot_be_computed_are_named():
    dense = Dense(name="head", inputs=(INPUT,), out_channels=2, weight_bits=8, output_bits=16)
    with pytest.raises(ExportError, match=r"'head' reads 8 bits and writes 16; .*: put a quantisation between them"):
        c_layers(by_hand(LayerGraph((1, 1, 4), (dense,))))
    wide = Quantize(name="wide", inputs=(INPUT,), output_bits=16)
    narrow_weights = Dense(name="head", inputs=("wide",), out_channels=2, weight_bits=4, output_bits=16)
    with pytest.raises(ExportError, match="'head' has 4-bit weights and 16-bit activations"):
        c_layers(by_hand(LayerGraph((1, 1, 4), (wide, narrow_weights))))
    softmax = Softmax(name="s", inputs=("wide",), output_bits=16)
    with pytest.raises(ExportError, match="softmax 's' writes 16 bits"):
        c_layers(by_hand(LayerGraph((1, 1, 4), (wide, softmax))))
    with pytest.raises(ExportError, match="the input has 16 bits"):
        c_layers(by_hand(LayerGraph((1, 1, 4), (dense,), 16)))
    large = Dense(name="head", inputs=(INPUT,), out_channels=2)
    with pytest.raises(ExportError, match="'head' has a side or channels beyond 65535"):
        c_layers(by_hand(LayerGraph((1, 1, 70000), (large,))))


def test_text_from_outside_cannot_leave_its_comment():
    assert comment("a */ b ??/ \\") == "a * / b ? ?/ "
    assert comment("naïve\nname") == "na?ve?name"


@pytest.mark.parametrize("value", [1.0, 0.1, 1e-7, 3.4e38, 1 / 3])
def test_a_float_is_written_so_that_it_reads_back_the_same(value):
    assert np.float32(float_literal(value)) == np.float32(value)
    assert "." in float_literal(value)


def test_tensor_quantisation_is_in_the_header():
    network = LAYERS["dense w8"]
    header = project_sources(network, c_layers(network), plan_arena(network.graph), "t")["model.h"]
    quantisation = network.tensors[INPUT]
    assert isinstance(quantisation, TensorQuantisation)
    assert f"#define MODEL_INPUT_ZERO_POINT ({quantisation.zero_point})" in header
