"""Running an exported ONNX file in onnxruntime, with its graph as it stands."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from mobo.export.errors import ExportError
from mobo.export.onnx.writer import quantised_name
from mobo.export.request import Integers
from mobo.export.tools import ONNX, ONNXRUNTIME, required_module


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
