"""ONNX files as torch networks: what torch writes against onnxruntime, what others write, and what is refused."""

import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError
from mobo.export.onnx.writer import onnx_bytes
from mobo.tinyml.networks.files.from_onnx import network_from_onnx
from tests.envs.compression.integer.test_quantisation import inputs
from tests.mobo.export.quantised_networks import family
from tests.mobo.tinyml.networks import test_ordinary_networks as ordinary

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


def exported(network: nn.Module, shape: Shape, **options: Any) -> bytes:
    """Return what torch writes of a network."""
    height, width, channels = shape
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, channels, height, width),),
            stream,
            dynamo=False,
            input_names=["x"],
            **options,
        )
    return stream.getvalue()


def written(nodes: Sequence[Any], shape: Sequence[Any], constants: dict[str, Any], outputs: Sequence[Any]) -> bytes:
    """Return a file whose nodes read ``x`` and give ``y``."""
    real = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "a", [onnx.helper.make_tensor_value_info("x", real, shape)],
        [onnx.helper.make_tensor_value_info("y", real, outputs)],
        [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )  # fmt: skip
    opset = [onnx.helper.make_opsetid("", 18)]
    data: bytes = onnx.helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    return data


def node(kind: str, read: str, made: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, read.split(), [made], name=made, **attributes)


def real(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def assert_computes(data: bytes, network: nn.Module, x: torch.Tensor, fed: np.ndarray) -> None:
    expected = np.concatenate(
        [runtime.InferenceSession(data).run(None, {"x": sample[np.newaxis]})[0] for sample in fed]
    )
    with torch.no_grad():
        found = network.eval()(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


QUICK = ("MobileNetV3", "Inception", "1D-CNN", "squeeze and excite")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in ordinary.PASSING]
)
def test_what_torch_writes_computes_what_onnxruntime_does(name: str) -> None:
    made = ordinary.made(name)
    is_open = {} if name == "squeeze and excite" else {"dynamic_axes": {"x": {0: "N"}}}
    data = exported(made.module, ordinary.CASES[name].shape, **is_open)
    network = network_from_onnx(data, ordinary.CASES[name].shape, source=name)
    assert_computes(data, network, made.x[:3], made.x[:3].numpy())
    kinds = [layer.kind for layer in trace(network, ordinary.CASES[name].shape).graph.layers]
    assert [kind for kind in kinds if kind != "reshape"] == [
        layer.kind for layer in made.traced.graph.layers if layer.kind != "reshape"
    ]


@pytest.mark.parametrize("name", ["flattening", "squeeze and excite"])
def test_what_we_export_is_read_back_as_the_network_it_stands_for(name: str) -> None:
    made = ordinary.made(name) if name in ordinary.CASES else None
    network = family(name, bits=(4, 8)) if made is None else ordinary.quantised(made)
    x = inputs(network.graph.input_shape) if made is None else made.x[:16]
    found = network_from_onnx(onnx_bytes(network, name="a", metadata={}), network.graph.input_shape, source="a")
    with torch.no_grad():
        outputs = found.eval()(x)
    logits = IntegerInterpreter(network).logits(x)
    outputs = torch.softmax(outputs, 1) if name == "flattening" else outputs
    step = network.tensors[network.graph.output].scale
    assert float((outputs - logits).square().mean().sqrt()) < 3 * step


def test_a_file_with_the_channels_last_and_its_norms_apart() -> None:
    # As tf2onnx writes it: transposed at both ends, flattened in NHWC order, the bias added apart.
    nodes = [
        node("Transpose", "x", "a", perm=[0, 3, 1, 2]),
        node("Conv", "a w", "b", auto_pad="SAME_UPPER", strides=[2, 2]),
        node("BatchNormalization", "b s o m v", "c"),
        node("HardSigmoid", "c", "d"),
        node("Transpose", "d", "e", perm=[0, 2, 3, 1]),
        node("Reshape", "e sizes", "f"),
        node("MatMul", "f k", "g"),
        node("Add", "g bias", "h"),
        node("Clip", "h low high", "i"),
        node("Gemm", "i n", "y", transB=1),
    ]
    constants = {
        "w": real(5, 3, 3, 3), "s": real(5), "o": real(5), "m": real(5), "v": np.abs(real(5)) + 0.5,
        "sizes": np.array([-1, 60]), "k": real(60, 7), "bias": real(7), "low": np.float32(0), "high": np.float32(6),
        "n": real(4, 7),
    }  # fmt: skip
    data = written(nodes, ["N", 6, 8, 3], constants, ["N", 4])
    network = network_from_onnx(data, (6, 8, 3), source="a")
    x = real(4, 6, 8, 3)
    assert_computes(data, network, torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), x)
    kinds = [type(module).__name__ for module in list(network.modules())[1:]]
    assert kinds == ["SameConv2d", "Hardsigmoid", "Linear", "ReLU6", "Linear"]


def refusal(data: bytes, shape: Shape = (6, 8, 3)) -> str:
    with pytest.raises(MoboError) as error:
        network_from_onnx(data, shape, source="own.onnx")
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("ResNet, norm first", ["BatchNormalization '/bn1/Batch", "BatchNormalization '/bn2/Batch"]),
        ("ResNeXt", ["it has 2 groups for 4 -> 4 channels"]),
        ("ShuffleNet", ["Slice '/Slice': it is not supported; channels are kept together", "Slice '/Slice_1'"]),
        ("TCN", ["it has the dilation (1, 2); train it with a larger kernel"]),
        ("autoencoder of transposed convolutions", ["nothing here makes maps larger", "Sigmoid '/Sigmoid'"]),
    ],
)
def test_all_that_cannot_be_used_is_told_at_once(name: str, lines: list[str]) -> None:
    case = ordinary.CASES[name]
    said = refusal(exported(case.build(), case.shape), case.shape).splitlines()
    assert said[0] == "own.onnx cannot be compressed as it is:"
    assert len(said) == len(lines) + 2
    for line, expected in zip(said[1:], lines, strict=False):
        assert expected in line


def test_scaled_inputs_are_the_tasks_work() -> None:
    nodes = [
        node("Div", "x d", "a"),
        node("Conv", "a w", "b"),
        node("GlobalAveragePool", "b", "c"),
        node("Flatten", "c", "y"),
    ]
    constants = {"d": np.float32(255), "w": real(5, 3, 1, 1)}
    said = refusal(written(nodes, ["N", 3, 6, 8], constants, ["N", 5]))
    assert "Div 'a': it scales the inputs, which is the task's work" in said
    assert "[task] mean and deviation" in said


def test_a_file_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, constants = (
        [node("Conv", "x w", "a"), node("GlobalAveragePool", "a", "b"), node("Flatten", "b", "y")],
        {"w": real(5, 3, 1, 1)},
    )
    good = written(nodes, ["N", 3, 6, 8], constants, ["N", 5])
    network_from_onnx(good, (6, 8, 3), source="a")
    assert "cannot be read as an ONNX file" in refusal(b"no model")
    assert "cannot be read as an ONNX file" in refusal(b"")
    assert "it reads 3 x 6 x 8 per sample; the task's inputs are 8 x 8 x 1" in refusal(good, (8, 8, 1))
    assert "the first of 1 sample or open" in refusal(written(nodes, [8, 3, 6, 8], constants, [8, 5]))
    assert "weights that are not finite" in refusal(
        written(nodes, ["N", 3, 6, 8], {"w": np.full((5, 3, 1, 1), np.inf, np.float32)}, ["N", 5])
    )
    model = onnx.load_model_from_string(good)
    # Nothing outside the file is opened, whatever it names.
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "/etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")
    assert "keeps weights outside itself or sparse (w)" in refusal(model.SerializeToString())
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "read with the package onnx; pip install 'onnx" in refusal(good)
