"""A quantised network as bytes: an ``.npz`` archive of plain arrays with a JSON header."""

import io
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from envs.array_files import parse_arrays
from envs.compression.integer.network import INTEGER_RANGES, QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.errors import EnvError
from hw_models.files import LARGEST_MODEL_BYTES, FileError, FileModel, parse_json, parse_json_object
from hw_models.graph.layer_graph import Dense, DepthwiseConv2D, GraphError, LayerGraph, WeightLayer

FORMAT = "quantised-network"
VERSION = 1
FIELDS = ("values", "bias", "scales")


class QuantisedFileError(EnvError):
    """The bytes are not a quantised network that this version can read."""


def network_to_bytes(network: QuantisedNetwork) -> bytes:
    """Return a network as the bytes of an ``.npz`` file; equal networks give equal bytes."""
    arrays = {"header": np.frombuffer(header_bytes(network), np.uint8)}
    for number, layer in enumerate(network.graph.weight_layers):
        for field in FIELDS:
            # Numbered, not named: a layer's name may hold characters that an archive treats as a path.
            arrays[f"{number}.{field}"] = getattr(network.weights[layer.name], field)
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def header_bytes(network: QuantisedNetwork) -> bytes:
    """Return everything but the integer weights as JSON."""
    tensors = {name: [tensor.scale, tensor.zero_point] for name, tensor in network.tensors.items()}
    header = {"format": FORMAT, "version": VERSION, "graph": network.graph.to_dict(), "tensors": tensors}
    return json.dumps(header).encode()


def read_header(data: bytes) -> tuple[LayerGraph, Mapping[str, TensorQuantisation]]:
    """Read what :func:`header_bytes` wrote.

    Raises:
        QuantisedFileError: Another format or version, or impossible scales.
        FileError: It is no JSON of these keys.
        GraphError: The layers are no network.
    """
    found = parse_json_object(data, source="the header")
    _check_format(found)
    header = parse_json(data, _Header, source="the header")
    graph = LayerGraph.from_dict(header.graph)
    return graph, _tensors(graph, header.tensors)


def network_from_bytes(data: bytes) -> QuantisedNetwork:
    """Read what :func:`network_to_bytes` wrote.

    Raises:
        QuantisedFileError: The bytes are truncated, foreign, inconsistent or of another format version.
    """
    try:
        arrays = parse_arrays(data, source="the file", at_most_bytes=LARGEST_MODEL_BYTES)
        if "header" not in arrays:
            raise FileError("the file holds no header")
        graph, tensors = read_header(arrays["header"].tobytes())
        return QuantisedNetwork(graph, tensors, _weights(graph, arrays))
    except (FileError, GraphError) as error:
        reason = "its graph is invalid: " if isinstance(error, GraphError) else ""
        raise QuantisedFileError(
            f"the file is no quantised network or is damaged ({reason}{error}); write it again with network_to_bytes"
        ) from error


class _Header(FileModel):
    format: str
    version: int
    graph: dict[str, Any]
    tensors: dict[str, tuple[float, int]]


def _check_format(header: Mapping[str, Any]) -> None:
    if header.get("format") != FORMAT:
        raise QuantisedFileError(f"the file's header does not say {FORMAT!r}; it was written by something else")
    if header.get("version") != VERSION:
        raise QuantisedFileError(
            f"the file has format version {header.get('version')!r}; this program reads version {VERSION}: "
            "read it with the program that wrote it"
        )


def _tensors(graph: LayerGraph, stored: Mapping[str, tuple[float, int]]) -> Mapping[str, TensorQuantisation]:
    tensors: dict[str, TensorQuantisation] = {}
    for name in graph.shapes:
        if name not in stored:
            raise QuantisedFileError(f"tensor {name!r} has no scale and no zero point")
        scale, zero_point = stored[name]
        low, high = _zero_points(name, graph.bits[name])
        if not (np.isfinite(scale) and scale > 0 and zero_point in range(low, high + 1)):
            raise QuantisedFileError(
                f"tensor {name!r} has scale {scale!r} and zero point {zero_point!r}; the scale must be positive, "
                f"the zero point a whole number from {low} to {high}"
            )
        tensors[name] = TensorQuantisation(float(scale), int(zero_point))
    return MappingProxyType(tensors)


def _zero_points(name: str, bits: int) -> tuple[int, int]:
    """Return the least and the largest zero point of a tensor; 16-bit kernels know none but 0."""
    if bits not in INTEGER_RANGES:
        raise QuantisedFileError(f"tensor {name!r} has {bits} bits; a quantised network has 8 or 16")
    return INTEGER_RANGES[bits] if bits == 8 else (0, 0)


def _weights(graph: LayerGraph, arrays: Mapping[str, np.ndarray]) -> Mapping[str, QuantisedWeights]:
    weights = {}
    for number, layer in enumerate(graph.weight_layers):
        found = {field: arrays[f"{number}.{field}"] for field in FIELDS if f"{number}.{field}" in arrays}
        if len(found) < len(FIELDS):
            raise QuantisedFileError(f"layer {layer.name!r} lacks one of {', '.join(FIELDS)}")
        weights[layer.name] = checked_weights(graph, layer, found)
    return MappingProxyType(weights)


def checked_weights(graph: LayerGraph, layer: WeightLayer, found: Mapping[str, np.ndarray]) -> QuantisedWeights:
    """Return the integer weights of a layer from the arrays of a file, by field.

    Raises:
        QuantisedFileError: The arrays do not fit the layer, or a scale is not a positive number.
    """
    shapes = field_shapes(graph, layer)
    for field, dtype in field_dtypes(layer).items():
        if found[field].dtype != dtype or found[field].shape != shapes[field]:
            raise QuantisedFileError(
                f"layer {layer.name!r} has {field} of {found[field].dtype} and shape {found[field].shape}; "
                f"the graph needs {dtype} and {shapes[field]}"
            )
    if not (np.isfinite(found["scales"]).all() and (found["scales"] > 0).all()):
        raise QuantisedFileError(f"layer {layer.name!r} has scales that are not positive numbers")
    return QuantisedWeights(**found)


def field_dtypes(layer: WeightLayer) -> Mapping[str, np.dtype[Any]]:
    """Return the type of every array of a layer, by field."""
    bias = np.dtype("int64" if layer.output_bits == 16 else "int32")
    return {"values": np.dtype("int8"), "bias": bias, "scales": np.dtype("float32")}


def field_shapes(graph: LayerGraph, layer: WeightLayer) -> Mapping[str, tuple[int, ...]]:
    """Return the shape of every array of a layer, by field."""
    channels = graph.shapes[layer.name][2]
    one_scale = isinstance(layer, Dense) and layer.weight_bits == 4
    return {
        "values": weight_shape(graph, layer),
        "bias": (channels,),
        "scales": (1,) if one_scale else (channels,),
    }


def weight_shape(graph: LayerGraph, layer: WeightLayer) -> tuple[int, ...]:
    """Return the shape of a layer's weights in TFLite's layout."""
    (source,) = graph.input_shapes(layer)
    channels = graph.shapes[layer.name][2]
    if isinstance(layer, Dense):
        return (channels, source[2])
    kernel: tuple[int, int] = layer.kernel  # type: ignore[attr-defined]
    return (1, *kernel, channels) if isinstance(layer, DepthwiseConv2D) else (channels, *kernel, source[2])
