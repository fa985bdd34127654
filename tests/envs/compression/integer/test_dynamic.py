"""Dynamic quantisation against the hybrid kernel of LiteRT, and that TFLM has none."""

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.dynamic import DynamicWeights, float_weight_bytes, quantise_dynamically
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from mobo.export.tools import tflite_schema
from tests.envs.networks import NETWORKS, build


def hybrid_file(weights: DynamicWeights) -> bytes:
    """Return a model with one fully connected operator: float tensors, int8 weights with a scale per output."""
    import flatbuffers

    schema = tflite_schema()
    outputs, inputs = weights.values.shape
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors = []

    def add(shape, kind, data=None, scales=None):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = list(shape), kind, 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            model.buffers.append(buffer)
            tensor.buffer = len(model.buffers) - 1
        if scales is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.zeros(len(scales), np.int64)
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    kinds = schema.TensorType
    source = add((1, inputs), kinds.FLOAT32)
    weight = add((outputs, inputs), kinds.INT8, weights.values.numpy(), weights.scales.numpy())
    bias = add((outputs,), kinds.FLOAT32, weights.bias.numpy())
    result = add((1, outputs), kinds.FLOAT32)
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 12
    operator.inputs, operator.outputs = [source, weight, bias], [result]
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    graph.operators, graph.inputs, graph.outputs = [operator], [source], [result]
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def random_weights(inputs: int, outputs: int) -> DynamicWeights:
    generator = torch.Generator().manual_seed(inputs)
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator) * torch.logspace(-1, 1, outputs)[:, None])
        layer.bias.copy_(torch.randn(outputs, generator=generator))
    network = nn.Sequential(nn.Flatten(), layer).eval()
    return quantise_dynamically(network, trace(network, (1, 1, inputs))).dense["1"]


@pytest.mark.parametrize(("inputs", "outputs"), [(16, 8), (37, 5), (640, 128)])
def test_a_dense_layer_computes_as_in_litert(inputs, outputs):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    weights = random_weights(inputs, outputs)
    interpreter = litert.Interpreter(
        model_content=hybrid_file(weights),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    x = torch.randn(20, inputs, generator=torch.Generator().manual_seed(1)) * torch.logspace(-2, 2, 20)[:, None]
    x[3] = 0.0
    found = weights.sums(x)
    for sample, expected in zip(x, found, strict=True):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], sample[None].numpy())
        interpreter.invoke()
        measured = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
        np.testing.assert_allclose(measured, expected.numpy(), rtol=1e-5, atol=1e-5)
    # The rounding is not lost in the tolerance.
    exact = x @ (weights.values.float() * weights.scales[:, None]).T + weights.bias
    assert float((found - exact).abs().max()) > 1e-2


def test_tflm_refuses_it():
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    with pytest.raises(RuntimeError, match=r"TFLM|prepare|PREPARE|llocate"):
        runtime.Interpreter.from_bytes(hybrid_file(random_weights(16, 8)), arena_size=1 << 16)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_almost_as_in_float(name):
    module, (height, width, channels) = build(name)
    traced = trace(module, (height, width, channels))
    network = quantise_dynamically(module, traced)
    x = torch.randn(50, channels, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        exact = module(x)
    found = network.logits(x)
    assert 0 < float((found - exact).abs().max()) < 0.02 * float(exact.abs().max())
    y = exact.argmax(1)
    assert network.error(LabelledSamples(x, y)) == float((found.argmax(1) != y).double().mean())


def test_the_bytes_by_hand():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 2 * 2, 5)).eval()
    traced = trace(module, (4, 4, 1))
    # Convolution: 18 weights, 2 biases. Dense: 40 weights, 5 biases and, in int8, 5 scales.
    assert float_weight_bytes(module, traced) == 4 * (18 + 2 + 40 + 5)
    assert quantise_dynamically(module, traced).weight_bytes == 4 * (18 + 2) + 40 + 4 * (5 + 5)


def test_outputs_of_zero_weights_and_inputs_of_zeros_are_the_biases():
    layer = nn.Linear(4, 3)
    nn.init.zeros_(layer.weight)
    module = nn.Sequential(nn.Flatten(), layer).eval()
    network = quantise_dynamically(module, trace(module, (1, 1, 4)))
    assert network.logits(torch.randn(2, 4, 1, 1)).equal(layer.bias.detach().expand(2, 3))
    assert random_weights(16, 8).sums(torch.zeros(1, 16))[0].equal(random_weights(16, 8).bias)


def test_a_sample_is_rounded_by_its_own_range():
    weights = random_weights(16, 8)
    small = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    both = weights.sums(torch.cat([small, 1000 * small]))
    assert both[0].equal(weights.sums(small)[0])


def test_a_network_without_dense_layers_is_refused():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1)).eval()
    with pytest.raises(EnvError, match="no dense layer; dynamic quantisation would change nothing"):
        quantise_dynamically(module, trace(module, (4, 4, 1)))
