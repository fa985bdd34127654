"""Post-training quantisation: from a trained network and a few inputs to integers.

Activations are asymmetric int8 or symmetric int16 per tensor, weights symmetric per output channel (int8 -127..127,
int4 -7..7), 4-bit dense layers per tensor, biases int32 (beside 16-bit activations int64) with the scale
``input scale * weight scale``.

Source: TensorFlow Lite quantisation specification, https://ai.google.dev/edge/litert/models/quantization_spec;
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018;
Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019 (empirical).
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import torch
from torch import nn

from envs.compression.float_network.folding import FoldedLayer, fold
from envs.compression.float_network.interpreter import run_float, weighted_sums
from envs.compression.integer.activation_ranges import quantisation_of, symmetric_quantisation_of
from envs.compression.integer.network import INTEGER_RANGES, QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.compression.integer.weight_grid import has_one_scale, weight_limit
from envs.compression.policy import STORAGE_BITS
from envs.errors import EnvError
from hw_models.errors import unknown_name
from hw_models.graph.from_torch import TorchTrace
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Concatenate,
    Dense,
    DepthwiseConv2D,
    Layer,
    LayerGraph,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)

_WEIGHT_BITS = (4, 8)
# By the width of the activations: biases stay below this, so that bias plus accumulator fits 32 bits, or the 48 that
# the fixed-point multiplication of 64-bit accumulators takes.
_BIAS_LIMIT: Mapping[int, int] = MappingProxyType({8: 2**30, 16: 2**46})
_BIAS_DTYPE: Mapping[int, type[np.signedinteger]] = MappingProxyType({8: np.int32, 16: np.int64})
_SOFTMAX = TensorQuantisation(1 / 256, -128)
# By the width of the activations; from 0 to 1, and nothing beyond.
_GATES: Mapping[int, TensorQuantisation] = MappingProxyType(
    {8: TensorQuantisation(float(np.float32(1 / 255)), -128), 16: TensorQuantisation(2.0**-15, 0)}
)


def quantise(
    module: nn.Module,
    trace: TorchTrace,
    calibration: torch.Tensor,
    *,
    weight_bits: Mapping[str, int] | None = None,
    stored_bits: Mapping[str, int] | None = None,
    activation_ranges: str = "min-max",
    bias_correction: bool = False,
) -> QuantisedNetwork:
    """Return a network in integers; the module is not changed.

    Args:
        module: The trained network.
        trace: Its trace; the bit widths of the weights are its graph's unless given.
        calibration: Inputs (float32, N x C x H x W) that show the range of every tensor, drawn from the training data;
            the float network runs on the torch device they lie on.
        weight_bits: Bit widths, 8 or 4, by layer name, in place of the graph's.
        stored_bits: Bit widths of coarser grids by layer name, see :mod:`envs.compression.integer.weight_grid`.
        activation_ranges: How the range of a tensor follows from the values seen, a key of
            ``envs.compression.integer.activation_ranges.RANGE_RULES``.
        bias_correction: Whether the biases make up for the mean change of every channel by the rounding of its weights.

    Raises:
        EnvError: A tensor or weights that are not finite, bit widths beyond 8 or 16 (activations), 8 or 4 (weights; 4
            beside 8-bit activations only), or a stored width that does not exist or is a layer's without weights.
        GraphError: ``weight_bits`` names an unknown layer.
    """
    graph = trace.graph.resized(weight_bits=weight_bits)
    _check_bits(graph, stored_bits or {})
    graph = graph.resized(stored_bits=stored_bits)
    folded = fold(module, replace(trace, graph=graph))
    values = run_float(graph, folded, calibration)
    tensors = _tensor_quantisations(graph, values, activation_ranges)
    network = quantise_folded(graph, folded, tensors, stored_bits=stored_bits)
    if not bias_correction:
        return network
    corrected = {
        layer.name: _bias_corrected(
            layer, folded[layer.name], network.weights[layer.name], values[layer.inputs[0]].cpu()
        )
        for layer in graph.weight_layers
    }
    return quantise_folded(graph, corrected, tensors, stored_bits=stored_bits)


def quantise_folded(
    graph: LayerGraph,
    folded: Mapping[str, FoldedLayer],
    tensors: Mapping[str, TensorQuantisation],
    *,
    stored_bits: Mapping[str, int] | None = None,
    weight_scales: Mapping[str, np.ndarray] | None = None,
) -> QuantisedNetwork:
    """Return a network in integers whose tensors have given scales: nothing is calibrated.

    Args:
        graph: The network.
        folded: Its folded weights.
        tensors: Scale and zero point of every tensor by name.
        stored_bits: Bit widths of coarser grids by layer name.
        weight_scales: Scales of the weights by layer name, where they are not to follow from the largest weights.
    """
    weights = {
        layer.name: quantise_weights(
            layer,
            folded[layer.name],
            tensors[layer.inputs[0]].scale,
            stored_bits=(stored_bits or {}).get(layer.name),
            scales=(weight_scales or {}).get(layer.name),
        )
        for layer in graph.weight_layers
    }
    return QuantisedNetwork(graph, MappingProxyType(dict(tensors)), MappingProxyType(weights))


def _check_bits(graph: LayerGraph, stored_bits: Mapping[str, int]) -> None:
    for name, bits in graph.bits.items():
        if bits not in INTEGER_RANGES:
            raise EnvError(f"tensor {name!r} has {bits} bits; only activations of 8 or 16 bits can be quantised")
    for layer in graph.layers:
        widths = {graph.bits[name] for name in (*layer.inputs, layer.name)}
        if len(widths) > 1 and not isinstance(layer, Quantize):
            raise EnvError(
                f"layer {layer.name!r} reads and writes {' and '.join(map(str, sorted(widths)))} bits; kernels compute "
                "at one width, so put a quantisation between them (envs.compression.activation_widths)"
            )
    for layer in graph.weight_layers:
        if layer.weight_bits not in _WEIGHT_BITS:
            raise EnvError(f"layer {layer.name!r} has {layer.weight_bits}-bit weights; allowed is 4 or 8")
        if layer.weight_bits == 4 and layer.output_bits == 16:
            raise EnvError(f"layer {layer.name!r} has 4-bit weights and 16-bit activations; no kernel computes that")
    names = [layer.name for layer in graph.weight_layers]
    for name, bits in stored_bits.items():
        if name not in names:
            raise EnvError(unknown_name("layer with weights", name, names))
        if bits not in STORAGE_BITS:
            raise EnvError(
                f"layer {name!r} has {bits} stored bits; allowed is one of {', '.join(map(str, STORAGE_BITS))}"
            )


def _tensor_quantisations(
    graph: LayerGraph, values: Mapping[str, torch.Tensor], activation_ranges: str
) -> dict[str, TensorQuantisation]:
    def calibrated(name: str) -> TensorQuantisation:
        seen = values[name].cpu().numpy()
        if graph.bits[name] == 16:
            return symmetric_quantisation_of(name, seen)
        return quantisation_of(name, seen, activation_ranges=activation_ranges)

    fixed = {layer.name: fixed for layer in graph.layers if (fixed := fixed_quantisation(layer)) is not None}
    roots = scale_roots(graph)
    known = {root: fixed[root] if root in fixed else calibrated(root) for root in dict.fromkeys(roots.values())}
    return {name: known[root] for name, root in roots.items()}


def fixed_quantisation(layer: Layer) -> TensorQuantisation | None:
    """Return scale and zero point of a layer's output where they follow from its kind: shares lie from 0 to 1."""
    if isinstance(layer, Softmax):
        return _SOFTMAX
    if isinstance(layer, WeightLayer) and layer.activation == "hard_sigmoid":
        return _GATES[layer.output_bits]
    return None


def scale_roots(graph: LayerGraph) -> Mapping[str, str]:
    """Return for every tensor the one whose scale and zero point it has: its own name where they are its own.

    A layer that moves values without rescaling them has those of its input, and what is joined has those of the join.
    """
    roots = {INPUT: INPUT}
    for layer in graph.layers:
        roots[layer.name] = roots[layer.inputs[0]] if _keeps_scale(layer) else layer.name
    for layer in graph.layers:
        if isinstance(layer, Concatenate):
            joined = {roots[name] for name in layer.inputs}
            roots = {name: layer.name if root in joined else root for name, root in roots.items()}
    return roots


def _keeps_scale(layer: Layer) -> bool:
    """Return whether a layer's kernel moves values without rescaling them; TFLM's RELU6 does, its RELU rescales."""
    return isinstance(layer, Pool2D | Reshape | Pad) or (
        isinstance(layer, ActivationLayer) and layer.activation == "relu6"
    )


def quantise_weights(
    layer: WeightLayer,
    folded: FoldedLayer,
    input_scale: float,
    *,
    stored_bits: int | None = None,
    scales: np.ndarray | None = None,
) -> QuantisedWeights:
    """Return the integer weights and biases of one layer.

    Args:
        layer: The layer; its bit widths decide the range of the weights and the biases.
        folded: Its folded weights.
        input_scale: Scale of the tensor it reads.
        stored_bits: Width of a coarser grid.
        scales: Of the weights, one per output channel or one for all; the largest weights decide if left out.
    """
    weight, bias = folded.weight.double().numpy(), folded.bias.double().numpy()
    limit = weight_limit(layer.weight_bits, stored_bits)
    if scales is None:
        peaks = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        scales = (peaks.max(keepdims=True) if has_one_scale(weight.ndim, layer.weight_bits) else peaks) / limit
    largest_bias = np.abs(bias) if len(scales) > 1 else np.abs(bias).max()
    scales = _weight_scales(scales, largest_bias / (input_scale * _BIAS_LIMIT[layer.output_bits]))
    per_channel = np.broadcast_to(scales.astype(np.float64), bias.shape)
    rows = per_channel.reshape(-1, *[1] * (weight.ndim - 1))
    values = np.clip(np.rint(weight / rows), -limit, limit).astype(np.int8)
    return QuantisedWeights(
        values=_tflite_layout(layer, values),
        bias=np.rint(bias / (input_scale * per_channel)).astype(_BIAS_DTYPE[layer.output_bits]),
        scales=scales,
    )


def _weight_scales(scales: np.ndarray, least: np.ndarray | float) -> np.ndarray:
    """Return the scales with those raised that are zero (dead channels) or below the least their bias fits in."""
    # A dead channel still has a bias, whose resolution is the scale's: borrow the finest scale of the layer.
    alive = scales[scales > 0]
    filled = np.where(scales > 0, scales, alive.min() if len(alive) else 2.0**-16)
    return np.asarray(np.maximum(filled, least), dtype=np.float32)


def rounded_weight(layer: WeightLayer, weights: QuantisedWeights) -> torch.Tensor:
    """Return the real numbers integer weights stand for, float32, in torch's layout."""
    values = _torch_layout(layer, weights.values)
    scales = np.broadcast_to(weights.scales, weights.bias.shape).reshape(-1, *[1] * (values.ndim - 1))
    return torch.from_numpy(values * scales).float()


def _bias_corrected(layer: WeightLayer, exact: FoldedLayer, rounded: QuantisedWeights, x: torch.Tensor) -> FoldedLayer:
    """Return the folded layer with biases less the mean of what the rounding of its weights adds to its sums."""
    error = rounded_weight(layer, rounded) - exact.weight
    added = weighted_sums(layer, x, FoldedLayer(error, torch.zeros_like(exact.bias)))
    return FoldedLayer(exact.weight, exact.bias - added.mean(dim=(0, 2, 3)))


def _torch_layout(layer: WeightLayer, values: np.ndarray) -> np.ndarray:
    if isinstance(layer, Dense):
        return values
    return values.transpose(3, 0, 1, 2) if isinstance(layer, DepthwiseConv2D) else values.transpose(0, 3, 1, 2)


def _tflite_layout(layer: WeightLayer, values: np.ndarray) -> np.ndarray:
    if isinstance(layer, Dense):
        return values
    if isinstance(layer, DepthwiseConv2D):
        return np.ascontiguousarray(values.transpose(1, 2, 3, 0))
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1))
