"""A slow twin of the integer network: plain Python integers, one sample, one output value after the other, NHWC.

Written from the C reference kernels, not from the code under test.
"""

import math
from fractions import Fraction

import numpy as np

from envs.compression.integer.network import QuantisedNetwork
from hw_models.graph.layer_graph import (
    ActivationLayer,
    Add,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    MaxPool2D,
    Quantize,
    Reshape,
    WeightLayer,
)


def truncating_division(numerator: int, denominator: int) -> int:
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


def saturating_rounding_doubling_high_mul(a: int, b: int) -> int:
    if a == b == -(2**31):
        return 2**31 - 1
    product = a * b
    nudge = 2**30 if product >= 0 else 1 - 2**30
    return truncating_division(product + nudge, 2**31)


def rounding_divide_by_pot(x: int, exponent: int) -> int:
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (1 if x < 0 else 0)
    return (x >> exponent) + (1 if (x & mask) > threshold else 0)


def multiplier(real: float) -> tuple[int, int]:
    if real == 0:
        return 0, 0
    fraction, shift = math.frexp(real)
    fixed = math.floor(fraction * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, shift = fixed // 2, shift + 1
    return (0, 0) if shift < -31 else (fixed, shift)


def multiply_by_quantised_multiplier(x: int, real: float) -> int:
    fixed, shift = multiplier(real)
    left, right = max(shift, 0), max(-shift, 0)
    return rounding_divide_by_pot(saturating_rounding_doubling_high_mul(x * (1 << left), fixed), right)


def multiply_wide_by_quantised_multiplier(x: int, real: float) -> int:
    """Return what the kernels of 16-bit activations make of a 64-bit accumulator."""
    fixed, shift = multiplier(real)
    reduced = (fixed + 2**15) // 2**16 if fixed < 0x7FFF0000 else 0x7FFF
    return math.floor(Fraction(x * reduced, 2 ** (15 - shift)) + Fraction(1, 2))


def before(size: int, kernel: int, stride: int, padding: str) -> tuple[int, int]:
    """Return the output size and the padding before the first pixel (ComputeOutSize and ComputePadding)."""
    out = (size + stride - 1) // stride if padding == "same" else (size + stride - kernel) // stride
    return out, max((out - 1) * stride + kernel - size, 0) // 2


def windows(x: np.ndarray, layer: object):
    """Yield output row and column and the list of (kernel row, kernel column, value vector) inside the map."""
    (kernel_h, kernel_w), (stride_h, stride_w) = layer.kernel, layer.stride
    rows, top = before(x.shape[0], kernel_h, stride_h, layer.padding)
    columns, left = before(x.shape[1], kernel_w, stride_w, layer.padding)
    for row in range(rows):
        for column in range(columns):
            found = []
            for i in range(kernel_h):
                for j in range(kernel_w):
                    y, z = row * stride_h - top + i, column * stride_w - left + j
                    if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
                        found.append((i, j, x[y, z]))
            yield row, column, found


class ReferenceNetwork:
    def __init__(self, network: QuantisedNetwork) -> None:
        self.network = network

    def run(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return every tensor but a softmax's as an integer array H x W x C."""
        tensors = {"input": x.astype(np.int64)}
        for layer in self.network.graph.layers:
            if layer.kind != "softmax":
                tensors[layer.name] = self.layer(layer, [tensors[name] for name in layer.inputs])
        return tensors

    def layer(self, layer: object, inputs: list[np.ndarray]) -> np.ndarray:
        x = inputs[0]
        out = np.zeros(self.network.graph.shapes[layer.name], np.int64)
        source = self.network.tensors[layer.inputs[0]]
        if isinstance(layer, Conv2D | DepthwiseConv2D):
            weights = self.network.weights[layer.name].values.astype(np.int64)
            for row, column, found in windows(x, layer):
                for channel in range(out.shape[2]):
                    total = 0
                    for i, j, values in found:
                        centred = values - source.zero_point
                        if isinstance(layer, DepthwiseConv2D):
                            total += int(weights[0, i, j, channel] * centred[channel])
                        else:
                            total += int((weights[channel, i, j] * centred).sum())
                    out[row, column, channel] = self.finish(layer, channel, total)
        elif isinstance(layer, Dense):
            weights = self.network.weights[layer.name].values.astype(np.int64)
            for channel in range(out.shape[2]):
                total = int((weights[channel] * (x[0, 0] - source.zero_point)).sum())
                out[0, 0, channel] = self.finish(layer, channel, total)
        elif isinstance(layer, AveragePool2D):
            for row, column, found in windows(x, layer):
                for channel in range(out.shape[2]):
                    total, count = sum(int(values[channel]) for _, _, values in found), len(found)
                    half = count // 2
                    out[row, column, channel] = truncating_division(total + (half if total > 0 else -half), count)
        elif isinstance(layer, MaxPool2D):
            for row, column, found in windows(x, layer):
                out[row, column] = np.max([values for _, _, values in found], axis=0)
        elif isinstance(layer, Add):
            for position in np.ndindex(out.shape):
                out[position] = self.add(layer, [int(values[position]) for values in inputs])
        elif isinstance(layer, Elementwise) and layer.operation == "mul":
            for position in np.ndindex(out.shape):
                # A map of one position is a factor of every position.
                places = [tuple(np.minimum(position, np.array(values.shape) - 1)) for values in inputs]
                out[position] = self.mul(layer, [int(v[place]) for v, place in zip(inputs, places, strict=True)])
        elif isinstance(layer, ActivationLayer | Quantize):
            target = self.network.tensors[layer.name]
            for position in np.ndindex(out.shape):
                moved = multiply_by_quantised_multiplier(
                    int(x[position]) - source.zero_point, source.scale / target.scale
                )
                out[position] = self.clamp(layer, moved + target.zero_point)
        elif isinstance(layer, Reshape):
            out = x.reshape(out.shape)
        else:
            raise TypeError(layer)
        return out

    def finish(self, layer: WeightLayer, channel: int, total: int) -> int:
        weights, tensors = self.network.weights[layer.name], self.network.tensors
        scale = float(weights.scales[channel if len(weights.scales) > 1 else 0])
        real = tensors[layer.inputs[0]].scale * scale / tensors[layer.name].scale
        multiply = (
            multiply_wide_by_quantised_multiplier if layer.output_bits == 16 else multiply_by_quantised_multiplier
        )
        moved = multiply(total + int(weights.bias[channel]), real)
        return self.clamp(layer, moved + tensors[layer.name].zero_point)

    def add(self, layer: Add, values: list[int]) -> int:
        first, second = (self.network.tensors[name] for name in layer.inputs)
        target = self.network.tensors[layer.name]
        twice = 2 * max(first.scale, second.scale)
        fine = 1 << (15 if layer.output_bits == 16 else 20)
        total = 0
        for value, tensor in zip(values, (first, second), strict=True):
            total += multiply_by_quantised_multiplier((value - tensor.zero_point) * fine, tensor.scale / twice)
        moved = multiply_by_quantised_multiplier(total, twice / (fine * target.scale))
        return self.clamp(layer, moved + target.zero_point)

    def mul(self, layer: Elementwise, values: list[int]) -> int:
        first, second = (self.network.tensors[name] for name in layer.inputs)
        target = self.network.tensors[layer.name]
        product = (values[0] - first.zero_point) * (values[1] - second.zero_point)
        moved = multiply_by_quantised_multiplier(product, first.scale * second.scale / target.scale)
        return self.clamp(layer, moved + target.zero_point)

    def clamp(self, layer: object, value: int) -> int:
        tensor = self.network.tensors[layer.name]
        low, high = (-(2**15), 2**15 - 1) if layer.output_bits == 16 else (-128, 127)
        activation = getattr(layer, "activation", "none")
        if activation in ("relu", "relu6"):
            low = max(low, tensor.zero_point)
        if activation == "relu6":
            high = min(high, tensor.zero_point + math.floor(float(np.float32(6) / np.float32(tensor.scale)) + 0.5))
        return min(max(value, low), high)
