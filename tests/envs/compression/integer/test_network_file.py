import io
import json
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch

from envs.compression.activation_widths import with_activation_bits
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import TensorQuantisation
from envs.compression.integer.network_file import QuantisedFileError, network_from_bytes, network_to_bytes
from envs.compression.integer.quantisation import quantise
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.compression.integer.test_quantisation import inputs
from tests.envs.networks import NETWORKS, build


def network_of(name, bits=8):
    module, shape = build(name)
    traced = trace(module, shape)
    asked = {layer.name: bits for layer in traced.graph.weight_layers}
    return quantise(module, traced, inputs(shape), weight_bits=asked), inputs(shape, 16, seed=1)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_network_survives_the_file(name, bits):
    network, x = network_of(name, bits)
    data = network_to_bytes(network)
    twin = network_from_bytes(data)
    assert twin.graph == network.graph
    assert twin.tensors == dict(network.tensors)
    assert torch.equal(IntegerInterpreter(twin).logits(x), IntegerInterpreter(network).logits(x))
    assert network_to_bytes(twin) == data


def wide_network():
    module, shape = build("residual")
    traced = trace(module, shape)
    widths = {layer.name: (16, 8)[number % 2] for number, layer in enumerate(traced.graph.weight_layers)}
    traced = replace(traced, graph=with_activation_bits(traced.graph, widths))
    return quantise(module, traced, inputs(shape)), inputs(shape, 16, seed=1)


def test_a_network_of_mixed_activation_widths_survives_the_file():
    network, x = wide_network()
    assert {weights.bias.dtype.name for weights in network.weights.values()} == {"int32", "int64"}
    twin = network_from_bytes(network_to_bytes(network))
    assert (twin.graph, twin.tensors) == (network.graph, dict(network.tensors))
    assert torch.equal(IntegerInterpreter(twin).logits(x), IntegerInterpreter(network).logits(x))


def test_a_zero_point_of_an_int16_tensor_and_other_widths_are_refused():
    network, _ = wide_network()
    first = network.graph.weight_layers[0].name
    tensors = dict(network.tensors) | {first: TensorQuantisation(0.5, 1)}
    with pytest.raises(QuantisedFileError, match=r"zero point 1; .* a whole number from 0 to 0"):
        network_from_bytes(network_to_bytes(replace(network, tensors=tensors)))
    with pytest.raises(QuantisedFileError, match="tensor 'input' has 32 bits; a quantised network has 8 or 16"):
        network_from_bytes(network_to_bytes(replace(network, graph=replace(network.graph, input_bits=32))))


@pytest.fixture(scope="module")
def data():
    return network_to_bytes(network_of("plain")[0])


def test_a_truncated_file_is_refused_wherever_it_ends(data):
    for end in (0, 1, 10, len(data) // 3, len(data) // 2, len(data) - 1):
        with pytest.raises(QuantisedFileError, match="no quantised network or is damaged"):
            network_from_bytes(data[:end])


def test_flipped_bytes_are_noticed(data):
    for position in range(200, len(data) - 200, len(data) // 7):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        try:
            network_from_bytes(bytes(damaged))
        except EnvError:
            continue
        # A byte the archive does not check (padding or a field it ignores) must leave the content alone.
        assert network_to_bytes(network_from_bytes(bytes(damaged))) == data


def test_foreign_files_are_refused():
    array, archive, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros(3))
    np.savez(archive, weights=np.zeros(3))
    np.savez(objects, header=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for foreign in (b"hello", b"PK\x03\x04", array.getvalue(), archive.getvalue(), objects.getvalue()):
        with pytest.raises(QuantisedFileError, match="quantised network"):
            network_from_bytes(foreign)


def changed(data, **changes):
    """Return the file with its header or arrays changed."""
    with np.load(io.BytesIO(data)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = json.loads(arrays["header"].tobytes())
    for key, value in changes.items():
        if key.startswith("a_"):
            arrays[key[2:].replace("_", ".", 1)] = value
        else:
            header[key] = value
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "other"}, "does not say 'quantised-network'"),
        ({"version": 2}, "format version 2; this program reads version 1"),
        ({"graph": {"layers": []}}, "its graph is invalid"),
        ({"tensors": {}}, "tensor 'input' has no scale and no zero point"),
        ({"a_0_values": np.zeros((1, 2), np.int8)}, r"layer '0\.0' has values of int8 and shape \(1, 2\)"),
        ({"a_0_bias": np.zeros(8, np.float32)}, r"layer '0\.0' has bias of float32"),
        ({"a_1_scales": np.zeros(16, np.float32)}, r"layer '1\.0' has scales that are not positive"),
    ],
)
def test_inconsistent_files_say_what_is_wrong(data, changes, message):
    with pytest.raises(QuantisedFileError, match=message):
        network_from_bytes(changed(data, **changes))


@pytest.mark.parametrize("value", [[0.0, 0], [float("nan"), 0], [1.0, 128], [1.0, 0.5]])
def test_impossible_scales_are_refused(data, value):
    with np.load(io.BytesIO(data)) as archive:
        tensors = json.loads(archive["header"].tobytes())["tensors"]
    with pytest.raises(QuantisedFileError, match=r"tensor 'input' has scale|tensors\.input\.[01] = "):
        network_from_bytes(changed(data, tensors=tensors | {"input": value}))


def test_nothing_is_unpickled(data):
    with mock.patch("pickle.load", side_effect=AssertionError), mock.patch("pickle.loads", side_effect=AssertionError):
        assert network_to_bytes(network_from_bytes(data)) == data
