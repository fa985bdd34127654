"""A quantised network after the TFLite specifications: plain data that every executor and exporter reads.

Source: TensorFlow Lite quantisation specification, https://ai.google.dev/edge/litert/models/quantization_spec, and its
kernels for 16-bit activations with 8-bit weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor
from types import MappingProxyType

import numpy as np

from envs.compression.integer.fixed_point import WIDE_MAX_SHIFT, quantise_multipliers
from envs.errors import EnvError
from hw_models.graph.layer_graph import ActivationLayer, Add, Elementwise, LayerGraph, WeightLayer
from hw_models.graph.layers import Activation, AnyActivation

INT8_MIN, INT8_MAX = -128, 127
INT16_MIN, INT16_MAX = -(2**15), 2**15 - 1
INTEGER_RANGES: Mapping[int, tuple[int, int]] = MappingProxyType({8: (INT8_MIN, INT8_MAX), 16: (INT16_MIN, INT16_MAX)})
"""Least and largest value of a tensor by its bit width."""


@dataclass(frozen=True)
class TensorQuantisation:
    """How a tensor's integers stand for real numbers: ``real = scale * (value - zero_point)``.

    Attributes:
        scale: Positive, exactly representable in float32.
        zero_point: The integer of zero: -128 to 127 in an int8 tensor, 0 in an int16 tensor.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class QuantisedWeights:
    """Integer weights of one layer, in TFLite's layout.

    Attributes:
        values: int8; convolution O x kh x kw x I, depthwise 1 x kh x kw x C, dense O x I. 4-bit weights lie in -7..7.
        bias: int32, beside 16-bit activations int64, one per output channel, with the scale
            ``input scale * weight scale``.
        scales: float32, one per output channel, or a single one for 4-bit dense layers.
    """

    values: np.ndarray
    bias: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A network in integers.

    Attributes:
        graph: The layers, with the bit widths of their weights and of the tensors.
        tensors: Scale and zero point of every tensor by name, the input's under ``"input"``.
        weights: Integer weights by layer name.
    """

    graph: LayerGraph
    tensors: Mapping[str, TensorQuantisation]
    weights: Mapping[str, QuantisedWeights]

    def multipliers(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the fixed-point output multipliers of a layer with weights.

        Returns:
            Mantissas and shifts, int64, one per output channel (see :mod:`envs.compression.integer.fixed_point`).

        Raises:
            EnvError: A multiplier is larger than the kernels of 16-bit activations take.
        """
        found = self.graph.layer(layer)
        source = found.inputs[0]
        weights = self.weights[layer]
        scales = np.broadcast_to(weights.scales.astype(np.float64), weights.bias.shape)
        mantissas, shifts = quantise_multipliers(self.tensors[source].scale * scales / self.tensors[layer].scale)
        if found.output_bits == 16 and shifts.max() > WIDE_MAX_SHIFT:
            raise EnvError(
                f"layer {layer!r} multiplies its sums by up to 2**{shifts.max()}, kernels of 16-bit activations by at "
                f"most 2**{WIDE_MAX_SHIFT}: its outputs are too small for its inputs; give it 8-bit activations"
            )
        return mantissas, shifts

    def activation_range(self, layer: str) -> tuple[int, int]:
        """Return the integers a layer's output is clamped to: its fused or standalone activation."""
        found = self.graph.layer(layer)
        activation: Activation | AnyActivation = (
            found.activation if isinstance(found, WeightLayer | Add | Elementwise | ActivationLayer) else "none"
        )
        quantisation = self.tensors[layer]
        least, largest = INTEGER_RANGES[found.output_bits]
        low = least if activation in ("none", "leaky_relu", "hard_swish") else max(least, quantisation.zero_point)
        if activation != "relu6":
            return low, largest
        # The runtime divides in float32, and a quotient that is nearly a half falls on it there.
        six = floor(float(np.float32(6) / np.float32(quantisation.scale)) + 0.5)
        return low, min(largest, quantisation.zero_point + six)
