"""The integer arithmetic of one layer, as TFLite's int8 reference kernels do it, on int8 tensors N x C x H x W.

Convolutions run in floating point on integers: every partial sum stays below 2**24 (float32) or 2**53 (float64), where
floating point is exact, so the result is the integer one. Everything after the accumulator is int64.

Source: TensorFlow Lite, ``kernels/internal/reference/integer_ops/`` (``conv.h``, ``depthwise_conv.h``,
``fully_connected.h``, ``pooling.h``, ``add.h``).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from envs.compression.fixed_point import multiply, quantise_multiplier
from envs.compression.float_graph import pad_same, window_counts
from envs.compression.quantised import INT8_MAX, INT8_MIN, TensorQuantisation
from hw_models.graph import Padding, Size

_ADD_LEFT_SHIFT = 20
_LARGEST_INPUT = 255


def exact_dtype(weights: np.ndarray) -> torch.dtype:
    """Return the fastest float type in which no accumulator can be rounded.

    Args:
        weights: Integers, one row per output channel.
    """
    largest = int(np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1).max())
    return torch.float32 if largest * _LARGEST_INPUT < 2**24 else torch.float64


@dataclass(frozen=True, eq=False)
class OutputStage:
    """From accumulators to int8: bias, fixed-point multiplier, zero point, activation clamp.

    Attributes:
        bias, mantissa, shift: int64, shaped to broadcast over N x C x H x W.
        zero_point: Of the output.
        low, high: The clamp.
    """

    bias: torch.Tensor
    mantissa: torch.Tensor
    shift: torch.Tensor
    zero_point: int
    low: int
    high: int

    def __call__(self, accumulators: torch.Tensor) -> torch.Tensor:
        """Return the int8 output for accumulators of any type that holds them exactly."""
        values = multiply(accumulators.to(torch.int64).add_(self.bias), self.mantissa, self.shift)
        return values.add_(self.zero_point).clamp_(self.low, self.high).to(torch.int8)


def convolution(
    x: torch.Tensor, weight: torch.Tensor, input_zero_point: int, stride: Size, padding: Padding, groups: int
) -> torch.Tensor:
    """Return the accumulators of a convolution.

    Args:
        x: int8, N x C x H x W.
        weight: Integers O x I x kh x kw in a float type that is exact for them.
        input_zero_point: Subtracted from the input; the border of a SAME window therefore counts as zero.
        stride: Of the window.
        padding: Of the window.
        groups: 1, or C for a depthwise convolution.
    """
    centred = x.to(weight.dtype).sub_(input_zero_point)
    padded = pad_same(centred, (weight.shape[2], weight.shape[3]), stride, padding)
    return F.conv2d(padded, weight, None, stride, groups=groups)


def dense(x: torch.Tensor, weight: torch.Tensor, input_zero_point: int) -> torch.Tensor:
    """Return the accumulators of a dense layer, N x O x 1 x 1, for int8 inputs N x I x 1 x 1."""
    return F.linear(x.flatten(1).to(weight.dtype).sub_(input_zero_point), weight)[:, :, None, None]


def average_pool(x: torch.Tensor, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return the mean of every window, halves rounded away from zero; positions outside the map do not count."""
    padded = pad_same(x.to(torch.float64), kernel, stride, padding)
    total = (F.avg_pool2d(padded, kernel, stride, divisor_override=1)).to(torch.int64)
    count = window_counts(x.shape[2], x.shape[3], kernel, stride, padding).round().to(torch.int64)
    nudge = torch.where(total > 0, count // 2, -(count // 2))
    return torch.div(total + nudge, count, rounding_mode="trunc").to(torch.int8)


def max_pool(x: torch.Tensor, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return the maximum of every window."""
    padded = pad_same(x.to(torch.float32), kernel, stride, padding, value=float("-inf"))
    return F.max_pool2d(padded, kernel, stride).to(torch.int8)


@dataclass(frozen=True)
class Addition:
    """TFLite's int8 addition: both inputs brought to a common fine scale, added, rescaled.

    Attributes:
        first, second, output: Scales and zero points.
        low, high: The clamp of the fused activation.
    """

    first: TensorQuantisation
    second: TensorQuantisation
    output: TensorQuantisation
    low: int
    high: int

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the int8 sum of two int8 tensors of one shape."""
        twice_max = 2 * max(self.first.scale, self.second.scale)
        total = self._rescaled(first, self.first, twice_max) + self._rescaled(second, self.second, twice_max)
        values = _multiply_real(total, twice_max / (2**_ADD_LEFT_SHIFT * self.output.scale))
        return values.add_(self.output.zero_point).clamp_(self.low, self.high).to(torch.int8)

    @staticmethod
    def _rescaled(x: torch.Tensor, quantisation: TensorQuantisation, twice_max: float) -> torch.Tensor:
        shifted = x.to(torch.int64).sub_(quantisation.zero_point) << _ADD_LEFT_SHIFT
        return _multiply_real(shifted, quantisation.scale / twice_max)


def rescale(
    x: torch.Tensor, source: TensorQuantisation, output: TensorQuantisation, low: int, high: int
) -> torch.Tensor:
    """Return a tensor in another scale and clamped: a standalone activation."""
    values = _multiply_real(x.to(torch.int64).sub_(source.zero_point), source.scale / output.scale)
    return values.add_(output.zero_point).clamp_(low, high).to(torch.int8)


def quantise_values(x: torch.Tensor, quantisation: TensorQuantisation) -> torch.Tensor:
    """Return real values as int8, rounded half away from zero and saturated."""
    scaled = x / quantisation.scale
    rounded = torch.trunc(scaled + torch.copysign(torch.full_like(scaled, 0.5), scaled))
    return rounded.add_(quantisation.zero_point).clamp_(INT8_MIN, INT8_MAX).to(torch.int8)


def _multiply_real(values: torch.Tensor, real: float) -> torch.Tensor:
    mantissa, shift = quantise_multiplier(real)
    return multiply(values, torch.tensor(mantissa), torch.tensor(shift))
