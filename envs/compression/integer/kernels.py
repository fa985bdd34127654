"""The integer arithmetic of one layer, as TFLite's reference kernels do it, on int8 or int16 tensors N x C x H x W.

Convolutions run in floating point on integers: every partial sum stays below 2**24 (float32) or 2**53 (float64), where
floating point is exact, so the result is the integer one. Everything after the accumulator is int64. On the target the
accumulators of 8-bit kernels have 32 bits, those of 16-bit kernels 64.

Source: TensorFlow Lite, ``kernels/internal/reference/integer_ops/`` (``conv.h``, ``depthwise_conv.h``,
``fully_connected.h``, ``pooling.h``, ``add.h``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from envs.compression.float_network.interpreter import pad_map, pad_same, window_counts
from envs.compression.integer.fixed_point import (
    multiply,
    multiply_wide,
    quantise_multiplier,
    reduced_mantissas,
    rounding_shift_right,
)
from envs.compression.integer.network import INT8_MAX, INT8_MIN, TensorQuantisation
from envs.errors import EnvError
from hw_models.graph.layer_graph import ActivationLayer, Pad, Padding, Size

TENSOR_DTYPES: Mapping[int, torch.dtype] = MappingProxyType({8: torch.int8, 16: torch.int16})
"""Type of a tensor by its bit width."""

_ADD_LEFT_SHIFT: Mapping[torch.dtype, int] = MappingProxyType({torch.int8: 20, torch.int16: 15})
# With the zero point subtracted, which is 0 in 16 bits.
_LARGEST_INPUT: Mapping[int, int] = MappingProxyType({8: 255, 16: 2**15})


def exact_dtype(weights: np.ndarray, input_bits: int = 8) -> torch.dtype:
    """Return the fastest float type in which no accumulator can be rounded.

    Args:
        weights: Integers, one row per output channel.
        input_bits: Bit width of what they are multiplied with, 8 or 16.
    """
    largest = int(np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(axis=1).max())
    return torch.float32 if largest * _LARGEST_INPUT[input_bits] < 2**24 else torch.float64


@dataclass(frozen=True, eq=False)
class OutputStage:
    """From accumulators to the output: bias, fixed-point multiplier, zero point, activation clamp.

    Attributes:
        bias, mantissa, shift: int64, shaped to broadcast over N x C x H x W.
        zero_point: Of the output.
        low, high: The clamp.
        dtype: Of the output, int8 or int16.
    """

    bias: torch.Tensor
    mantissa: torch.Tensor
    shift: torch.Tensor
    zero_point: int
    low: int
    high: int
    dtype: torch.dtype = torch.int8

    def __call__(self, accumulators: torch.Tensor) -> torch.Tensor:
        """Return the output for accumulators of any type that holds them exactly."""
        scaled = multiply_wide if self.dtype == torch.int16 else multiply
        values = scaled(accumulators.to(torch.int64).add_(self.bias), self.mantissa, self.shift)
        return values.add_(self.zero_point).clamp_(self.low, self.high).to(self.dtype)


def convolution(
    x: torch.Tensor, weight: torch.Tensor, input_zero_point: int, stride: Size, padding: Padding, groups: int
) -> torch.Tensor:
    """Return the accumulators of a convolution.

    Args:
        x: int8 or int16, N x C x H x W.
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
    """Return the accumulators of a dense layer, N x O x 1 x 1, for integer inputs N x I x 1 x 1."""
    return F.linear(x.flatten(1).to(weight.dtype).sub_(input_zero_point), weight)[:, :, None, None]


def average_pool(x: torch.Tensor, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return the mean of every window, halves rounded away from zero; positions outside the map do not count."""
    padded = pad_same(x.to(torch.float64), kernel, stride, padding)
    total = (F.avg_pool2d(padded, kernel, stride, divisor_override=1)).to(torch.int64)
    count = window_counts(x.shape[2], x.shape[3], kernel, stride, padding).round().to(torch.int64)
    nudge = torch.where(total > 0, count // 2, -(count // 2))
    return torch.div(total + nudge, count, rounding_mode="trunc").to(x.dtype)


def max_pool(x: torch.Tensor, kernel: Size, stride: Size, padding: Padding) -> torch.Tensor:
    """Return the maximum of every window."""
    padded = pad_same(x.to(torch.float32), kernel, stride, padding, value=float("-inf"))
    return F.max_pool2d(padded, kernel, stride).to(x.dtype)


@dataclass(frozen=True)
class _OfTwo:
    """What an operation on two tensors knows of them.

    Attributes:
        first, second, output: Scales and zero points.
        low, high: The clamp of the fused activation.
    """

    first: TensorQuantisation
    second: TensorQuantisation
    output: TensorQuantisation
    low: int
    high: int


class Addition(_OfTwo):
    """TFLite's addition: both inputs brought to a common fine scale, added, rescaled."""

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the sum of two tensors of one shape and type."""
        twice_max = 2 * max(self.first.scale, self.second.scale)
        left_shift = _ADD_LEFT_SHIFT[first.dtype]
        total = self._rescaled(first, self.first, twice_max) + self._rescaled(second, self.second, twice_max)
        values = _multiply_real(total, twice_max / (2**left_shift * self.output.scale))
        return values.add_(self.output.zero_point).clamp_(self.low, self.high).to(first.dtype)

    @staticmethod
    def _rescaled(x: torch.Tensor, quantisation: TensorQuantisation, twice_max: float) -> torch.Tensor:
        shifted = x.to(torch.int64).sub_(quantisation.zero_point) << _ADD_LEFT_SHIFT[x.dtype]
        return _multiply_real(shifted, quantisation.scale / twice_max)


class Product(_OfTwo):
    """TFLite's product of two int8 tensors: the integers multiplied, then rescaled."""

    def __call__(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Return the product of two tensors, the second of one shape with the first or of one position."""
        product = (first.to(torch.int64) - self.first.zero_point) * (second.to(torch.int64) - self.second.zero_point)
        values = _multiply_real(product, self.real)
        return values.add_(self.output.zero_point).clamp_(self.low, self.high).to(torch.int8)

    @property
    def real(self) -> float:
        """The multiplier as a real number."""
        return self.first.scale * self.second.scale / self.output.scale


def pad(x: torch.Tensor, layer: Pad, zero_point: int) -> torch.Tensor:
    """Return a map with rows and columns of zeros around it, which are zero points."""
    return pad_map(x, layer, zero_point)


def activation_table(
    layer: ActivationLayer, source: TensorQuantisation, output: TensorQuantisation
) -> npt.NDArray[np.int8]:
    """Return what an int8 activation that rescales makes of -128 to 127, as TFLM's kernel computes it.

    Source: TensorFlow Lite, ``kernels/internal/reference/leaky_relu.h`` and ``hard_swish.h``.

    Raises:
        EnvError: An activation without integer arithmetic, or scales that the kernel does not take.
    """
    x = torch.arange(INT8_MIN, INT8_MAX + 1, dtype=torch.int64) - source.zero_point
    if layer.activation == "leaky_relu":
        slope = float(np.float32(layer.negative_slope))
        real = source.scale / output.scale
        values = torch.where(x >= 0, _multiply_real(x, real), _multiply_real(x, real * slope))
    elif layer.activation == "hard_swish":
        values = _hard_swish(x, source, output)
    else:
        raise EnvError(f"the activation {layer.activation!r} has no integer arithmetic here")
    return (values + output.zero_point).clamp(INT8_MIN, INT8_MAX).to(torch.int8).numpy()


def lookup(x: torch.Tensor, table: npt.NDArray[np.int8]) -> torch.Tensor:
    """Return the entries of a table of 256 for int8 values."""
    return torch.from_numpy(table)[x.to(torch.int64) - INT8_MIN]


def _hard_swish(x: torch.Tensor, source: TensorQuantisation, output: TensorQuantisation) -> torch.Tensor:
    """Return hard swish of centred values in steps of the output, in 16-bit arithmetic throughout."""
    fine_scale = np.float32(1 / 128) * np.float32(source.scale)
    mantissa, exponent = _mantissa16(float(fine_scale / np.float32(output.scale)))
    gate_mantissa, gate_exponent = _mantissa16(float(fine_scale / np.float32(3 / 32768)))
    if exponent > 0:
        raise EnvError(
            f"a hard swish of scale {source.scale:g} has outputs of scale {output.scale:g}, too fine for its kernel; "
            "use another activation there"
        )
    fine = x << 7
    wanted = _high16(fine, mantissa)
    gate = _saturated16(fine << max(gate_exponent - 1, 0))
    gate = _high16(gate, gate_mantissa)
    if gate_exponent > 0:
        gate = _saturated16(gate << 1)
    gate = rounding_shift_right(gate, torch.tensor(max(-gate_exponent, 0)))
    gate = (gate + (1 << 15)) >> 1
    # Not rounded, but truncated.
    product = torch.div(gate * wanted, 1 << 15, rounding_mode="trunc")
    return rounding_shift_right(_saturated16(product), torch.tensor(-exponent))


def _mantissa16(real: float) -> tuple[int, int]:
    """Return a multiplier with a mantissa of 16 bits."""
    mantissa, exponent = quantise_multiplier(real)
    return int(reduced_mantissas(np.array([mantissa]))[0]), exponent


def _high16(values: torch.Tensor, mantissa: int) -> torch.Tensor:
    """Return the rounding doubling high half of products of 16 bits."""
    product = values * mantissa
    nudge = torch.where(product >= 0, 1 << 14, 1 - (1 << 14))
    return _saturated16(torch.div(product + nudge, 1 << 15, rounding_mode="trunc"))


def _saturated16(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(-(1 << 15), (1 << 15) - 1)


def rescale(
    x: torch.Tensor, source: TensorQuantisation, output: TensorQuantisation, low: int, high: int, dtype: torch.dtype
) -> torch.Tensor:
    """Return a tensor in another scale or type and clamped: a standalone activation, a change of width."""
    values = _multiply_real(x.to(torch.int64).sub_(source.zero_point), source.scale / output.scale)
    return values.add_(output.zero_point).clamp_(low, high).to(dtype)


def quantise_values(x: torch.Tensor, quantisation: TensorQuantisation) -> torch.Tensor:
    """Return real values as int8, as a network reads them, rounded half away from zero and saturated."""
    scaled = x / quantisation.scale
    rounded = torch.trunc(scaled + torch.copysign(torch.full_like(scaled, 0.5), scaled))
    return rounded.add_(quantisation.zero_point).clamp_(INT8_MIN, INT8_MAX).to(torch.int8)


def _multiply_real(values: torch.Tensor, real: float) -> torch.Tensor:
    mantissa, shift = quantise_multiplier(real)
    return multiply(values, torch.tensor(mantissa), torch.tensor(shift))
