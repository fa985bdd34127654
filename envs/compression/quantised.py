"""A quantised network after the TFLite int8 specification: plain data that every executor and exporter reads.

Source: TensorFlow Lite 8-bit quantisation specification, https://ai.google.dev/edge/litert/models/quantization_spec
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import floor
from typing import TYPE_CHECKING

import numpy as np

from envs.compression.fixed_point import quantise_multipliers
from hw_models.graph import ActivationLayer, Add, LayerGraph, WeightLayer
from hw_models.layers import AnyActivation

if TYPE_CHECKING:
    import torch

    from envs.compression.integer_interpreter import IntegerInterpreter
    from envs.compression.samples import LabelledSamples

INT8_MIN, INT8_MAX = -128, 127


@dataclass(frozen=True)
class TensorQuantisation:
    """How a tensor's int8 values stand for real ones: ``real = scale * (value - zero_point)``.

    Attributes:
        scale: Positive, exactly representable in float32.
        zero_point: The int8 value of zero, -128 to 127.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, eq=False)
class QuantisedWeights:
    """Integer weights of one layer, in TFLite's layout.

    Attributes:
        values: int8; convolution O x kh x kw x I, depthwise 1 x kh x kw x C, dense O x I. 4-bit weights lie in -7..7.
        bias: int32, one per output channel, with the scale ``input scale * weight scale``.
        scales: float32, one per output channel, or a single one for 4-bit dense layers.
    """

    values: np.ndarray
    bias: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True, eq=False)
class QuantisedNetwork:
    """A network in integers.

    Attributes:
        graph: The layers, with the bit widths of their weights.
        tensors: Scale and zero point of every tensor by name, the input's under ``"input"``.
        weights: Integer weights by layer name.
    """

    graph: LayerGraph
    tensors: Mapping[str, TensorQuantisation]
    weights: Mapping[str, QuantisedWeights]

    def multipliers(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the fixed-point output multipliers of a layer with weights.

        Returns:
            Mantissas and shifts, int64, one per output channel (see :mod:`envs.compression.fixed_point`).
        """
        source = self.graph.layer(layer).inputs[0]
        weights = self.weights[layer]
        scales = np.broadcast_to(weights.scales.astype(np.float64), weights.bias.shape)
        return quantise_multipliers(self.tensors[source].scale * scales / self.tensors[layer].scale)

    def activation_range(self, layer: str) -> tuple[int, int]:
        """Return the int8 values a layer's output is clamped to: its fused or standalone activation."""
        found = self.graph.layer(layer)
        activation: AnyActivation = (
            found.activation if isinstance(found, WeightLayer | Add | ActivationLayer) else "none"
        )
        quantisation = self.tensors[layer]
        low = INT8_MIN if activation == "none" else max(INT8_MIN, quantisation.zero_point)
        if activation != "relu6":
            return low, INT8_MAX
        # The runtime divides in float32, and a quotient that is nearly a half falls on it there.
        six = floor(float(np.float32(6) / np.float32(quantisation.scale)) + 0.5)
        return low, min(INT8_MAX, quantisation.zero_point + six)

    @cached_property
    def interpreter(self) -> "IntegerInterpreter":
        """The integer interpreter of this network."""
        from envs.compression.integer_interpreter import IntegerInterpreter  # it reads this class

        return IntegerInterpreter(self)

    def run_integers(self, x: "torch.Tensor") -> "Mapping[str, torch.Tensor]":
        """Return every tensor, int8, for int8 inputs; maps are N x C x H x W, vectors N x C x 1 x 1."""
        return self.interpreter.run(x)

    def logits(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return the output for float inputs (N x C x H x W), as real numbers, N x classes."""
        return self.interpreter.logits(x)

    def predict(self, x: "torch.Tensor") -> "torch.Tensor":
        """Return the class of every float input (N x C x H x W), int64, N; the first one where outputs are equal."""
        return self.interpreter.predict(x)

    def error(self, samples: "LabelledSamples") -> float:
        """Return the error as the samples' goal defines it, e.g. the share of samples that get a wrong class."""
        from envs.compression.fast_interpreter import FastInterpreter  # it reads this class

        return samples.goal.error(FastInterpreter(self).logits(samples.x), samples.x, samples.y)

    def to_bytes(self) -> bytes:
        """Return the network as the bytes of an ``.npz`` file without pickled objects."""
        from envs.compression.network_file import to_bytes  # it reads this class

        return to_bytes(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> "QuantisedNetwork":
        """Read what :meth:`to_bytes` wrote.

        Raises:
            NetworkFileError: The bytes are truncated, foreign, inconsistent or of another format version.
        """
        from envs.compression.network_file import from_bytes  # it reads this class

        return from_bytes(data)
