"""An immutable graph of typed layers: what a network computes, without weights and without a training framework.

Every layer produces exactly one tensor and that tensor carries the layer's name; the network's input tensor is called
``"input"``. Shapes are ``(height, width, channels)`` for one sample (batch 1, NHWC as on the target); a vector is
``(1, 1, channels)``. Shapes are not stored: they follow from the input shape and the layers, so a graph whose channels
were changed (:meth:`LayerGraph.resized`) can never hold stale ones.
"""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from functools import cache, cached_property
from math import ceil, prod
from types import MappingProxyType
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import Field, ValidationError, create_model

from hw_models.errors import unknown_name
from hw_models.files import FileModel, first_problem
from hw_models.graph.layers import (
    LAYER_TYPES,
    Activation,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    GraphError,
    Layer,
    LogSoftmax,
    Lstm,
    MaxPool2D,
    Pad,
    Pool2D,
    Quantize,
    Rearrange,
    Reduce,
    Reshape,
    Resize,
    Softmax,
    Svdf,
    TransposeConv2D,
    WeightLayer,
)
from hw_models.graph.patches import Patches, RowsByTensor, patch_rows
from hw_models.graph.windows import Padding, Shape, Size, window_output

__all__ = [
    "INPUT",
    "LAYER_TYPES",
    "Activation",
    "ActivationLayer",
    "Add",
    "AveragePool2D",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Elementwise",
    "GraphError",
    "Layer",
    "LayerGraph",
    "LogSoftmax",
    "Lstm",
    "MaxPool2D",
    "Pad",
    "Padding",
    "Patches",
    "Pool2D",
    "Quantize",
    "Rearrange",
    "Reduce",
    "Reshape",
    "Resize",
    "Shape",
    "Size",
    "Softmax",
    "Svdf",
    "TransposeConv2D",
    "WeightLayer",
    "window_output",
]

INPUT = "input"

_L = TypeVar("_L", bound=Layer)

# What a file may say; beyond these a network is none for a microcontroller, and reading it would only take memory.
_MOST_LAYERS, _MOST_ELEMENTS, _LARGEST_SIZE, _MOST_BITS = 10_000, 2**28, 2**24, 64
_RANGES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {
        **dict.fromkeys(("before", "after", "channels", "constant_elements"), (0, _LARGEST_SIZE)),
        **dict.fromkeys(("axis", "axes"), (0, 2)),
        **dict.fromkeys(("weight_bits", "stored_bits", "output_bits"), (1, _MOST_BITS)),
        "state_bits": (0, _MOST_BITS),
    }
)


@dataclass(frozen=True)
class LayerGraph:
    """A whole network.

    Attributes:
        input_shape: Shape of the input tensor.
        layers: The layers in an order in which they can run; the last one produces the network's output.
        input_bits: Bit width of the input tensors' elements.
        extra_inputs: Names and shapes of further input tensors.
        extra_outputs: Names of further tensors that must live to the end.
        edges_known: False for a table of layers without edges: every layer then reads extra inputs of its own, so that
            shapes, MACs and weights are right, but nobody can say which tensors live at the same time.
        patches: How the first layers run patch by patch, under an engine that does so; None for all at once. What the
            network computes is the same.

    Raises:
        GraphError: A name is used twice, a layer reads what no earlier layer produced, a shape is impossible, or its
            layers cannot run in such patches.
    """

    input_shape: Shape
    layers: tuple[Layer, ...]
    input_bits: int = 8
    extra_inputs: tuple[tuple[str, Shape], ...] = ()
    extra_outputs: tuple[str, ...] = ()
    edges_known: bool = True
    patches: Patches | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise GraphError("a layer graph needs at least one layer; got none")
        # The shapes are inferred at once so that an impossible graph cannot exist.
        shapes = self.shapes
        for name in self.extra_outputs:
            if name not in shapes:
                raise GraphError(f"the output {name!r} is produced by no layer")
        if self.patches is not None:
            _ = self.patch_rows

    def __reduce__(self) -> "tuple[type[LayerGraph], tuple[Any, ...]]":
        # Copies are made from what the graph is; the read-only views it caches cannot be copied.
        return LayerGraph, tuple(getattr(self, field.name) for field in fields(self))

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every tensor by name, the input's under ``"input"``."""
        if min(self.input_shape) < 1:
            raise GraphError(f"the input shape {self.input_shape} must be positive (height, width, channels)")
        shapes: dict[str, Shape] = {INPUT: self.input_shape, **dict(self.extra_inputs)}
        for layer in self.layers:
            if layer.name in shapes:
                raise GraphError(f"the name {layer.name!r} is used twice; layer names must be unique")
            if not layer.takes(len(layer.inputs)):
                raise GraphError(
                    f"{layer.kind} layer {layer.name!r} has {len(layer.inputs)} inputs; it takes "
                    f"{'at least one' if layer.arity is None else layer.arity}"
                )
            missing = [name for name in layer.inputs if name not in shapes]
            if missing:
                raise GraphError(f"layer {layer.name!r} reads {missing[0]!r}, which no earlier layer produces")
            shape = layer.output_shape([shapes[name] for name in layer.inputs])
            if min(shape) < 1:
                raise GraphError(f"layer {layer.name!r} would produce the shape {shape}; its input is too small for it")
            shapes[layer.name] = shape
        return MappingProxyType(shapes)

    @cached_property
    def bits(self) -> Mapping[str, int]:
        """Bit width of every tensor's elements by name."""
        inputs = dict.fromkeys((INPUT, *(name for name, _ in self.extra_inputs)), self.input_bits)
        return MappingProxyType(inputs | {layer.name: layer.output_bits for layer in self.layers})

    @cached_property
    def weight_layers(self) -> tuple[WeightLayer, ...]:
        """The layers with weights, in order."""
        return tuple(layer for layer in self.layers if isinstance(layer, WeightLayer))

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.layers[-1].name

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of all tensors that live to the end of the inference."""
        return (*self.extra_outputs, self.output)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of all tensors that are filled before the inference."""
        return (INPUT, *(name for name, _ in self.extra_inputs))

    @cached_property
    def patch_rows(self) -> tuple[RowsByTensor, ...]:
        """The rows that every patch needs of the tensors up to the cut; nothing where there are no patches."""
        if self.patches is None:
            return ()
        if self.extra_inputs or self.extra_outputs or not self.edges_known:
            raise GraphError("patches need a network of one input and one output whose edges are known")
        return patch_rows(self.layers, self.shapes, self.input_names, self.patches)

    @cached_property
    def patched_count(self) -> int:
        """How many of the first layers run patch by patch."""
        if self.patches is None:
            return 0
        return 1 + next(index for index, layer in enumerate(self.layers) if layer.name == self.patches.cut)

    def layer(self, name: str) -> Layer:
        """Return a layer by name; raises GraphError for an unknown one."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise GraphError(unknown_name("layer", name, [layer.name for layer in self.layers]))

    def input_shapes(self, layer: Layer) -> tuple[Shape, ...]:
        """Return the shapes a layer reads."""
        return tuple(self.shapes[name] for name in layer.inputs)

    def tensor_bytes(self, name: str) -> int:
        """Return the bytes one tensor takes in RAM."""
        return ceil(prod(self.shapes[name]) * self.bits[name] / 8)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs(self.input_shapes(layer)) for layer in self.layers)

    def resized(
        self,
        out_channels: Mapping[str, int] | None = None,
        weight_bits: Mapping[str, int] | None = None,
        stored_bits: Mapping[str, int] | None = None,
    ) -> "LayerGraph":
        """Return the graph with other output channels and weight bits for the named layers.

        Args:
            out_channels: New output channels of Conv2D and Dense layers; every other shape follows.
            weight_bits: New bit widths of layers with weights.
            stored_bits: New stored widths of layers with weights.

        Raises:
            GraphError: An unknown layer, a layer without channels of its own, or shapes that no longer meet in an Add.
        """
        channels, bits, stored = dict(out_channels or {}), dict(weight_bits or {}), dict(stored_bits or {})
        layers = [self._changed(layer, channels, bits, stored) for layer in self.layers]
        for kind, left in (("channels", channels), ("weight bits", bits), ("stored bits", stored)):
            if left:
                name = next(iter(left))
                self.layer(name)
                raise GraphError(f"layer {name!r} ({self.layer(name).kind}) has no {kind} of its own to change")
        return replace(self, layers=tuple(layers))

    def _changed(self, layer: Layer, channels: dict[str, int], bits: dict[str, int], stored: dict[str, int]) -> Layer:
        changes: dict[str, int] = {}
        if isinstance(layer, Conv2D | Dense) and layer.name in channels:
            changes["out_channels"] = channels.pop(layer.name)
        if isinstance(layer, WeightLayer) and layer.name in bits:
            changes["weight_bits"] = bits.pop(layer.name)
        if isinstance(layer, WeightLayer) and layer.name in stored:
            changes["stored_bits"] = stored.pop(layer.name)
        return _replaced(layer, changes)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "input_shape": list(self.input_shape),
            "input_bits": self.input_bits,
            "layers": [_said(layer) for layer in self.layers],
            "extra_inputs": [[name, list(shape)] for name, shape in self.extra_inputs],
            "extra_outputs": list(self.extra_outputs),
            "edges_known": self.edges_known,
            # Files of networks that run at once stay what they were before there were patches.
            **({} if self.patches is None else {"patches": asdict(self.patches)}),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LayerGraph":
        """Read what :meth:`to_dict` wrote.

        Raises:
            GraphError: A key is missing or unknown, a value is of another type or size, or the layers are no network.
        """
        try:
            read = _GraphFile.model_validate(data)
        except ValidationError as error:
            raise GraphError(f"the layer graph cannot be read: {first_problem(error, _GraphFile)}") from error
        graph = cls(
            read.input_shape,
            tuple(_layer_from_dict(entry) for entry in read.layers),
            read.input_bits,
            extra_inputs=tuple(read.extra_inputs),
            extra_outputs=tuple(read.extra_outputs),
            edges_known=read.edges_known,
            patches=None if read.patches is None else Patches(read.patches.cut, read.patches.rows),
        )
        for name, shape in graph.shapes.items():
            if prod(shape) > _MOST_ELEMENTS:
                raise GraphError(f"tensor {name!r} has the shape {shape}; at most {_MOST_ELEMENTS:,} elements are read")
        return graph


def _said(layer: Layer) -> dict[str, Any]:
    data = {"kind": layer.kind, **asdict(layer)}
    # Files of layers without such a key stay what they were before there was one.
    added = ("negative_slope", "moves_up", "stored_bits", "state_bits", "from_or_to_int32")
    return {key: value for key, value in data.items() if key not in added or value}


def _replaced(layer: _L, changes: dict[str, Any]) -> _L:
    return replace(layer, **changes) if changes else layer


def _layer_from_dict(entry: Mapping[str, Any]) -> Layer:
    values = dict(entry)
    kind = values.pop("kind", None)
    if not isinstance(kind, str) or kind not in LAYER_TYPES:
        raise GraphError(unknown_name("layer kind", str(kind), LAYER_TYPES))
    layer_type, form = LAYER_TYPES[kind], _form(kind)
    # JSON has no tuples; every list in a layer is one.
    tuples = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    try:
        read = form.model_validate(values | tuples)
    except ValidationError as error:
        raise GraphError(f"{kind} layer {values.get('name')!r}: {first_problem(error, form)}") from error
    layer = layer_type(**{key: getattr(read, key) for key in form.model_fields})
    for key in form.model_fields:
        _check_sizes(layer, key)
    return layer


class _PatchesFile(FileModel):
    cut: str
    rows: int


class _GraphFile(FileModel):
    """The keys of a saved graph; what is in a layer depends on its kind."""

    input_shape: Annotated[Shape, Field(strict=False)]
    input_bits: int = Field(ge=1, le=_MOST_BITS)
    layers: list[dict[str, Any]] = Field(max_length=_MOST_LAYERS)
    extra_inputs: list[Annotated[tuple[str, Annotated[Shape, Field(strict=False)]], Field(strict=False)]] = Field(
        default_factory=list
    )
    extra_outputs: list[str] = Field(default_factory=list)
    edges_known: bool = True
    patches: _PatchesFile | None = None


@cache
def _form(kind: str) -> type[FileModel]:
    """Return what a file may say of a layer: the fields of its class with their types."""
    types = get_type_hints(LAYER_TYPES[kind])
    keys: dict[str, Any] = {
        field.name: (types[field.name], ... if field.default is MISSING else field.default)
        for field in fields(LAYER_TYPES[kind])
    }
    return create_model(kind, __base__=FileModel, **keys)


def _check_sizes(layer: Layer, key: str) -> None:
    """Refuse numbers that no layer can have, though they are of the right type."""
    value = getattr(layer, key)
    low, high = _RANGES.get(key, (1, _LARGEST_SIZE))
    for number in value if isinstance(value, tuple) else (value,):
        if type(number) is int and not low <= number <= high:
            raise GraphError(f"{layer.kind} layer {layer.name!r} has {key} = {value}; allowed is {low} to {high:,}")
