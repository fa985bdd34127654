"""What stands between a sensor and a network's int8 input, in integers: what the generated C computes, bit for bit.

Every class computes with numpy's 64-bit integers what its C computes with 32 bits (64 where the C says so); right
shifts round down in both. Its tables are those of the C project.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.signal.windows import hann

from envs.compression.integer.network import QuantisedNetwork, TensorQuantisation
from hw_models.front_end import BANDS, LOWEST_HZ, STAGE_BYTES
from hw_models.graph.layer_graph import INPUT
from mobo.export.errors import ExportError
from mobo.tinyml.tasks.mfcc import SMALLEST, Mfcc, mel

Integers = npt.NDArray[np.int64]
Tables = Mapping[str, npt.NDArray[np.integer[Any]]]

FRAME_BITS, MOST_SHIFT, LOG_BITS = 28, 24, 15
"""Bits of a frame's largest value, how far a silent one is raised at most, fraction bits of a logarithm."""

DROPPED_BITS = 11
"""Of a difference, before it is squared."""

LARGEST_FFT = 4096
"""Of the C."""

_FACTOR_BITS, _MOST_STAGE_SHIFT, _LARGEST_OFFSET = 24, 46, 2.0**61
_ROOTS, _LOGARITHMS = 192, 64
_SUM_BITS = 29


@dataclass(frozen=True, eq=False)
class Stage:
    """From integers to int8 inputs: ``(value * factor + offset) >> shift``, clamped; standardisation is in it.

    Attributes:
        factors: int32 range, one per element of the period with which the constants repeat.
        shifts: The same, 0 to 46.
        offsets: int64, the same: the input's zero point, the mean, half a unit.
    """

    factors: Integers
    shifts: Integers
    offsets: Integers

    @classmethod
    def of(
        cls,
        unit: float | npt.NDArray[np.float64],
        mean: npt.NDArray[np.float32],
        deviation: npt.NDArray[np.float32],
        quantisation: TensorQuantisation,
    ) -> "Stage":
        """Return the stage of a standardisation and a quantisation.

        Args:
            unit: What an integer's 1 is of a raw value; one number, or one per channel.
            mean: Of the raw values, broadcast over ``(H, W, C)``.
            deviation: The same.
            quantisation: Of the network's input.

        Raises:
            ExportError: A deviation is so small that no integer of 32 bits holds its inverse.
        """
        unit, mean, deviation = np.broadcast_arrays(unit, mean.astype(np.float64), deviation.astype(np.float64))
        per_step = deviation.reshape(-1) * quantisation.scale
        factors = unit.reshape(-1) / per_step
        shifts = np.clip(_FACTOR_BITS - np.frexp(factors)[1], 0, _MOST_STAGE_SHIFT).astype(np.int64)
        if factors.max() >= 2.0**31:
            raise ExportError(
                f"a standard deviation of {deviation.min():g} is too small for a front end of integers; drop the "
                "constant channel, or set standardise = 'none'"
            )
        units = 2.0**shifts
        offsets = (quantisation.zero_point - mean.reshape(-1) / per_step + 0.5) * units
        return cls(
            np.rint(factors * units).astype(np.int64),
            shifts,
            np.rint(np.clip(offsets, -_LARGEST_OFFSET, _LARGEST_OFFSET)).astype(np.int64),
        )

    def __call__(self, values: Integers) -> npt.NDArray[np.int8]:
        """Return the inputs of values ``(..., n)``; n is a multiple of the period."""
        repeats = values.shape[-1] // len(self.factors)
        factors, shifts, offsets = (np.tile(part, repeats) for part in (self.factors, self.shifts, self.offsets))
        inputs: npt.NDArray[np.int8] = np.clip((values * factors + offsets) >> shifts, -128, 127).astype(np.int8)
        return inputs


class FixedFrontEnd(Protocol):
    """What all front ends have.

    Attributes:
        stage: What its values go through last; None where a table does that.
        tables: Its constant tables by name, the stage apart.
        ram_bytes: RAM of the C beside the stack, the samples and the network's input.
    """

    @property
    def stage(self) -> Stage | None:
        """The last step."""

    @property
    def tables(self) -> Tables:
        """The tables."""

    @property
    def ram_bytes(self) -> int:
        """The RAM."""

    def __call__(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int8]:
        """Return the network's inputs ``(N, H, W, C)`` of raw inputs."""


def table_bytes(front_end: FixedFrontEnd) -> int:
    """Return the flash that the tables of a front end take, the stage's among them."""
    rows = 0 if front_end.stage is None else len(front_end.stage.factors)
    return STAGE_BYTES * rows + sum(table.nbytes for table in front_end.tables.values())


@dataclass(frozen=True, eq=False)
class FixedMfcc:
    """MFCC of clips of int16 samples.

    A frame is scaled to 28 bits, its FFT halves at every stage and multiplies by 16 bits, magnitudes have 16 bits,
    logarithms are to the base 2. Loudness is subtracted as a logarithm.

    Attributes:
        features: The features as they were computed in training.
        stage: From the DCT's sums to inputs; see :attr:`unit`.

    Raises:
        ExportError: The FFT would be longer than 4096.
    """

    features: Mfcc
    stage: Stage

    def __post_init__(self) -> None:
        if self.features.fft_length > LARGEST_FFT:
            raise ExportError(
                f"{self.features.sample_rate_hz} samples per second need an FFT of {self.features.fft_length}; the "
                f"front end in C takes {LARGEST_FFT}: resample the recordings"
            )

    @staticmethod
    def unit() -> float:
        """Return what one unit of the DCT's sums, four bits of them dropped, is of a coefficient."""
        return float(np.log(2) * 2 * np.sqrt(1 / (2 * BANDS)) * 2.0**-10 / 32767 * 16)

    @property
    def floor(self) -> tuple[int, int]:
        """Mantissa of 16 bits and right shift of what keeps logarithms finite, per unit of the clip's peak."""
        real = SMALLEST * 2.0**14 / self.features.fft_length
        shift = int(np.floor(16 - np.log2(real)))
        return int(real * 2.0**shift), shift

    @cached_property
    def first_bin(self) -> int:
        """The first bin with a weight."""
        return int(np.argmax(self._positions > 0))

    @cached_property
    def _positions(self) -> npt.NDArray[np.float64]:
        """Return where each bin lies on the scale of the bands' edges; the constant part lies below all."""
        features = self.features
        hz = np.arange(features.fft_length // 2) * features.sample_rate_hz / features.fft_length
        low, high = mel(LOWEST_HZ), mel(features.highest_hz)
        positions: npt.NDArray[np.float64] = (mel(hz) - low) / (high - low) * (BANDS + 1)
        positions[0] = -1.0
        return positions

    @cached_property
    def tables(self) -> Tables:
        """The constant tables by name.

        ``hann`` half a window; ``wave`` three quarters of a sine; ``roots`` 2^31 over square roots; ``logs`` log2 of
        1 to 2; ``rising`` the weight of each bin in the band above it, ``counts`` the bins between two edges;
        ``cosines`` the DCT, coefficient by coefficient.
        """
        features = self.features
        length = features.fft_length
        positions = self._positions[(self._positions > 0) & (self._positions < BANDS + 1)]
        segments = np.floor(positions).astype(np.int64)
        angles = np.pi * np.outer(np.arange(features.coefficients), 2 * np.arange(BANDS) + 1) / (2 * BANDS)
        return {
            "hann": _rounded(hann(features.window, sym=False)[: features.window // 2 + 1] * 32767, np.int16),
            "wave": _rounded(np.sin(2 * np.pi * np.arange(3 * length // 4) / length) * 32767, np.int16),
            "roots": _rounded(np.minimum(2.0**31 / np.sqrt((np.arange(_ROOTS) + 64.5) * 2.0**24), 65535.0), np.uint16),
            "logs": _rounded(np.log2(1 + np.arange(_LOGARITHMS + 1) / _LOGARITHMS) * 2.0**LOG_BITS, np.uint16),
            "rising": _rounded((positions - segments) * 32767, np.int16),
            "counts": np.bincount(segments, minlength=BANDS + 1).astype(np.uint8),
            "cosines": _rounded(np.cos(angles) * 32767, np.int16),
        }

    @property
    def ram_bytes(self) -> int:
        """RAM of the C: one frame of 32 bits, the logarithms of its bands."""
        return 4 * self.features.fft_length + 2 * BANDS

    def __call__(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int8]:
        """Return inputs ``(N, frames, coefficients, 1)`` of clips ``(N, samples)``."""
        return np.stack([self._clip(clip.astype(np.int64)) for clip in raw])

    def _clip(self, clip: Integers) -> npt.NDArray[np.int8]:
        peak = max(int(clip.max()), 1)
        values, shifts = self._scaled(clip)
        energies = self._bands(*self._spectrum(values))
        mantissa, right = self.floor
        floors = peak * mantissa >> np.minimum(31, right - shifts)
        logarithms = self._log2(np.maximum(energies + floors[:, None], 1))
        unit = (shifts + 14 - (self.features.fft_length.bit_length() - 1)) << LOG_BITS
        relative = logarithms - unit[:, None] - self._log2(np.array([peak]))
        levels = np.clip((relative + 16) >> 5, -32768, 32767)
        sums = levels @ self.tables["cosines"].astype(np.int64).reshape(-1, BANDS).T
        return self.stage(sums >> 4)[..., None]

    def _scaled(self, clip: Integers) -> tuple[Integers, Integers]:
        """Return the windowed frames, padded to the FFT's length and scaled, and the left shifts that did it."""
        features = self.features
        positions = np.arange(features.window)
        weights = self.tables["hann"].astype(np.int64)[np.minimum(positions, features.window - positions)]
        frames = np.lib.stride_tricks.sliding_window_view(clip, features.window)[:: features.hop] * weights
        bits = np.bitwise_or.reduce(frames ^ (frames >> 63), axis=1)
        shifts = np.minimum(FRAME_BITS - _bit_length(bits), MOST_SHIFT)
        scaled = (frames << np.maximum(shifts, 0)[:, None]) >> np.maximum(-shifts, 0)[:, None]
        return np.pad(scaled, ((0, 0), (0, features.fft_length - features.window))), shifts

    def _spectrum(self, frames: Integers) -> tuple[Integers, Integers]:
        """Return real and imaginary parts of the bins with a weight, divided by the FFT's length.

        Real numbers are taken as pairs, so that the FFT is one of half the length.
        """
        length, wave = self.features.fft_length, self.tables["wave"].astype(np.int64)
        half = length // 2
        order = _reversed_bits(half)
        real, imaginary = frames[:, 0::2][:, order], frames[:, 1::2][:, order]
        span = 1
        while span < half:
            steps = np.arange(span) * (half // span)
            cosine, sine = wave[steps + length // 4], wave[steps]
            shape = (len(frames), half // (2 * span), 2, span)
            (upper, lower), (upper_i, lower_i) = (
                (part.reshape(shape)[:, :, 0], part.reshape(shape)[:, :, 1]) for part in (real, imaginary)
            )
            turned = (lower * cosine >> 16) + (lower_i * sine >> 16)
            turned_i = (lower_i * cosine >> 16) - (lower * sine >> 16)
            # Turned by nothing: halved as it is.
            turned[..., 0], turned_i[..., 0] = lower[..., 0] >> 1, lower_i[..., 0] >> 1
            real = np.stack([(upper >> 1) + turned, (upper >> 1) - turned], axis=2).reshape(len(frames), half)
            imaginary = np.stack([(upper_i >> 1) + turned_i, (upper_i >> 1) - turned_i], axis=2).reshape(
                len(frames), half
            )
            span *= 2
        bins = self.first_bin + np.arange(len(self.tables["rising"]))
        cosine, sine = wave[bins + length // 4], wave[bins]
        a, b, c, d = real[:, bins], imaginary[:, bins], real[:, half - bins], imaginary[:, half - bins]
        odd, odd_i = (a - c) >> 1, (b + d) >> 1
        return (
            ((a + c) >> 2) + (odd_i * cosine >> 16) - (odd * sine >> 16),
            ((b - d) >> 2) - (odd * cosine >> 16) - (odd_i * sine >> 16),
        )

    def _bands(self, real: Integers, imaginary: Integers) -> Integers:
        """Return half the weighted sum of magnitudes in every band."""
        magnitudes = self._magnitude(np.abs(real), np.abs(imaginary))
        counts = self.tables["counts"].astype(np.int64)
        rising = magnitudes * self.tables["rising"].astype(np.int64) >> 16
        falling = (magnitudes >> 1) - rising
        segments = np.repeat(np.arange(BANDS + 1), counts)
        sums = np.zeros((2, len(real), BANDS + 1), np.int64)
        for index, segment in enumerate(segments):
            sums[0, :, segment] += rising[:, index]
            sums[1, :, segment] += falling[:, index]
        bands: Integers = sums[0, :, :-1] + sums[1, :, 1:]
        return bands

    def _magnitude(self, a: Integers, b: Integers) -> Integers:
        """Return the square roots of ``a * a + b * b`` to 15 bits: a table and one step of Newton."""
        shifts = 15 - _bit_length(a | b)
        a, b = (np.where(shifts > 0, part << np.maximum(shifts, 0), part >> np.maximum(-shifts, 0)) for part in (a, b))
        squares = a * a + b * b
        is_small = squares < 2**30
        squares = np.where(is_small, squares << 2, squares)
        inverse = self.tables["roots"].astype(np.int64)[np.maximum((squares >> 24) - 64, 0)]
        root = (squares >> 16) * inverse >> 15
        root += ((squares - root * root) >> 10) * (inverse >> 1) >> 21
        shifts = shifts + is_small
        root = np.where(shifts > 0, root >> np.maximum(shifts, 0), root << np.maximum(-shifts, 0))
        return np.where(squares > 0, root, 0)

    def _log2(self, values: Integers) -> Integers:
        """Return the logarithms of positive integers of 32 bits, times 2^15."""
        whole = _bit_length(values) - 1
        mantissas = values << (31 - whole)
        index, rest = (mantissas >> 25) & 63, (mantissas >> 9) & 0xFFFF
        table = self.tables["logs"].astype(np.int64)
        logarithms: Integers = (whole << LOG_BITS) + table[index] + ((table[index + 1] - table[index]) * rest >> 16)
        return logarithms


@dataclass(frozen=True, eq=False)
class FixedWindow:
    """Windows of int16 samples, standardised and quantised.

    Attributes:
        stage: From samples to inputs.
        length: Rows of a window.
        channels: Values of a row.
    """

    stage: Stage
    length: int
    channels: int

    @property
    def tables(self) -> Tables:
        """None but the stage."""
        return {}

    @property
    def ram_bytes(self) -> int:
        """None: what it reads is the caller's, what it writes the network's."""
        return 0

    def __call__(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int8]:
        """Return inputs ``(N, 1, length, channels)`` of samples ``(N, length * channels)``."""
        return self.stage(raw.astype(np.int64)).reshape(len(raw), 1, self.length, self.channels)


@dataclass(frozen=True, eq=False)
class FixedImage:
    """Images of 8-bit pixels, made grey and scaled as Pillow does it, standardised and quantised by a table.

    Attributes:
        source: Height, width and channels of the camera's image: 1, or 3 for red, green, blue.
        target: Height, width and channels of the network's input.
        lookup: int8, 256 values of each channel, or of all channels.

    Source: Pillow, ``Resample.c`` (bilinear, weights of 22 bits, rows first) and ``Convert.c`` (grey).
    """

    source: tuple[int, int, int]
    target: tuple[int, int, int]
    lookup: npt.NDArray[np.int8]

    @property
    def stage(self) -> None:
        """None: a pixel has 256 values, so a table does what it does."""

    @property
    def is_grey(self) -> bool:
        """Whether colours are made grey."""
        return self.target[2] < self.source[2]

    @property
    def is_scaled(self) -> bool:
        """Whether the sizes differ."""
        return self.target[:2] != self.source[:2]

    @cached_property
    def tables(self) -> Tables:
        """The constant tables: ``lookup``, and of each axis the first pixel, the number and the weights of its taps."""
        tables: dict[str, npt.NDArray[np.integer[Any]]] = {"lookup": self.lookup.reshape(-1)}
        if self.is_scaled:
            for name, axis in (("across", 1), ("down", 0)):
                first, weights = _taps(self.source[axis], self.target[axis])
                tables[f"{name}_first"] = np.array(first, np.uint16)
                tables[f"{name}_counts"] = np.array([len(taps) for taps in weights], np.uint16)
                tables[f"{name}_weights"] = np.concatenate(weights).astype(np.int32)
        return tables

    @property
    def ram_bytes(self) -> int:
        """RAM of the C: one row of sums, one of grey pixels."""
        sums = 4 * self.target[1] * self.target[2] if self.is_scaled else 0
        row = self.source[1] if self.is_grey and self.is_scaled else 0
        return sums + -(-row // 4) * 4

    def __call__(self, raw: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int8]:
        """Return inputs ``(N, height, width, channels)`` of pixels ``(N, height * width * channels)``."""
        pixels = raw.astype(np.int64).reshape(len(raw), *self.source)
        if self.is_grey:
            pixels = (pixels @ np.array([[19595], [38470], [7471]]) + 0x8000) >> 16
        if self.is_scaled:
            across, down = (_matrix(self.source[axis], self.target[axis]) for axis in (1, 0))
            pixels = (np.einsum("nhwc,vw->nhvc", pixels, across) + 2**21) >> 22
            pixels = (np.einsum("nhwc,vh->nvwc", pixels, down) + 2**21) >> 22
        channels = np.arange(self.target[2]) % len(self.lookup)
        return self.lookup[channels, pixels]


@dataclass(frozen=True, eq=False)
class FixedScore:
    """The squared reconstruction error of an auto-encoder: differences of 19 bits, a sum of 64.

    Attributes:
        factors: Of the input and of the output; what makes their steps units of one kind.
        zero_points: The same.
        unit: What 1 of a score is of the mean squared error in training.
    """

    factors: tuple[int, int]
    zero_points: tuple[int, int]
    unit: float

    @classmethod
    def of(cls, network: QuantisedNetwork) -> "FixedScore":
        """Return the score of a network that gives as many values as it takes."""
        graph, tensors = network.graph, network.tensors
        ends = (INPUT, graph.output)
        scales = [tensors[name].scale for name in ends]
        largest = max(scale * (2 ** graph.bits[name] - 1) for scale, name in zip(scales, ends, strict=True))
        first, second = (round(scale / largest * 2**_SUM_BITS) for scale in scales)
        step = largest * 2.0 ** (DROPPED_BITS - _SUM_BITS)
        return cls(
            (first, second),
            (tensors[INPUT].zero_point, tensors[graph.output].zero_point),
            step * step / prod(graph.input_shape),
        )

    def __call__(
        self, inputs: npt.NDArray[np.int8], outputs: npt.NDArray[np.signedinteger[Any]]
    ) -> npt.NDArray[np.int64]:
        """Return the scores of inputs ``(N, H, W, C)`` and what was made of them, ``(N, C * H * W)``."""
        given = inputs.transpose(0, 3, 1, 2).reshape(len(inputs), -1).astype(np.int64) - self.zero_points[0]
        made = outputs.astype(np.int64) - self.zero_points[1]
        differences = (given * self.factors[0] - made * self.factors[1]) >> DROPPED_BITS
        scores: Integers = (differences * differences).sum(axis=1)
        return scores


def _taps(source: int, target: int) -> tuple[list[int], list[Integers]]:
    """Return for every target pixel of an axis the first source pixel and the weights from there on, times 2^22."""
    scale = source / target
    support = max(scale, 1.0)
    first, weights = [], []
    for position in range(target):
        centre = (position + 0.5) * scale
        start, end = max(int(centre - support + 0.5), 0), min(int(centre + support + 0.5), source)
        distances = np.abs((np.arange(start, end) - centre + 0.5) / support)
        raw = np.maximum(1.0 - distances, 0.0)
        first.append(start)
        weights.append(np.floor(raw / raw.sum() * 2**22 + 0.5).astype(np.int64))
    return first, weights


def _matrix(source: int, target: int) -> Integers:
    matrix = np.zeros((target, source), np.int64)
    for row, start, weights in zip(matrix, *_taps(source, target), strict=True):
        row[start : start + len(weights)] = weights
    return matrix


def _rounded(values: npt.NDArray[np.float64], dtype: type[np.integer[Any]]) -> npt.NDArray[np.integer[Any]]:
    return np.rint(values).astype(dtype).reshape(-1)


def _bit_length(values: Integers) -> Integers:
    """Return how many bits non-negative integers below 2^53 have."""
    bits: Integers = np.frexp(values.astype(np.float64))[1].astype(np.int64)
    return bits


def _reversed_bits(length: int) -> Integers:
    order = np.zeros(1, np.int64)
    while len(order) < length:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order
