"""Quantised networks for export tests: real families with mixed bit widths, and layers put together by hand."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from envs.compression.activation_widths import with_activation_bits
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights, TensorQuantisation
from envs.compression.integer.network_file import weight_shape
from envs.compression.integer.quantisation import quantise
from envs.compression.integer.weight_grid import weight_limit
from hw_models.graph.from_torch import trace
from hw_models.graph.layer_graph import ActivationLayer, Concatenate, Dense, LayerGraph, Pad, Pool2D, Reshape, Softmax
from tests.envs.compression.integer.test_quantisation import inputs
from tests.envs.networks import build


def family(
    name: str, seed: int = 0, bits: tuple[int, ...] | None = None, activation_bits: tuple[int, ...] = (8,)
) -> QuantisedNetwork:
    """Return one of the families with random weights.

    Bit widths are repeated over its layers; those of the weights are random where left out.
    """
    module, shape = build(name, seed)
    traced = trace(module, shape)
    rng = np.random.default_rng(seed)
    chosen = {
        layer.name: int(rng.choice([4, 8])) if bits is None else bits[index % len(bits)]
        for index, layer in enumerate(traced.graph.weight_layers)
    }
    widths = {
        layer.name: activation_bits[index % len(activation_bits)]
        for index, layer in enumerate(traced.graph.weight_layers)
    }
    chosen |= {name: 8 for name, width in widths.items() if width == 16}
    graph = with_activation_bits(traced.graph, widths)
    return quantise(module, replace(traced, graph=graph), inputs(shape), weight_bits=chosen)


def by_hand(graph: LayerGraph, seed: int = 0) -> QuantisedNetwork:
    """Return a network with random integers and scales, equal ones where a kernel does not rescale."""
    rng = np.random.default_rng(seed)
    tensors = {name: random_quantisation(rng, graph.bits[name]) for name in graph.shapes}
    for layer in graph.layers:
        is_relu6 = isinstance(layer, ActivationLayer) and layer.activation == "relu6"
        if isinstance(layer, Pool2D | Reshape | Pad | Concatenate) or is_relu6:
            tensors[layer.name] = tensors[layer.inputs[0]]
        elif isinstance(layer, Softmax):
            tensors[layer.name] = TensorQuantisation(1 / 256, -128)
    return QuantisedNetwork(graph, tensors, random_weights(graph, rng))


def random_quantisation(rng: np.random.Generator, bits: int) -> TensorQuantisation:
    if bits == 16:
        return TensorQuantisation(float(np.float32(rng.uniform(0.00004, 0.0004))), 0)
    return TensorQuantisation(float(np.float32(rng.uniform(0.01, 0.1))), int(rng.integers(-128, 128)))


def random_weights(graph: LayerGraph, rng: np.random.Generator) -> Mapping[str, QuantisedWeights]:
    weights = {}
    for layer in graph.weight_layers:
        channels, limit = graph.shapes[layer.name][2], weight_limit(layer.weight_bits, layer.stored_bits)
        scales = 1 if isinstance(layer, Dense) and layer.weight_bits == 4 else channels
        bias = rng.integers(-5000, 5000, channels)
        weights[layer.name] = QuantisedWeights(
            rng.integers(-limit, limit + 1, weight_shape(graph, layer)).astype(np.int8),
            bias.astype(np.int64) * 256 if layer.output_bits == 16 else bias.astype(np.int32),
            rng.uniform(0.001, 0.01, scales).astype(np.float32),
        )
    return weights


def random_inputs(network: QuantisedNetwork, count: int, seed: int = 0) -> np.ndarray:
    """Return int8 samples, N x H x W x C, over the whole range."""
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *network.graph.input_shape)).astype(np.int8)


def expected_tensors(network: QuantisedNetwork, samples: np.ndarray) -> dict[str, np.ndarray]:
    """Return what the integer interpreter computes, N x H x W x C."""
    found = IntegerInterpreter(network).run(torch.from_numpy(samples).permute(0, 3, 1, 2).contiguous())
    return {name: values.permute(0, 2, 3, 1).numpy() for name, values in found.items()}


def stored_network(name: str, bits: int, *, first: bool = False) -> QuantisedNetwork:
    """Return a network whose layers, with or without the first, have a stored width."""
    module, shape = build(name, 0)
    traced = trace(module, shape)
    names = [layer.name for layer in traced.graph.weight_layers]
    widths = dict.fromkeys(names, 8)
    stored = dict.fromkeys(names[0 if first else 1 :], bits)
    return quantise(module, traced, inputs(shape), weight_bits=widths, stored_bits=stored)
