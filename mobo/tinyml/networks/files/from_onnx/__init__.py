"""An ``.onnx`` file as a torch network: float operators, and integers between QuantizeLinear and DequantizeLinear.

Constants are read through the nodes that change their shape or turn integers into numbers. Sizes that a file works out
from the shape of its input stand for themselves; that of the samples is 0, which Reshape takes for "as it was".

Source: ONNX operator schemas, https://onnx.ai/onnx/operators.
"""

from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.builder import Builder, built
from mobo.tinyml.networks.files.from_onnx.call import LARGEST_CONSTANT, Call, Known, node_name
from mobo.tinyml.networks.files.from_onnx.layers import LAYERS
from mobo.tinyml.networks.files.from_onnx.shapes import FOLDINGS, SHAPES
from mobo.tinyml.networks.files.rebuilt import RebuiltNetwork
from mobo.tinyml.networks.files.values import Array, Problem, RefusedError, Value, instead_of, unknown_operator

_INSTALL = "pip install 'onnx>=1.23,<2'"
_HANDLERS = MappingProxyType({**LAYERS, **SHAPES})


def network_from_onnx(data: bytes, shape: Shape, *, source: str) -> RebuiltNetwork:
    """Return the network of an ONNX file.

    Args:
        data: The file.
        shape: Height, width and channels of the task's inputs.
        source: Names the file in messages.

    Raises:
        MoboError: It is damaged, keeps weights in other files, reads other inputs, or holds what cannot be compressed:
            all of that at once; or the package that reads it is missing.
    """
    onnx = _package(source)
    try:
        model = onnx.load_model_from_string(data)
        graph = model.graph
        elsewhere = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
        if not elsewhere:
            onnx.checker.check_model(model)
    except (
        Exception
    ) as error:  # protobuf and the checker raise classes of their own, which derive from nothing narrower
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise MoboError(f"{source} cannot be read as an ONNX file: {said}") from error
    if elsewhere or graph.sparse_initializer:
        raise MoboError(
            f"{source} keeps weights outside itself or sparse ({', '.join(elsewhere[:3]) or 'sparse_initializer'}); "
            "save the model in one file, onnx.save(model, path)"
        )
    return built(source, len(graph.node), lambda problems: _Reading(onnx, graph, problems).read(shape))


def _package(source: str) -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise MoboError(f"{source}: .onnx files are read with the package onnx; {_INSTALL}") from error
    return onnx


class _Reading:
    """One reading, node by node."""

    def __init__(self, onnx: ModuleType, graph: Any, problems: list[Problem]) -> None:
        self._onnx, self._graph, self._problems = onnx, graph, problems
        self._known = Known(onnx, graph)

    def read(self, shape: Shape) -> tuple[Builder, Value | None]:
        """Make the layers of all nodes; returns the output's value, None where there is none."""
        fed = [entry for entry in self._graph.input if entry.name not in self._known.stored]
        if len(fed) != 1 or not self._known.output:
            raise MoboError(
                f"it has {len(fed)} inputs and {len(self._graph.output)} outputs; networks with one of each can be "
                "compressed"
            )
        try:
            self._known.values[fed[0].name] = self._known.builder.input(_open_sizes(fed[0]), shape)
        except RefusedError as error:
            self._problems.append(Problem("input", fed[0].name, str(error)))
        for node in self._graph.node:
            self._node(node)
        return self._known.builder, self._known.values.get(self._known.output)

    def _node(self, node: Any) -> None:
        name = node_name(node)
        try:
            if node.domain not in ("", "ai.onnx"):
                raise RefusedError(
                    f"it is of the domain {node.domain!r}, which nothing here computes; write plain ONNX"
                )
            given = [entry for entry in node.input if entry]
            call = Call(self._known, self._onnx, node)
            folding = FOLDINGS.get(node.op_type)
            if folding is not None and all(self._known.is_constant(entry) for entry in given):
                self._known.folded[node.output[0]] = _bounded(folding(call))
                return
            handler = _HANDLERS.get(node.op_type)
            if node.op_type == "Shape" and given and given[0] in self._known.values:
                self._known.folded[node.output[0]] = np.array([0, *self._known.values[given[0]].sizes], np.int64)
            elif handler is None and folding is None and node.op_type != "Shape":
                raise RefusedError(unknown_operator(node.op_type))
            # What stands behind an operator that cannot be used cannot be looked at.
            elif all(entry in self._known.values or self._known.is_constant(entry) for entry in given):
                if handler is None:
                    raise RefusedError(unknown_operator(node.op_type))
                if any(output and self._known.readers[output] for output in list(node.output)[1:]):
                    raise RefusedError(f"more than the first of its {len(node.output)} outputs is read")
                self._known.values[node.output[0]] = handler(call)
        except RefusedError as error:
            self._problems.append(Problem(node.op_type, name, str(error)))
            read = instead_of(node.op_type, self._known.values.get(node.input[0]) if node.input else None)
            if read is not None and node.output:
                self._known.values[node.output[0]] = read


def _open_sizes(entry: Any) -> list[int | None]:
    """Return the sizes of an input without that of the samples, None for those that are left open."""
    sizes = [int(size.dim_value) if size.HasField("dim_value") else None for size in entry.type.tensor_type.shape.dim]
    if not 2 <= len(sizes) <= 4 or sizes[0] not in (None, 0, 1):
        raise RefusedError(f"it has the shape {sizes}; 2 to 4 axes, the first of 1 sample or open, can be used")
    return sizes[1:]


def _bounded(values: Array) -> Array:
    if values.size > LARGEST_CONSTANT:
        raise RefusedError(f"it makes a constant of {values.size:,} numbers; at most {LARGEST_CONSTANT:,} are read")
    return values
