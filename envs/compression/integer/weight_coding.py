"""A quantised network in few bytes, for sending it to a device: context-adaptive arithmetic coding, without loss.

Every integer becomes bits: how long its magnitude is (unary; the first bit says whether it is zero), its sign, and the
magnitude behind its leading one. Whether a weight is zero is expected by how many of the two before it are, the highest
bits of a magnitude by its length; the sign and the lower bits are as good as random and cost a bit each.
Scales are coded as the difference of their float32 patterns, which is small where the scales are alike.

Source: Wiedemann et al., "DeepCABAC: A Universal Compression Algorithm for Deep Neural Networks", IEEE JSTSP 2020. The
length takes the place of its run of greater-than flags, which suits dense 8-bit weights as well as sparse ones.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from math import log2, prod
from types import MappingProxyType
from typing import Any

import numpy as np

from envs.compression.integer.network import QuantisedNetwork, QuantisedWeights
from envs.compression.integer.network_file import (
    FIELDS,
    QuantisedFileError,
    checked_weights,
    field_dtypes,
    field_shapes,
    header_bytes,
    read_header,
)
from envs.compression.integer.range_coder import TOTAL_LIMIT, Context, RangeDecoder, RangeEncoder
from hw_models.graph.layer_graph import LayerGraph, WeightLayer

_MAGIC = b"QNC1"
_HEADER_LIMIT = 1 << 22
# Bits of the largest magnitude by field and type; the difference of two float32 patterns has one more than its sign
# leaves.
_LONGEST: Mapping[tuple[str, str], int] = MappingProxyType(
    {("values", "int8"): 8, ("bias", "int32"): 32, ("bias", "int64"): 64, ("scales", "float32"): 32}
)
_DETAIL_BITS = 2
# Weights have at most so many; of biases every one is another.
_REMEMBERED_BITS = 8
# What the surest bit costs; every number has at least one.
_BITS_PER_NUMBER = -log2((TOTAL_LIMIT - 1) / TOTAL_LIMIT)


class DownloadError(QuantisedFileError):
    """The bytes are not a coded network, or not all of it."""


def encode_network(network: QuantisedNetwork) -> bytes:
    """Return the whole network (graph, scales, weights) in few bytes; equal networks give equal bytes.

    How its first layers run patch by patch is the business of the code on the device and not sent.
    """
    header = zlib.compress(header_bytes(replace(network, graph=replace(network.graph, patches=None))), 9)
    encoder = RangeEncoder()
    contexts = _Contexts()
    for layer in network.graph.weight_layers:
        for field in FIELDS:
            integers = _to_integers(field, getattr(network.weights[layer.name], field))
            contexts.of(field, layer).write(encoder, integers)
    content = len(header).to_bytes(4, "big") + header + encoder.finish()
    return _MAGIC + zlib.crc32(content).to_bytes(4, "big") + content


def decode_network(data: bytes) -> QuantisedNetwork:
    """Read what :func:`encode_network` wrote.

    Raises:
        DownloadError: The bytes are truncated, damaged or something else; nothing is allocated for them then.
    """
    content = data[8:]
    if data[:4] != _MAGIC or zlib.crc32(content).to_bytes(4, "big") != data[4:8]:
        raise DownloadError(
            "the bytes are no coded network, or are truncated or damaged (wrong mark or checksum); send them again"
        )
    try:
        end = 4 + int.from_bytes(content[:4], "big")
        header = zlib.decompressobj().decompress(content[4:end], _HEADER_LIMIT)
        graph, tensors = read_header(header)
        return QuantisedNetwork(graph, tensors, _decoded_weights(graph, content[end:]))
    except DownloadError:
        raise
    except (zlib.error, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # The checksum was right, so something else wrote these bytes.
        raise DownloadError(f"the bytes are no coded network ({error}); write them with encode_network") from error


def _decoded_weights(graph: LayerGraph, data: bytes) -> Mapping[str, QuantisedWeights]:
    shapes = {layer.name: field_shapes(graph, layer) for layer in graph.weight_layers}
    numbers = sum(prod(shape) for fields in shapes.values() for shape in fields.values())
    # The encoder leaves out zeros at the end: of the four bytes of its last range at most.
    if numbers * _BITS_PER_NUMBER > 8 * (len(data) + 4):
        raise DownloadError(f"{len(data)} bytes cannot hold the {numbers} numbers of the graph; write them again")
    decoder = RangeDecoder(data)
    contexts = _Contexts()
    weights = {}
    for layer in graph.weight_layers:
        arrays = {}
        for field, shape in shapes[layer.name].items():
            integers = contexts.of(field, layer).read(decoder, prod(shape))
            arrays[field] = _from_integers(field, integers, field_dtypes(layer)[field]).reshape(shape)
        weights[layer.name] = checked_weights(graph, layer, arrays)
    return MappingProxyType(weights)


def _to_integers(field: str, array: np.ndarray) -> list[int]:
    if field == "scales":
        array = np.diff(array.view(np.uint32).astype(np.int64), prepend=0)
    return [int(value) for value in array.ravel()]


def _from_integers(field: str, integers: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    if field != "scales":
        return np.array(integers, dtype=dtype)
    return np.cumsum(integers).astype(np.uint32).view(np.float32)


class _Contexts:
    """One integer code per field and bit widths, shared by all layers: small layers learn from those before."""

    def __init__(self) -> None:
        self._codes: dict[tuple[str, str, int], _IntegerCode] = {}

    def of(self, field: str, layer: WeightLayer) -> "_IntegerCode":
        dtype = field_dtypes(layer)[field].name
        return self._codes.setdefault((field, dtype, layer.weight_bits), _IntegerCode(_LONGEST[field, dtype]))


class _IntegerCode:
    """Integers as bits, with what was learned of them so far.

    Args:
        longest: Bits of the largest magnitude.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._lengths: dict[tuple[int, int], Context] = defaultdict(Context)
        self._details: dict[int, Context] = defaultdict(Context)
        self._bits: dict[tuple[int, int], tuple[tuple[int, Context | None], ...]] = {}

    def write(self, encoder: RangeEncoder, integers: list[int]) -> None:
        """Encode the integers of one array."""
        encoder.encode(chain.from_iterable(self._bits_in_turn(integers)))

    def read(self, decoder: RangeDecoder, count: int) -> list[int]:
        """Return the integers of one array."""
        before, last = 0, 0
        integers = []
        for _ in range(count):
            integer = self._read(decoder, zeros=(not before) + (not last))
            before, last = last, integer
            integers.append(integer)
        return integers

    def _bits_in_turn(self, integers: list[int]) -> Iterator[tuple[tuple[int, Context | None], ...]]:
        remembered = self._bits
        before, last = 0, 0
        for integer in integers:
            zeros = (not before) + (not last)
            yield remembered.get((integer, zeros)) or self._bits_of(integer, zeros)
            before, last = last, integer

    def _bits_of(self, integer: int, zeros: int) -> tuple[tuple[int, Context | None], ...]:
        """Return the bits of an integer, each with its context; those of small ones are remembered."""
        magnitude = abs(integer)
        length = magnitude.bit_length()
        bits: list[tuple[int, Context | None]] = [(1, self._longer(position, zeros)) for position in range(length)]
        if length < self._longest:
            bits.append((0, self._longer(length, zeros)))
        if length:
            bits.append((int(integer < 0), None))
            bits += [
                (magnitude >> place & 1, self._detail(magnitude >> place + 1, length, place))
                for place in reversed(range(length - 1))
            ]
        if length <= _REMEMBERED_BITS:
            self._bits[integer, zeros] = tuple(bits)
        return tuple(bits)

    def _read(self, decoder: RangeDecoder, *, zeros: int) -> int:
        length = 0
        while length < self._longest and decoder.decode(self._longer(length, zeros)):
            length += 1
        if not length:
            return 0
        negative = decoder.decode()
        magnitude = 1
        for place in reversed(range(length - 1)):
            magnitude = magnitude << 1 | decoder.decode(self._detail(magnitude, length, place))
        return -magnitude if negative else magnitude

    def _longer(self, length: int, zeros: int) -> Context:
        """Return the context of whether a magnitude is longer, after so many zeros among the two numbers before."""
        return self._lengths[length, 0 if length else zeros]

    def _detail(self, prefix: int, length: int, place: int) -> Context | None:
        """Return the context of a magnitude's bit by the bits above it; the low ones have none."""
        if length - 2 - place >= _DETAIL_BITS:
            return None
        return self._details[length << _DETAIL_BITS + 1 | prefix]
