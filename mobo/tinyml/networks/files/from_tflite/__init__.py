"""A ``.tflite`` file as a torch network: float, int8 or int16, weights of 8 or 4 bits as the numbers they stand for.

What an integer file rounds in between is not rounded here, but what its tensors cannot hold is cut off: a layer without
an activation whose output begins at 0 has a ReLU in effect, one from 0 to 1 a hard sigmoid.

Source: TensorFlow Lite schema version 3, ``tensorflow/lite/schema/schema.fbs``, and its 8-bit quantisation
specification.
"""

from hw_models.errors import HardwareModelError
from hw_models.graph.layer_graph import Shape
from hw_models.graph.tflite_tables import TfliteFile, TfliteOperator, parse
from mobo.base.errors import MoboError
from mobo.tinyml.networks.files.builder import Builder, built
from mobo.tinyml.networks.files.from_tflite.call import Call, Known, sizes_of
from mobo.tinyml.networks.files.from_tflite.operators import HANDLERS
from mobo.tinyml.networks.files.rebuilt import RebuiltNetwork
from mobo.tinyml.networks.files.values import Problem, RefusedError, Value, instead_of, unknown_operator


def network_from_tflite(data: bytes, shape: Shape, *, source: str) -> RebuiltNetwork:
    """Return the network of a tflite file.

    Args:
        data: The file.
        shape: Height, width and channels of the task's inputs.
        source: Names the file in messages.

    Raises:
        MoboError: It is damaged, reads other inputs, or holds what cannot be compressed: all of that at once.
    """
    try:
        file = parse(data)
        return built(source, len(file.operators), lambda problems: _Reading(file, problems).read(shape))
    except HardwareModelError as error:
        raise MoboError(f"{source} cannot be read as a tflite file: {error}") from error


class _Reading:
    """One reading, operator by operator."""

    def __init__(self, file: TfliteFile, problems: list[Problem]) -> None:
        self._file, self._problems = file, problems
        self._known = Known(file)

    def read(self, shape: Shape) -> tuple[Builder, Value | None]:
        """Make the layers of all operators; returns the output's value, None where there is none."""
        inputs, outputs = self._file.inputs, self._file.outputs
        if len(inputs) != 1 or len(outputs) != 1 or min(*inputs, *outputs) < 0:
            raise MoboError(
                f"it has {len(inputs)} inputs and {len(outputs)} outputs; networks with one of each can be compressed"
            )
        entry = self._file.tensors[inputs[0]]
        try:
            self._known.values[inputs[0]] = self._known.builder.input(sizes_of(entry), shape)
        except RefusedError as error:
            self._problems.append(Problem("input", entry.name, str(error)))
        for operator in self._file.operators:
            self._operator(operator)
        return self._known.builder, self._known.values.get(outputs[0])

    def _operator(self, operator: TfliteOperator) -> None:
        name = self._file.tensors[operator.outputs[0]].name if operator.outputs and operator.outputs[0] >= 0 else ""
        try:
            handler = HANDLERS.get(operator.code)
            if handler is None:
                raise RefusedError(unknown_operator(operator.code))
            if len(operator.outputs) != 1 or operator.outputs[0] < 0:
                raise RefusedError(f"it has {len(operator.outputs)} outputs; one can be used")
            if operator.code == "DEQUANTIZE" and self._known.is_constant(operator.inputs[0]):
                self._known.folded[operator.outputs[0]] = self._known.real(operator.inputs[0])
                return
            # What stands behind an operator that cannot be used cannot be looked at.
            if all(
                index in self._known.values or self._known.is_constant(index) for index in operator.inputs if index >= 0
            ):
                call = Call(self._known, self._file, operator)
                self._known.values[operator.outputs[0]] = call.checked(handler(call))
        except RefusedError as error:
            self._problems.append(Problem(operator.code, name, str(error)))
            read = instead_of(operator.code, self._known.values.get(operator.inputs[0]) if operator.inputs else None)
            if read is not None:
                self._known.values[operator.outputs[0]] = read
