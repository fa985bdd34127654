"""The integer interpreter's outputs in half its time: integers carried in float32, doubtful ones settled exactly.

A layer's accumulators are integers below 2**24, which float32 holds exactly. Their product with the multiplier is off
by less than a known margin, so rounding it gives the right integer unless it lies that close to a half. Those few are
computed again with the reference kernels, and so is every layer that does not meet the conditions. The outputs
therefore equal those of :class:`envs.compression.integer.interpreter.IntegerInterpreter` bit for bit.
"""

from math import prod

import numpy as np
import torch
from torch.nn import functional as F

from envs.compression.float_network.interpreter import concatenate, pad_map, pad_same, reshape_nhwc
from envs.compression.float_network.purpose import Measured
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import Inputs
from envs.compression.integer.fixed_point import multiply, quantise_multiplier
from envs.compression.integer.interpreter import Kernel, layer_kernel
from envs.compression.integer.kernels import TENSOR_DTYPES, Addition, quantise_values
from envs.compression.integer.network import QuantisedNetwork
from envs.same_conv import convolve
from hw_models.graph.layer_graph import (
    INPUT,
    Add,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Layer,
    MaxPool2D,
    Pad,
    Reshape,
)

# Values of the largest tensor of a batch: few enough for the cache, enough to hide the cost of a call.
_BATCH_VALUES = 2**19
_EXACT_INTEGERS = 2**24
_LARGEST_INPUT = 255
# Outputs beyond this are clamped whatever they are rounded to, so the margins need hold only below.
_LARGEST_OUTPUT = 512.0
_FLOAT32_ERROR = 2.0**-22
# With a wider margin too many outputs would have to be computed twice.
_WIDEST_MARGIN = 0.1


class FastInterpreter:
    """Executes one quantised network.

    Its tensors are float32, hold integers less their zero point, and lie in NHWC order.

    Args:
        network: The network; its weights are converted once, here.
    """

    def __init__(self, network: QuantisedNetwork) -> None:
        self._network = network
        self._kernels = {layer.name: _kernel(network, layer) for layer in network.graph.layers}
        self._batch = max(1, _BATCH_VALUES // max(prod(shape) for shape in network.graph.shapes.values()))

    def logits(self, x: Inputs) -> torch.Tensor:
        """Return the output for float inputs (N x C x H x W) as real numbers, N x classes."""
        output = self._network.graph.output
        with torch.no_grad():
            centred = torch.cat([self._run(batch)[output] for batch in x.split(self._batch)])
        return centred.flatten(1) * self._network.tensors[output].scale

    def _run(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        quantisation = self._network.tensors[INPUT]
        tensors = {INPUT: quantise_values(x, quantisation).float().sub_(quantisation.zero_point)}
        for layer in self._network.graph.layers:
            tensors[layer.name] = self._kernels[layer.name](*(tensors[name] for name in layer.inputs))
        return tensors


def error_of(network: QuantisedNetwork, samples: LabelledSamples) -> float:
    """Return the error as the samples' purpose defines it, e.g. the share of samples that get a wrong class."""
    return samples.purpose.error(FastInterpreter(network).logits(samples.x), samples.x, samples.y)


def measured_error(network: QuantisedNetwork, samples: LabelledSamples) -> Measured:
    """Return the same with its noise."""
    return samples.purpose.measured(FastInterpreter(network).logits(samples.x), samples.x, samples.y)


def _kernel(network: QuantisedNetwork, layer: Layer) -> Kernel:
    """Return the function from a layer's input tensors to its output tensor."""
    found: Kernel | None = None
    # The margins are those of 8-bit tensors.
    if all(network.graph.bits[name] == 8 for name in (*layer.inputs, layer.name)):
        if isinstance(layer, Conv2D | DepthwiseConv2D | Dense):
            found = _weighted(network, layer)
        elif isinstance(layer, Add):
            found = _addition(network, layer)
        elif isinstance(layer, MaxPool2D):
            return lambda x: F.max_pool2d(
                pad_same(x, layer.kernel, layer.stride, layer.padding, value=float("-inf")), layer.kernel, layer.stride
            )
        elif isinstance(layer, Reshape):
            return lambda x: reshape_nhwc(x, layer)
        elif isinstance(layer, Pad):
            # Tensors are less their zero point.
            return lambda x: pad_map(x, layer)
        elif isinstance(layer, Concatenate):
            return lambda *inputs: concatenate(layer, inputs)
    return found or _reference(network, layer)


def _reference(network: QuantisedNetwork, layer: Layer) -> Kernel:
    """Return the reference kernel between conversions."""
    sources = [network.tensors[name].zero_point for name in layer.inputs]
    types = [TENSOR_DTYPES[network.graph.bits[name]] for name in layer.inputs]
    zero_point = network.tensors[layer.name].zero_point
    exact = layer_kernel(network, layer)

    def run(*inputs: torch.Tensor) -> torch.Tensor:
        integers = [(x + zero).to(dtype) for x, zero, dtype in zip(inputs, sources, types, strict=True)]
        return exact(*integers).float().sub_(zero_point)

    return run


def _weighted(network: QuantisedNetwork, layer: Conv2D | DepthwiseConv2D | Dense) -> Kernel | None:
    weights = network.weights[layer.name]
    values = _torch_layout(layer, weights.values)
    totals = np.abs(values.astype(np.int64)).reshape(len(values), -1).sum(axis=1) * _LARGEST_INPUT
    mantissas, shifts = network.multipliers(layer.name)
    # What the two roundings of the fixed-point product and those of float32 can amount to.
    margins = 2.0 ** (shifts - 1.0) + _LARGEST_OUTPUT * _FLOAT32_ERROR
    if (totals + np.abs(weights.bias.astype(np.int64))).max() >= _EXACT_INTEGERS or margins.max() > _WIDEST_MARGIN:
        return None
    weight, bias = torch.from_numpy(values).float(), torch.from_numpy(weights.bias).float()
    zero_point = network.tensors[layer.name].zero_point
    low, high = (bound - zero_point for bound in network.activation_range(layer.name))
    multiplier = torch.from_numpy(mantissas * 2.0 ** (shifts - 31)).float()
    mantissa, shift = torch.from_numpy(mantissas), torch.from_numpy(shifts)

    def output(sums: torch.Tensor) -> torch.Tensor:
        """Return the output for sums whose last axis is the channels."""
        sums = sums.contiguous()
        scaled = (sums * multiplier).clamp_(low, high)
        rounded = scaled.round()
        doubtful = _doubtful(scaled, rounded, float(margins.max()))
        channel = doubtful % len(mantissa)
        exact = multiply(sums.view(-1)[doubtful].long(), mantissa[channel], shift[channel]).clamp_(low, high)
        rounded.view(-1)[doubtful] = exact.float()
        return rounded

    if isinstance(layer, Dense):
        return lambda x: output(F.linear(x.flatten(1), weight, bias))[:, :, None, None]
    groups = len(weight) if isinstance(layer, DepthwiseConv2D) else 1

    def convolution(x: torch.Tensor) -> torch.Tensor:
        padded = pad_same(x, layer.kernel, layer.stride, layer.padding)
        sums = convolve(padded, weight, bias, layer.stride, groups=groups)
        return output(sums.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return convolution


def _torch_layout(layer: Layer, values: np.ndarray) -> np.ndarray:
    if isinstance(layer, Dense):
        return values
    axes = (3, 0, 1, 2) if isinstance(layer, DepthwiseConv2D) else (0, 3, 1, 2)
    return np.ascontiguousarray(values.transpose(axes))


def _doubtful(scaled: torch.Tensor, rounded: torch.Tensor, margin: float) -> torch.Tensor:
    """Return the flat positions of values nearer to a half than a margin; the values are overwritten."""
    # numpy finds a few positions among many several times faster than torch.
    distance = scaled.sub_(rounded).abs_().numpy().reshape(-1)
    return torch.from_numpy(np.flatnonzero(distance > 0.5 - margin))


def _addition(network: QuantisedNetwork, layer: Add) -> Kernel | None:
    first, second, output = (network.tensors[name] for name in (*layer.inputs, layer.name))
    low, high = network.activation_range(layer.name)
    exact = Addition(first, second, output, low, high)
    one, two = first.scale / output.scale, second.scale / output.scale
    # Each input is rounded twice on a scale 2**20 times finer than the coarser one's double, the sum twice more.
    fine = 2 * max(first.scale, second.scale) / (2**20 * output.scale)
    margin = 2 * fine + 2.0 ** (quantise_multiplier(fine)[1] - 1) + _LARGEST_INPUT * (one + two) * _FLOAT32_ERROR
    if margin > _WIDEST_MARGIN:
        return None
    low, high = low - output.zero_point, high - output.zero_point

    def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        x, y = (values.permute(0, 2, 3, 1).contiguous() for values in (x, y))
        scaled = torch.add(x * one, y, alpha=two).clamp_(low, high)
        rounded = scaled.round()
        doubtful = _doubtful(scaled, rounded, margin)
        pair = [
            (values.view(-1)[doubtful] + quantisation.zero_point).to(torch.int8)
            for values, quantisation in ((x, first), (y, second))
        ]
        rounded.view(-1)[doubtful] = exact(*pair).float() - output.zero_point
        return rounded.permute(0, 3, 1, 2)

    return run
