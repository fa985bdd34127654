"""Running a quantised network in integers only, as a runtime on the target would, whole batches at a time.

Layers with 8-bit activations accumulate in 32 bits, layers with 16-bit activations in 64, as TFLM's kernels do.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch

from envs.compression.float_network.interpreter import check_product, concatenate, reshape_nhwc
from envs.compression.integer import kernels
from envs.compression.integer.fixed_softmax import softmax
from envs.compression.integer.network import QuantisedNetwork
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
)

Kernel = Callable[..., torch.Tensor]
"""From the integers a layer reads, N x C x H x W each, to those it makes."""

# The intermediate tensors of a small batch stay in the cache, which makes wide networks faster than large batches do.
_BATCH = 64


class IntegerInterpreter:
    """Executes one quantised network.

    Args:
        network: The network; its weights are converted once, here.
    """

    def __init__(self, network: QuantisedNetwork) -> None:
        self._network = network
        self._kernels = {layer.name: layer_kernel(network, layer) for layer in network.graph.layers}

    def run(self, x: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return every tensor, int8 or int16, by name.

        Args:
            x: int8, N x C x H x W.

        Raises:
            EnvError: Another type or shape.
        """
        height, width, channels = self._network.graph.input_shape
        if x.dtype != torch.int8 or x.ndim != 4 or tuple(x.shape[1:]) != (channels, height, width):
            raise EnvError(
                f"the input is {x.dtype} of shape {tuple(x.shape)}; the network needs int8, "
                f"N x {channels} x {height} x {width}"
            )
        tensors = {INPUT: x}
        with torch.no_grad():
            for layer in self._network.graph.layers:
                tensors[layer.name] = self._kernels[layer.name](*(tensors[name] for name in layer.inputs))
        return tensors

    def run_layer(self, name: str, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what one layer computes from integer inputs of anybody's, N x C x H x W each."""
        with torch.no_grad():
            return self._kernels[name](*inputs)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output for float inputs as real numbers, N x classes."""
        graph, tensors = self._network.graph, self._network.tensors
        outputs = [
            self.run(kernels.quantise_values(batch, tensors[INPUT]))[graph.output] for batch in torch.split(x, _BATCH)
        ]
        quantisation = tensors[graph.output]
        return (torch.cat(outputs).flatten(1).float() - quantisation.zero_point) * quantisation.scale

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class of every float input; the first one where outputs are equal, as on the target."""
        # numpy promises the first of equal maxima, torch does not.
        return torch.from_numpy(np.argmax(self.logits(x).numpy(), axis=1))


def layer_kernel(network: QuantisedNetwork, layer: Layer) -> Kernel:
    """Return the function from a layer's input tensors to its output tensor."""
    source, output = network.tensors[layer.inputs[0]], network.tensors[layer.name]
    low, high = network.activation_range(layer.name)
    if isinstance(layer, Conv2D | DepthwiseConv2D):
        return _convolution(network, layer)
    if isinstance(layer, Dense):
        weight, stage = _weight(network, layer), _output_stage(network, layer)
        return lambda x: stage(kernels.dense(x, weight, source.zero_point))
    if isinstance(layer, AveragePool2D):
        return lambda x: kernels.average_pool(x, layer.kernel, layer.stride, layer.padding)
    if isinstance(layer, MaxPool2D):
        return lambda x: kernels.max_pool(x, layer.kernel, layer.stride, layer.padding)
    if isinstance(layer, Add):
        return kernels.Addition(source, network.tensors[layer.inputs[1]], output, low, high)
    if isinstance(layer, Elementwise):
        check_product(layer)
        return kernels.Product(source, network.tensors[layer.inputs[1]], output, low, high)
    if isinstance(layer, Pad):
        return lambda x: kernels.pad(x, layer, source.zero_point)
    if isinstance(layer, Concatenate):
        return lambda *inputs: concatenate(layer, inputs)
    if isinstance(layer, ActivationLayer) and layer.activation in ("leaky_relu", "hard_swish"):
        table = kernels.activation_table(layer, source, output)
        return lambda x: kernels.lookup(x, table)
    if isinstance(layer, ActivationLayer | Quantize):
        dtype = kernels.TENSOR_DTYPES[layer.output_bits]
        return lambda x: kernels.rescale(x, source, output, low, high, dtype)
    if isinstance(layer, Reshape):
        return lambda x: reshape_nhwc(x, layer)
    if isinstance(layer, Softmax):
        return lambda x: softmax(x, source.scale)
    raise TypeError(f"no integer kernel for layer kind {layer.kind!r}")  # a new kind in hw_models.graph.layer_graph


def _convolution(network: QuantisedNetwork, layer: Conv2D | DepthwiseConv2D) -> Kernel:
    weight, stage = _weight(network, layer), _output_stage(network, layer)
    zero_point = network.tensors[layer.inputs[0]].zero_point
    groups = len(weight) if isinstance(layer, DepthwiseConv2D) else 1
    return lambda x: stage(kernels.convolution(x, weight, zero_point, layer.stride, layer.padding, groups))


def _weight(network: QuantisedNetwork, layer: Conv2D | DepthwiseConv2D | Dense) -> torch.Tensor:
    """Return integer weights in torch's layout and a float type that is exact for them."""
    values = network.weights[layer.name].values
    if isinstance(layer, DepthwiseConv2D):
        values = values.transpose(3, 0, 1, 2)
    elif isinstance(layer, Conv2D):
        values = values.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(values)).to(kernels.exact_dtype(values, layer.output_bits))


def _output_stage(network: QuantisedNetwork, layer: Layer) -> kernels.OutputStage:
    mantissas, shifts = network.multipliers(layer.name)
    bias = network.weights[layer.name].bias.astype(np.int64)
    low, high = network.activation_range(layer.name)
    return kernels.OutputStage(
        bias=torch.from_numpy(bias).reshape(-1, 1, 1),
        mantissa=torch.from_numpy(mantissas).reshape(-1, 1, 1),
        shift=torch.from_numpy(shifts).reshape(-1, 1, 1),
        zero_point=network.tensors[layer.name].zero_point,
        low=low,
        high=high,
        dtype=kernels.TENSOR_DTYPES[layer.output_bits],
    )
