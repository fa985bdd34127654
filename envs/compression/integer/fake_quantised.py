"""A quantised network computed in real numbers: float64 tensors, each rounded to the values its integers stand for.

It is the second way to the integer interpreter's outputs, to the bit, and shares with it only the geometry of windows.
Weights, biases and tensors are real numbers; a sum of products of them is exact to far less than half a step of the
accumulator, and the fixed-point multipliers of the runtime are applied in float64, in two halves so that nothing is
lost. Only softmax is the real one: its integers may differ by one step of 1/256.

Sources: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018 (simulated quantisation); TensorFlow Lite, ``kernels/internal/reference/integer_ops/`` (the rounding).
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch.nn import functional as F

from envs.compression.float_network.interpreter import (
    check_product,
    concatenate,
    pad_map,
    pad_same,
    reshape_nhwc,
    window_counts,
)
from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from envs.errors import EnvError
from hw_models.graph.layer_graph import (
    INPUT,
    ActivationLayer,
    Add,
    AveragePool2D,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Elementwise,
    Layer,
    MaxPool2D,
    Pad,
    Quantize,
    Reshape,
    Softmax,
    WeightLayer,
)

_LOW, _HIGH = -128, 127
_ADD_UNITS = 2.0**20
_HALF_BITS = 16

_Kernel = Callable[..., torch.Tensor]


class FakeQuantisedNetwork:
    """Executes one quantised network in float64.

    Args:
        network: The network; its weights are made real numbers once, here.

    Raises:
        EnvError: Tensors that are not 8 bits wide.
    """

    def __init__(self, network: QuantisedNetwork) -> None:
        for name, bits in network.graph.bits.items():
            if bits != 8:
                raise EnvError(f"tensor {name!r} has {bits} bits; the fake-quantised network has 8-bit tensors only")
        self._network = network
        self._kernels = {layer.name: self._kernel(layer) for layer in network.graph.layers}

    def run(self, x: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return every tensor by name as real numbers, float64, for float inputs N x C x H x W."""
        source = self._network.tensors[INPUT]
        # The application divides in float32.
        steps = _half_away(x.float() / source.scale).double()
        tensors = {INPUT: _saturated(steps * source.scale, source)}
        with torch.no_grad():
            for layer in self._network.graph.layers:
                tensors[layer.name] = self._kernels[layer.name](*(tensors[name] for name in layer.inputs))
        return tensors

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output for float inputs, N x classes, float64."""
        return self.run(x)[self._network.graph.output].flatten(1)

    def integers(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Return the integers, int64, that real values of a tensor stand for."""
        tensor = self._network.tensors[name]
        return (_steps(values, tensor) + tensor.zero_point).to(torch.int64)

    def _kernel(self, layer: Layer) -> _Kernel:
        """Return the function from a layer's input tensors to its output tensor, all of them real numbers."""
        source, output = self._network.tensors[layer.inputs[0]], self._network.tensors[layer.name]
        if isinstance(layer, Conv2D | DepthwiseConv2D | Dense):
            return self._weighted(layer)
        if isinstance(layer, AveragePool2D):
            return lambda x: _average_pool(x, source, layer)
        if isinstance(layer, MaxPool2D):
            return lambda x: F.max_pool2d(
                pad_same(x, layer.kernel, layer.stride, layer.padding, value=float("-inf")), layer.kernel, layer.stride
            )
        if isinstance(layer, Add):
            other = self._network.tensors[layer.inputs[1]]
            return lambda x, y: _activated(_added(x, y, source, other, output), layer, output)
        if isinstance(layer, Elementwise):
            check_product(layer)
            other = self._network.tensors[layer.inputs[1]]
            factor = source.scale * other.scale / output.scale
            return lambda x, y: _activated(
                _scaled(_steps(x, source) * _steps(y, other), factor) * output.scale, layer, output
            )
        if isinstance(layer, Pad):
            return lambda x: pad_map(x, layer)
        if isinstance(layer, Concatenate):
            return lambda *inputs: concatenate(layer, inputs)
        if isinstance(layer, Quantize):
            ratio = source.scale / output.scale
            return lambda x: _saturated(_scaled(_steps(x, source), ratio) * output.scale, output)
        if isinstance(layer, ActivationLayer) and layer.activation in ("leaky_relu", "hard_swish"):
            raise EnvError(
                f"layer {layer.name!r} ({layer.activation}) is computed by a table of integers; the fake-quantised "
                "network has none"
            )
        if isinstance(layer, ActivationLayer):
            ratio = source.scale / output.scale
            return lambda x: _activated(_scaled(_steps(x, source), ratio) * output.scale, layer, output)
        if isinstance(layer, Reshape):
            return lambda x: reshape_nhwc(x, layer)
        if isinstance(layer, Softmax):
            return lambda x: _saturated(_half_away(torch.softmax(x, dim=1) / output.scale) * output.scale, output)
        raise TypeError(
            f"no real arithmetic for layer kind {layer.kind!r}"
        )  # a new kind in hw_models.graph.layer_graph

    def _weighted(self, layer: Conv2D | DepthwiseConv2D | Dense) -> _Kernel:
        source, output = self._network.tensors[layer.inputs[0]], self._network.tensors[layer.name]
        found = self._network.weights[layer.name]
        scales = np.broadcast_to(found.scales.astype(np.float64), found.bias.shape)
        values = _channels_first(layer, found.values)
        weight = torch.from_numpy(values * scales.reshape(-1, *[1] * (values.ndim - 1)))
        units = source.scale * scales
        bias, unit = torch.from_numpy(found.bias * units), torch.from_numpy(units).reshape(-1, 1, 1)

        def run(x: torch.Tensor) -> torch.Tensor:
            if isinstance(layer, Dense):
                sums = F.linear(x.flatten(1), weight, bias)[:, :, None, None]
            else:
                padded = pad_same(x, layer.kernel, layer.stride, layer.padding)
                groups = len(weight) if isinstance(layer, DepthwiseConv2D) else 1
                sums = F.conv2d(padded, weight, bias, layer.stride, groups=groups)
            return _activated(_scaled(torch.round(sums / unit), unit / output.scale) * output.scale, layer, output)

        return run


def _channels_first(layer: WeightLayer, values: np.ndarray) -> np.ndarray:
    """Return weights in TFLite's layout in torch's, float64."""
    if isinstance(layer, Dense):
        return values.astype(np.float64)
    axis = 3 if isinstance(layer, DepthwiseConv2D) else 0
    moved = np.moveaxis(values, axis, 0)
    # Depthwise: C x 1 x kh x kw already; otherwise O x kh x kw x I.
    return np.ascontiguousarray(moved if axis == 3 else np.moveaxis(moved, 3, 1), dtype=np.float64)


def _steps(x: torch.Tensor, tensor: TensorQuantisation) -> torch.Tensor:
    """Return how many steps from zero real values on a grid are: whole numbers."""
    return torch.round(x / tensor.scale)


def _half_away(x: torch.Tensor) -> torch.Tensor:
    """Return whole numbers, halves rounded away from zero."""
    return torch.copysign(torch.floor(x.abs() + 0.5), x)


def _saturated(x: torch.Tensor, tensor: TensorQuantisation) -> torch.Tensor:
    """Return values on a grid within what eight bits hold of it."""
    ends = ((end - tensor.zero_point) * tensor.scale for end in (_LOW, _HIGH))
    return x.clamp(*ends)


def _activated(
    x: torch.Tensor, layer: WeightLayer | Add | Elementwise | ActivationLayer, tensor: TensorQuantisation
) -> torch.Tensor:
    if layer.activation != "none":
        x = x.clamp(min=0.0)
    if layer.activation == "relu6":
        # The runtime divides in float32.
        x = x.clamp(max=float(np.floor(np.float32(6) / np.float32(tensor.scale) + np.float64(0.5))) * tensor.scale)
    return _saturated(x, tensor)


def _scaled(steps: torch.Tensor, ratio: torch.Tensor | float) -> torch.Tensor:
    """Return whole numbers times a ratio, rounded twice as the runtime's fixed-point multiplier does.

    Args:
        steps: Whole numbers of at most 32 bits.
        ratio: Positive, float64, of a shape that broadcasts.
    """
    fraction, exponent = torch.frexp(torch.as_tensor(ratio, dtype=torch.float64))
    mantissa = torch.where(exponent < -31, 0.0, torch.floor(fraction * 2.0**31 + 0.5))
    upper = torch.floor(mantissa / 2.0**_HALF_BITS)
    lower = mantissa - upper * 2.0**_HALF_BITS
    steps = (steps * 2.0 ** exponent.clamp(min=0).double()).clamp(-(2.0**31), 2.0**31 - 1)
    # steps * mantissa / 2**31 with 62 bits does not fit float64: the part of the upper half that is whole is split off.
    large = steps * upper
    whole = torch.floor(large / 2.0**15)
    rest = (large - whole * 2.0**15) * 2.0**_HALF_BITS + steps * lower
    return _half_away((whole + torch.floor(rest / 2.0**31 + 0.5)) * 2.0 ** exponent.clamp(max=0).double())


def _added(
    x: torch.Tensor,
    y: torch.Tensor,
    first: TensorQuantisation,
    second: TensorQuantisation,
    output: TensorQuantisation,
) -> torch.Tensor:
    """Return the sum on the output's grid: both to a common fine grid, added, rescaled, each rounded."""
    twice = 2 * max(first.scale, second.scale)
    fine = [
        _scaled(_steps(values, tensor) * _ADD_UNITS, tensor.scale / twice)
        for values, tensor in ((x, first), (y, second))
    ]
    return _scaled(fine[0] + fine[1], twice / (_ADD_UNITS * output.scale)) * output.scale


def _average_pool(x: torch.Tensor, tensor: TensorQuantisation, layer: AveragePool2D) -> torch.Tensor:
    """Return the mean of every window; the runtime rounds the mean of the integers, zero point and all."""
    padded = pad_same(x, layer.kernel, layer.stride, layer.padding)
    total = F.avg_pool2d(padded, layer.kernel, layer.stride, divisor_override=1)
    count = window_counts(x.shape[2], x.shape[3], layer.kernel, layer.stride, layer.padding).double().round()
    mean = _half_away((_steps(total, tensor) + count * tensor.zero_point) / count)
    return (mean - tensor.zero_point) * tensor.scale
