"""tflite files as torch networks: against LiteRT, against our own integers, and what is said of the others."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.structure.groups import pruning_groups
from experiments.costs.flatbuffer_writer import Fields, Numbers, write
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import Shape
from hw_models.graph.tflite_tables import OPERATOR_NAMES
from mobo.base.errors import MoboError
from mobo.export import tools
from mobo.export.tflite.writer import tflite_bytes
from mobo.export.verify.native_stderr import native_stderr
from mobo.tinyml.networks.files.from_tflite import network_from_tflite
from tests.envs.compression.integer.test_quantisation import inputs
from tests.mobo.export.quantised_networks import family
from tests.mobo.tinyml.networks import test_ordinary_networks as ordinary

MODELS = Path(os.environ.get("MOBO_MODELS_DIR", "not set"))
CONV, DEPTHWISE, POOL, DENSE, SOFTMAX, ADD, RESHAPE, MEAN, MUL, CONCATENATION = 1, 2, 5, 8, 9, 11, 17, 27, 21, 10


class Written:
    """A file of real numbers that is written operator by operator."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(0)
        self.tensors: list[Fields] = []
        self.buffers: list[Fields] = [{}]
        self.operators: list[Fields] = []
        self.codes: list[str] = []
        self.last = self.tensor("input", shape)

    def tensor(self, name: str, shape: tuple[int, ...], values: np.ndarray | None = None) -> int:
        buffer = 0
        if values is not None:
            buffer = len(self.buffers)
            self.buffers.append({0: values.tobytes()})
        code = 0 if values is None else {"float32": 0, "float16": 1, "int32": 2}[values.dtype.name]
        self.tensors.append({0: Numbers("i", shape), 1: code, 2: buffer, 3: name})
        return len(self.tensors) - 1

    def constant(self, *shape: int) -> int:
        values = self.rng.normal(size=shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]) or 1)
        return self.tensor(f"c{len(self.tensors)}", shape, values.astype(np.float32))

    def integers(self, *values: int) -> int:
        return self.tensor(f"i{len(self.tensors)}", (len(values),), np.array(values, np.int32))

    def add(self, code: str, read: list[int], shape: tuple[int, ...], kind: int = 0, options: Any = None) -> int:
        if code not in self.codes:
            self.codes.append(code)
        self.last = self.tensor(f"model/{code.lower()}_{len(self.operators)};more", shape)
        indices = {1: Numbers("i", read), 2: Numbers("i", [self.last])}
        known = {3: kind, 4: options or {}} if kind else {}
        self.operators.append({0: self.codes.index(code), **indices, **known})
        return self.last

    def data(self) -> bytes:
        codes = [{0: OPERATOR_NAMES.index(code), 2: 1, 3: OPERATOR_NAMES.index(code)} for code in self.codes]
        graph: Fields = {
            0: self.tensors, 1: Numbers("i", [0]), 2: Numbers("i", [self.last]), 3: self.operators,
        }  # fmt: skip
        return write({0: 3, 1: codes, 2: [graph], 4: self.buffers}, b"TFL3")


def everything() -> bytes:
    """Return a network whose flattened map has several rows, columns and channels, as Keras would write it."""
    file = Written((1, 9, 8, 3))
    same = {1: 2, 2: 2, 3: 3}
    x = file.add("CONV_2D", [0, file.constant(6, 3, 3, 3), file.constant(6)], (1, 5, 4, 6), CONV, same)
    y = file.add("DEPTHWISE_CONV_2D", [x, file.constant(1, 3, 3, 6), file.constant(6)], (1, 5, 4, 6), DEPTHWISE,
                 {1: 1, 2: 1, 3: 1, 4: 1})  # fmt: skip
    y = file.add("ADD", [y, x], (1, 5, 4, 6), ADD, {0: 1})
    gate = file.add("MEAN", [y, file.integers(1, 2)], (1, 6), MEAN)
    gate = file.add("FULLY_CONNECTED", [gate, file.constant(6, 6), file.constant(6)], (1, 6), DENSE)
    # A hard sigmoid as Keras writes it: relu6(x + 3) / 6.
    gate = file.add("ADD", [gate, file.tensor("three", (), np.array(3, np.float32))], (1, 6), ADD, {0: 3})
    gate = file.add("MUL", [gate, file.tensor("sixth", (), np.array(1 / 6, np.float32))], (1, 6), MUL)
    gate = file.add("RESHAPE", [gate, file.integers(1, 1, 1, 6)], (1, 1, 1, 6), RESHAPE)
    y = file.add("MUL", [y, gate], (1, 5, 4, 6), MUL)
    y = file.add("CONCATENATION", [y, x], (1, 5, 4, 12), CONCATENATION, {0: 3})
    y = file.add("MAX_POOL_2D", [y], (1, 2, 2, 12), POOL, {0: 1, 1: 2, 2: 2, 3: 2, 4: 2})
    y = file.add("RESHAPE", [y, file.integers(1, 48)], (1, 48), RESHAPE)
    half = file.tensor("half", (5, 48), file.rng.normal(size=(5, 48)).astype(np.float16))
    weights = file.add("DEQUANTIZE", [half], (5, 48))
    y = file.add("FULLY_CONNECTED", [y, weights, file.constant(5)], (1, 5), DENSE)
    file.add("SOFTMAX", [y], (1, 5), SOFTMAX, {0: 1.0})
    return file.data()


def outputs_of(data: bytes, x: np.ndarray) -> np.ndarray:
    """Return what LiteRT computes for samples N x …."""
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason=tools.INSTALL[tools.LITERT])
    with native_stderr():
        interpreter = litert.Interpreter(
            model_content=data, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
        )
        interpreter.allocate_tensors()
        entry, end = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        found = []
        for sample in x:
            interpreter.set_tensor(entry, sample[np.newaxis])
            interpreter.invoke()
            found.append(interpreter.get_tensor(end)[0])
    return np.stack(found)


def computed(network: nn.Module, x: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return network.eval()(torch.from_numpy(np.ascontiguousarray(x.transpose(0, 3, 1, 2))))


def test_a_float_file_computes_what_litert_does_and_can_be_pruned() -> None:
    shape, data = (9, 8, 3), everything()
    network = network_from_tflite(data, shape, source="a")
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    expected = outputs_of(data, x)
    np.testing.assert_allclose(torch.softmax(computed(network, x), 1).numpy(), expected, rtol=1e-4, atol=1e-6)
    traced = trace(network, shape)
    assert [layer.kind for layer in traced.graph.weight_layers] == ["conv2d", "depthwise_conv2d", "dense", "dense"]
    assert any(group.prunable for group in pruning_groups(network, traced.graph))
    # What the file calls a layer, as far as a name can say it.
    assert "model_conv_2d_0" in dict(network.named_modules())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "scale"),
    [
        ("pretrainedResnet", (32, 32, 3), 100.0),
        ("vww_96_float", (96, 96, 3), 1.0),
        ("ad01_fp32", (1, 1, 640), 100.0),
    ],
)
def test_published_float_models_compute_what_litert_does(name: str, shape: Shape, scale: float) -> None:
    path = MODELS / f"{name}.tflite"
    if not path.exists():
        pytest.skip("MOBO_MODELS_DIR names no folder with the MLPerf Tiny models")
    x = (np.random.default_rng(0).normal(size=(3, *shape)) * scale).astype(np.float32)
    found = computed(network_from_tflite(path.read_bytes(), shape, source=name), x)
    is_vector = shape[:2] == (1, 1)
    expected = outputs_of(path.read_bytes(), x.reshape(3, -1) if is_vector else x)
    found = found if is_vector else torch.softmax(found, 1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "bits"),
    [("flattening", 8), ("flattening", 4), ("plain", 16), ("MobileNetV3", 8), ("squeeze and excite", 8), ("1D-CNN", 8)],
)
def test_what_we_export_is_read_back_as_the_network_it_stands_for(name: str, bits: int) -> None:
    pytest.importorskip(tools._SCHEMAS[tools.TFLM], reason=tools.INSTALL[tools.TFLM])
    made = ordinary.made(name) if name in ordinary.CASES else None
    widths = {"bits": (8,), "activation_bits": (16,)} if bits == 16 else {"bits": (bits,)}
    network = family(name, **widths) if made is None else ordinary.quantised(made, bits)
    x = inputs(network.graph.input_shape) if made is None else made.x[:16]
    found = network_from_tflite(tflite_bytes(network, name="a", metadata={}), network.graph.input_shape, source="a")
    with torch.no_grad():
        outputs = found.eval()(x)
    logits = IntegerInterpreter(network).logits(x)
    outputs = torch.softmax(outputs, 1) if name == "flattening" else outputs
    # The weights are the same, only the rounding of tensors is missing.
    step = network.tensors[network.graph.output].scale
    # Steps of 16 bits are finer than what rounding the inputs to 8 costs.
    limit = 0.01 * float(logits.std()) if bits == 16 else 3 * step
    assert float((outputs - logits).square().mean().sqrt()) < limit


def refusal(data: bytes, shape: Shape = (9, 8, 3)) -> str:
    with pytest.raises(MoboError) as error:
        network_from_tflite(data, shape, source="own.tflite")
    return str(error.value)


def test_all_that_cannot_be_used_is_told_at_once() -> None:
    file = Written((1, 9, 8, 3))
    x = file.add("CONV_2D", [0, file.constant(6, 3, 3, 3)], (1, 9, 8, 6), CONV, {1: 1, 2: 1, 3: 2})
    x = file.add("LOGISTIC", [file.add("RELU", [0], (1, 9, 8, 3))], (1, 9, 8, 3))
    x = file.add("CONV_2D", [x, file.constant(6, 3, 3, 3)], (1, 9, 8, 6), CONV, {1: 1, 2: 1, 4: 2, 5: 2})
    file.add("SVDF", [x], (1, 6))
    said = refusal(file.data()).splitlines()
    assert said[0] == "own.tflite cannot be compressed as it is:"
    assert (
        "CONV_2D 'model/conv_2d_0;more': it has a fused activation of code 2 (RELU_N1_TO_1): train it with" in said[1]
    )
    assert "LOGISTIC 'model/logistic_2;more': it is not supported; train it with ReLU" in said[2]
    assert "it has the dilation (2, 2); train it with a larger kernel" in said[3]
    assert "SVDF 'model/svdf_4;more': it is not supported; train convolutions over time" in said[4]
    assert said[5].startswith("Supported: convolutions")


def damaged_constant() -> bytes:
    file = Written((1, 9, 8, 3))
    weights = file.tensor("w", (6, 3, 3, 3), np.zeros(5, np.float32))
    file.add("CONV_2D", [0, weights], (1, 9, 8, 6), CONV, {1: 1, 2: 1})
    return file.data()


def not_finite() -> bytes:
    file = Written((1, 9, 8, 3))
    weights = file.tensor("w", (6, 1, 1, 3), np.full(18, np.nan, np.float32))
    file.add("CONV_2D", [0, weights], (1, 9, 8, 6), CONV, {1: 1, 2: 1})
    return file.data()


def a_map() -> bytes:
    file = Written((1, 9, 8, 3))
    file.add("CONV_2D", [0, file.constant(6, 1, 1, 3)], (1, 9, 8, 6), CONV, {1: 1, 2: 1})
    return file.data()


@pytest.mark.parametrize(
    ("data", "shape", "message"),
    [
        (b"", (9, 8, 3), "own.tflite cannot be read as a tflite file: it is empty"),
        (everything()[:900], (9, 8, 3), "cannot be read as a tflite file"),
        (everything(), (8, 8, 1), "it reads 9 x 8 x 3 per sample; the task's inputs are 8 x 8 x 1"),
        (damaged_constant(), (9, 8, 3), "its constant 'w' has 20 bytes for the shape (6, 3, 3, 3)"),
        (not_finite(), (9, 8, 3), "it has weights that are not finite"),
        (a_map(), (9, 8, 3), "it ends in a map of (9, 8, 6); the task needs a vector"),
        (Written((1, 9, 8, 3)).data(), (9, 8, 3), "it has no operators"),
    ],
)
def test_a_file_that_is_none_is_told(data: bytes, shape: Shape, message: str) -> None:
    assert message in refusal(data, shape)
