"""The ONNX file: integers and scales as they are in the network, layers within one step of the integer interpreter."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork
from hw_models.device import load_device
from hw_models.graph.layer_graph import INPUT, LayerGraph, Resize
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.exported_model import read_export
from mobo.export.onnx.writer import OPSET, onnx_bytes
from mobo.export.tools import INSTALL, ONNX
from mobo.export.trial_export import export_trial
from mobo.export.verify.onnx_checks import TOLERANCE, check_onnx, run_onnx
from mobo.runs.record import read_run
from tests.envs.networks import NETWORKS
from tests.mobo.export.c.projects import layer_networks
from tests.mobo.export.exportable_run import SCORED, make_exportable_run
from tests.mobo.export.quantised_networks import by_hand, family, random_inputs

onnx = pytest.importorskip("onnx", reason=INSTALL[ONNX])
pytest.importorskip("onnxruntime")

# Networks by hand with scales so far apart that a step of the output is many of the sum.
LAYERS = {name: network for name, network in layer_networks().items() if "multipliers" not in name}


def written(network: QuantisedNetwork) -> bytes:
    return onnx_bytes(network, name="a network", metadata={"trial": "3"})


def assert_close(network: QuantisedNetwork, samples: np.ndarray) -> None:
    graph, tensor = network.graph, network.tensors[INPUT]
    real = ((samples.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)).transpose(0, 3, 1, 2)
    found = run_onnx(written(network), np.ascontiguousarray(real), (INPUT, *(layer.name for layer in graph.layers)))
    np.testing.assert_array_equal(found[INPUT], samples.transpose(0, 3, 1, 2))
    for layer in graph.layers:
        inputs = [torch.from_numpy(found[name]) for name in layer.inputs]
        ours = IntegerInterpreter(network).run_layer(layer.name, *inputs).numpy()
        assert np.abs(ours.astype(int) - found[layer.name].astype(int)).max() <= TOLERANCE, layer.name


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_with_mixed_bits_is_within_one_step_per_layer(name: str) -> None:
    network = family(name, seed=3)
    assert_close(network, random_inputs(network, 4))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("widths", [(16,), (16, 8), (8, 16, 16)])
def test_every_family_with_16_bit_activations_is_within_one_step_per_layer(name: str, widths: tuple[int, ...]) -> None:
    network = family(name, seed=3, activation_bits=widths)
    assert_close(network, random_inputs(network, 4))


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_kind_is_within_one_step(name: str) -> None:
    assert_close(LAYERS[name], random_inputs(LAYERS[name], 3))


def test_weights_keep_their_width_and_the_file_says_where_it_comes_from() -> None:
    network = family("plain", bits=(4, 8))
    model = onnx.load_model_from_string(written(network))
    assert model.opset_import[0].version == OPSET
    assert {prop.key: prop.value for prop in model.metadata_props} == {"trial": "3"}
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for layer in network.graph.weight_layers:
        expected = onnx.TensorProto.INT4 if layer.weight_bits == 4 else onnx.TensorProto.INT8
        assert kinds[f"{layer.name}:weight_q"] == expected
        assert kinds[f"{layer.name}:bias_q"] == onnx.TensorProto.INT32
    assert written(network) == written(network)


def test_a_layer_without_an_operator_is_named() -> None:
    graph = LayerGraph((2, 2, 1), (Resize(name="up", inputs=(INPUT,), size=(4, 4)),))
    with pytest.raises(ExportError, match="layer 'up' is of kind 'resize', which has no ONNX operator"):
        written(by_hand(graph))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingToolError, match="onnx is missing; install it with: pip install 'onnx"):
        written(family("plain"))


def test_a_damaged_file_is_refused() -> None:
    data = written(family("plain"))
    inputs = np.zeros((1, 1, 8, 8), np.float32)
    with pytest.raises(ExportError, match="onnxruntime refuses the model"):
        run_onnx(data[: len(data) // 2], inputs, (INPUT,))
    with pytest.raises(ExportError, match="onnxruntime refuses the model"):
        run_onnx(data, inputs[:, :, :7], (INPUT,))


def test_an_exported_trial_is_verified(tmp_path: Path) -> None:
    run = make_exportable_run(tmp_path / "run")
    export_trial(read_run(run.path), SCORED, ["onnx"], tmp_path / "out")
    rows = check_onnx(read_export(tmp_path / "out"), load_device("nucleo-l4r5zi"))
    assert [row.holds for row in rows] == [True, None, True]
