"""Check of an exported ONNX file in onnxruntime."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models.device import Device
from hw_models.graph.layer_graph import INPUT
from mobo.export.errors import ExportError
from mobo.export.exported_model import ExportedModel
from mobo.export.onnx.writer import MODEL, quantised_name
from mobo.export.request import Integers
from mobo.export.tools import ONNX, ONNXRUNTIME, required_module
from mobo.export.verify.findings import Row, equal
from mobo.export.verify.model_checks import differing, error_row

_LAYERWISE_SAMPLES = 32

TOLERANCE = 1
"""Real-valued sums are rounded once, integer ones twice: so far apart a layer's outputs may be, in steps."""


def check_onnx(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Run the file on every sample, and on some of them layer by layer, each on onnxruntime's own inputs to it."""
    del device
    samples, network, data = model.samples, model.network, model.written("onnx")[MODEL]
    tensor = network.tensors[INPUT]
    real = (samples.inputs.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)
    real = np.ascontiguousarray(real.transpose(0, 3, 1, 2))
    graph = network.graph
    tensors = run_onnx(data, real[:_LAYERWISE_SAMPLES], (INPUT, *(layer.name for layer in graph.layers)))
    values = {name: torch.from_numpy(found) for name, found in tensors.items()}
    differences = []
    for layer in graph.layers:
        ours = IntegerInterpreter(network).run_layer(layer.name, *(values[name] for name in layer.inputs))
        found = np.abs(ours.numpy().astype(np.int64) - tensors[layer.name].astype(np.int64))
        differences.append(found.reshape(-1))
    apart = np.concatenate(differences)
    outputs = run_onnx(data, real, (graph.output,))[graph.output].reshape(len(samples), -1)
    differ = differing(outputs, samples.outputs)
    note = f"first {len(values[INPUT])} samples; {np.count_nonzero(apart)} of {apart.size} values differ by {TOLERANCE}"
    return (
        equal(f"values of any layer more than {TOLERANCE} apart", 0, int((apart > TOLERANCE).sum()), note),
        Row("samples whose output differs", None, differ, None, "real-valued sums are rounded once, ours twice"),
        error_row(model, outputs, unsure=differ),
    )


def run_onnx(data: bytes, inputs: npt.NDArray[np.float32], names: tuple[str, ...]) -> Mapping[str, Integers]:
    """Return the integers of some tensors, N x C x H x W.

    Args:
        data: The file.
        inputs: Real numbers, N x C x H x W.
        names: The tensors, by their names in the network.

    Raises:
        MissingToolError: onnxruntime is not installed.
        ExportError: The file is refused, or the inputs have another shape.
    """
    onnx, runtime = required_module("onnx", ONNX), required_module("onnxruntime", ONNXRUNTIME)
    options = runtime.SessionOptions()
    # Fused integer kernels would round otherwise than the file says.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        model = onnx.load_model_from_string(data)
        for name in names:
            information = onnx.helper.make_empty_tensor_value_info(quantised_name(name))
            model.graph.output.append(information)
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run([quantised_name(name) for name in names], {"features": inputs})
    except Exception as error:  # both packages raise classes of their own, which derive from nothing narrower
        raise ExportError(f"onnxruntime refuses the model: {error}") from error
    return dict(zip(names, found, strict=True))
