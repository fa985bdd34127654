"""One operator of a tflite file with everything that its reader needs."""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any, NamedTuple

from hw_models.graph.flatbuffer import Table
from hw_models.graph.layer_graph import Activation, Layer, Padding, Shape
from hw_models.graph.tflite_tables import TfliteError, TfliteTensor

_FUSED: Mapping[int, Activation] = {0: "none", 1: "relu", 2: "relu6", 3: "relu6"}  # 2 clamps to -1..1: as cheap as 6
_PADDINGS: Mapping[int, Padding] = {0: "same", 1: "valid"}


def map_shape(tensor: TfliteTensor) -> Shape:
    """Return height, width and channels of a tensor; missing sizes are 1, those before the last three add height."""
    sizes = (1, 1, 1, *tensor.shape)
    return (prod(sizes[:-2]), sizes[-2], sizes[-1])


class Call(NamedTuple):
    """One operator with everything its reader needs."""

    code: str
    base: dict[str, Any]  # name, inputs and output_bits of the layer
    activations: tuple[TfliteTensor, ...]
    constants: tuple[TfliteTensor, ...]
    output: TfliteTensor
    options: Table | None
    has_stored_bias: bool  # whether an earlier operator brought the same bytes
    operands: tuple[TfliteTensor | None, ...]  # all inputs by their place; None for one left out

    def option(self, field: int, code: str = "i", default: int = 0) -> int:
        """Return a whole number of the operator's options."""
        return default if self.options is None else self.options.integer(field, code, default)

    def fused(self, field: int) -> Activation:
        """Return the activation that is fused into the operator."""
        code = self.option(field, "b")
        if code not in _FUSED:
            raise TfliteError(f"{self.code} {self.output.name!r} has a fused activation of code {code}, not costed")
        return _FUSED[code]

    def window(self, stride: int) -> dict[str, Any]:
        """Return padding and stride; ``stride`` is the field of the options where the latter begins."""
        padding = self.option(0, "b")
        if padding not in _PADDINGS:
            raise TfliteError(f"{self.code} {self.output.name!r} has a padding of code {padding}")
        # The schema stores width before height.
        sizes = (self.option(stride + 1), self.option(stride))
        return {"padding": _PADDINGS[padding], "stride": self.positive("stride", sizes)}

    def positive(self, what: str, sizes: tuple[int, int]) -> tuple[int, int]:
        """Return sizes, which must be positive."""
        if min(sizes) < 1:
            raise TfliteError(f"{self.code} {self.output.name!r} has the {what} {sizes}; it must be positive")
        return sizes

    def weights(self, rank: int) -> TfliteTensor:
        """Return the constant weights, which must have so many dimensions."""
        if not self.constants or len(self.constants[0].shape) != rank or len(self.activations) != 1:
            raise TfliteError(f"{self.code} {self.output.name!r} has no constant weights of {rank} dimensions")
        return self.constants[0]

    @property
    def has_bias(self) -> bool:
        """Whether a second constant comes with the weights."""
        return len(self.constants) > 1

    def integers(self, position: int = 0) -> tuple[int, ...]:
        """Return a constant of whole numbers: axes, sizes."""
        values = self.constants[position].values if position < len(self.constants) else None
        if values is None:
            raise TfliteError(f"{self.code} {self.output.name!r} lacks the constant that says how it works")
        return values

    def axes(self, values: tuple[int, ...]) -> tuple[int, ...]:
        """Return axes of the file as axes of (height, width, channels)."""
        rank = len(self.activations[0].shape)
        axes = tuple(sorted({(value + rank if value < 0 else value) + 3 - rank for value in values}))
        if any(not 0 <= axis < 3 for axis in axes):
            raise TfliteError(f"{self.code} {self.output.name!r} works along axes {values}, not costed")
        return axes

    @property
    def one_input(self) -> dict[str, Any]:
        """The layer's base with the first input only: further ones say how, not what."""
        return {**self.base, "inputs": self.base["inputs"][:1]}


Reader = Callable[[Call], Layer]
"""Makes the layer of an operator."""
