import lzma
import zlib
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compression.integer.network import QuantisedWeights
from envs.compression.integer.network_file import header_bytes, network_to_bytes
from envs.compression.integer.weight_coding import DownloadError, decode_network, encode_network
from hw_models.graph.patches import possible_patches
from tests.envs.compression.integer.test_network_file import network_of, wide_network
from tests.envs.networks import NETWORKS

network_once = cache(lambda name, bits=8: network_of(name, bits)[0])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("bits", [4, 8])
def test_a_network_survives_the_download(name, bits):
    network = network_once(name, bits)
    data = encode_network(network)
    assert network_to_bytes(decode_network(data)) == network_to_bytes(network)
    assert encode_network(network) == data


def test_how_a_network_runs_patch_by_patch_is_not_sent():
    network = network_once("residual", 8)
    graph = next(
        replace(network.graph, patches=patches)
        for patches in possible_patches(network.graph.layers, network.graph.shapes, network.graph.input_names)
    )
    assert encode_network(replace(network, graph=graph)) == encode_network(network)


def test_a_network_of_mixed_activation_widths_survives_the_download():
    network, _ = wide_network()
    found = dict(network.weights)
    name = next(name for name, weights in found.items() if weights.bias.dtype == np.int64)
    extremes = np.resize(np.array([2**63 - 1, -(2**63), 0, -1], np.int64), found[name].bias.shape)
    changed = replace(network, weights=found | {name: replace(found[name], bias=extremes)})
    assert network_to_bytes(decode_network(encode_network(changed))) == network_to_bytes(changed)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(NETWORKS)), st.floats(0, 1), st.sampled_from([1, 7, 127, 128]))
def test_any_integers_survive(seed, name, share_of_zeros, limit):
    """Every value of the types may occur, also those that quantisation never makes."""
    rng = np.random.default_rng(seed)
    network = network_once(name)
    weights = {}
    for layer, found in network.weights.items():
        values = rng.integers(-limit, min(limit, 127), found.values.shape, endpoint=True).astype(np.int8)
        bias = rng.integers(-(2**31), 2**31, found.bias.shape).astype(np.int32)
        patterns = rng.integers(1, 0x7F800000, found.scales.shape).astype(np.uint32)
        kept = rng.random(values.shape) >= share_of_zeros
        weights[layer] = QuantisedWeights(values * kept, bias, patterns.view(np.float32))
    changed = replace(network, weights=weights)
    assert network_to_bytes(decode_network(encode_network(changed))) == network_to_bytes(changed)


def bell_shaped(network, *, share_of_zeros=0.0):
    """Return the network with weights spread as trained ones are: bell-shaped, up to the limit in every channel."""
    rng = np.random.default_rng(0)
    weights = {}
    for layer in network.graph.weight_layers:
        found, limit = network.weights[layer.name], 127 if layer.weight_bits == 8 else 7
        rows = rng.normal(size=(len(found.bias), found.values.size // len(found.bias)))
        rows *= rng.random(rows.shape) >= share_of_zeros
        integers = np.rint(rows / np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-9) * limit)
        weights[layer.name] = replace(found, values=integers.astype(np.int8).reshape(found.values.shape))
    return replace(network, weights=weights)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("share_of_zeros", [0.0, 0.8])
@pytest.mark.parametrize("name", ["plain", "residual", "depthwise"])
def test_general_compressors_make_it_no_smaller(name, share_of_zeros, bits):
    network = bell_shaped(network_once(name, bits), share_of_zeros=share_of_zeros)
    fields = [
        getattr(network.weights[layer], field) for field in ("values", "bias", "scales") for layer in network.weights
    ]
    plain = header_bytes(network) + b"".join(array.tobytes() for array in fields)
    ours = len(encode_network(network))
    assert ours <= len(zlib.compress(plain, 9))
    assert ours <= len(lzma.compress(plain, preset=9))


def test_zero_weights_cost_almost_nothing():
    network = network_once("plain")
    empty = {name: replace(found, values=np.zeros_like(found.values)) for name, found in network.weights.items()}
    saved = len(encode_network(network)) - len(encode_network(replace(network, weights=empty)))
    assert saved > 0.9 * sum(found.values.size for found in network.weights.values()) * 7 / 8


def test_truncated_and_damaged_bytes_give_one_error():
    data = encode_network(network_once("plain"))
    for end in (0, 3, 8, 11, len(data) // 2, len(data) - 1):
        with pytest.raises(DownloadError, match="truncated or damaged"):
            decode_network(data[:end])
    for position in range(0, len(data), len(data) // 50):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(DownloadError, match="truncated or damaged"):
            decode_network(bytes(damaged))


def forged(content):
    return b"QNC1" + zlib.crc32(content).to_bytes(4, "big") + content


def with_header(header, payload=b""):
    packed = zlib.compress(header)
    return forged(len(packed).to_bytes(4, "big") + packed + payload)


@pytest.mark.parametrize(
    "data", [forged(b""), forged(b"\xff" * 20), with_header(b"{}"), with_header(b"[]"), with_header(b"hello")]
)
def test_foreign_bytes_with_a_right_checksum_are_refused(data):
    with pytest.raises(DownloadError, match="no coded network"):
        decode_network(data)


def test_a_header_that_promises_more_than_the_bytes_can_hold_allocates_nothing():
    header = header_bytes(network_once("plain")).replace(b'"out_channels": 16', b'"out_channels": 1600000')
    with pytest.raises(DownloadError, match="cannot hold"):
        decode_network(with_header(header, b"\x01" * 100))


def test_a_header_that_unpacks_without_end_is_cut_off():
    with pytest.raises(DownloadError, match="no coded network"):
        decode_network(with_header(b" " * (1 << 24)))
