"""Inputs of a network that are too many to be held: raw values in a file, read and standardised a batch at a time."""

import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from envs.one_dnn import in_quick_order

_Values = npt.NDArray[Any]
_Positions = npt.NDArray[np.int64]

_CHUNK_BYTES = 2**22


class ValuesFile:
    """A file of samples one behind the other, read by their positions; threads and forks may share it.

    Nothing is mapped, so what was read takes no memory of the process.

    Args:
        path: The file.
        dtype: Of its numbers.
        shape: Of its samples all together, (M, H, W, C).

    Raises:
        OSError: It cannot be opened.
        ValueError: It has another size than that shape.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        self.dtype, self.shape = dtype, shape
        self._sample_bytes = prod(shape[1:]) * dtype.itemsize
        self._descriptor = os.open(path, os.O_RDONLY)
        if os.fstat(self._descriptor).st_size != shape[0] * self._sample_bytes:
            raise ValueError(f"{path} is no file of {shape[0]} samples of {self._sample_bytes} bytes")

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __getitem__(self, positions: _Positions) -> _Values:
        values = np.empty((len(positions), *self.shape[1:]), self.dtype)
        rows = values.reshape(len(positions), -1).view(np.uint8)
        # Neighbours are read at once.
        ends = np.flatnonzero(np.diff(positions) != 1) + 1
        for begin, end in zip((0, *ends), (*ends, len(positions)), strict=True):
            if begin < end:
                self._read(memoryview(rows[begin:end].reshape(-1).data), int(positions[begin]) * self._sample_bytes)
        return values

    def _read(self, target: memoryview, offset: int) -> None:
        done = 0
        while done < len(target):
            # Linux reads less than 2 GiB at once.
            got = os.preadv(self._descriptor, [target[done:]], offset + done)
            if not got:
                raise OSError("a file of samples became shorter while it was in use")
            done += got


class StoredInputs:
    """Inputs N x C x H x W, of which memory holds what is asked for; indexing gives float32 tensors, NHWC in memory.

    Pickled it takes its raw values along: who unpickles it needs no file.

    Args:
        values: Raw values (M, H, W, C) by position.
        positions: Which of them, in order; all if left out.
        mean: What is subtracted, float32, broadcastable to (H, W, C).
        deviation: What it is divided by then, likewise.
    """

    def __init__(
        self,
        values: "ValuesFile | _Values",
        positions: _Positions | None = None,
        mean: npt.NDArray[np.float32] | None = None,
        deviation: npt.NDArray[np.float32] | None = None,
    ) -> None:
        self._values = values
        self._positions = np.arange(values.shape[0]) if positions is None else positions
        one = np.ones((1, 1, 1), np.float32)
        self._mean, self._deviation = (0 * one if mean is None else mean), (one if deviation is None else deviation)

    def __len__(self) -> int:
        return len(self._positions)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredInputs, (self._values[self._positions], None, self._mean, self._deviation)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        _, height, width, channels = self._values.shape
        return len(self), channels, height, width

    @property
    def sample_bytes(self) -> int:
        """Bytes of one sample as a tensor."""
        return 4 * prod(self.shape[1:])

    def __getitem__(self, chosen: slice | torch.Tensor) -> torch.Tensor:
        places = self._positions[chosen if isinstance(chosen, slice) else chosen.cpu().numpy()]
        standardised = (self._raw(places) - self._mean) / self._deviation
        return torch.from_numpy(standardised).permute(0, 3, 1, 2)

    def split(self, size: int) -> Iterator[torch.Tensor]:
        """Yield all of them, so many at a time."""
        return (self[begin : begin + size] for begin in range(0, len(self), size))

    def at(self, chosen: npt.NDArray[np.intp]) -> "StoredInputs":
        """Return those at some positions; nothing is read."""
        return StoredInputs(self._values, self._positions[chosen], self._mean, self._deviation)

    def and_those_of(self, others: "tuple[StoredInputs, ...]") -> "StoredInputs":
        """Return these and others of the same values, which are standardised alike; nothing is read."""
        positions = np.concatenate([self._positions, *(other._positions for other in others)])
        return StoredInputs(self._values, positions, self._mean, self._deviation)

    def standardised(self, mean: npt.NDArray[np.float32], deviation: npt.NDArray[np.float32]) -> "StoredInputs":
        """Return the same raw values with another mean and deviation; nothing is read."""
        return StoredInputs(self._values, self._positions, mean, deviation)

    def raw_chunks(self) -> Iterator[_Values]:
        """Yield the raw values (n, H, W, C) as they are stored, some at a time."""
        size = max(1, _CHUNK_BYTES // self.sample_bytes)
        return (self._values[self._positions[begin : begin + size]] for begin in range(0, len(self), size))

    def moments(self, axes: tuple[int, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return mean and deviation of the raw values over axes of (N, H, W, C), N among them; these stay as 1.

        Sums of whole numbers are exact, so those of pixels do not depend on how they are read.
        """
        inner = tuple(axis for axis in axes if axis)
        total, squares = (np.zeros((1, *self._values.shape[1:])) for _ in range(2))
        for chunk in self.raw_chunks():
            values = chunk.astype(np.float64)
            total += values.sum(axis=0)
            squares += np.square(values, out=values).sum(axis=0)
        count = len(self) * prod(self._values.shape[axis] for axis in inner)
        mean, square = (sums.sum(axis=inner, keepdims=True) / count for sums in (total, squares))
        return mean, np.sqrt(np.maximum(square - mean * mean, 0.0))

    def digest(self) -> bytes:
        """Return the SHA-256 of the raw values and of what standardises them."""
        found = sha256(np.concatenate([self._mean.ravel(), self._deviation.ravel()]).tobytes())
        for chunk in self.raw_chunks():
            found.update(chunk.data)
        return found.digest()

    def _raw(self, places: _Positions) -> npt.NDArray[np.float32]:
        return self._values[places].astype(np.float32, copy=False)


Inputs = torch.Tensor | StoredInputs
"""Inputs N x C x H x W, in memory or not; both are indexed by positions and split into batches alike."""


def in_memory(inputs: Inputs) -> torch.Tensor:
    """Return all inputs as one tensor."""
    return inputs if isinstance(inputs, torch.Tensor) else inputs[:]


def joined(parts: tuple[Inputs, ...]) -> Inputs:
    """Return the inputs of several splits of one task as one; those on disk stay there where all are."""
    first, *others = parts
    stored = tuple(other for other in others if isinstance(other, StoredInputs))
    if isinstance(first, StoredInputs) and len(stored) == len(others):
        return first.and_those_of(stored)
    return torch.cat([in_memory(part) for part in parts]).contiguous(memory_format=torch.channels_last)


def reader_of(inputs: Inputs, module: nn.Module, device: torch.device | str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what gives the inputs at some positions on a device, in the order in which a network is quick.

    Those in memory are moved and laid out once, here.
    """
    if isinstance(inputs, StoredInputs):
        return lambda chosen: in_quick_order(inputs[chosen].to(device), module)
    laid_out = in_quick_order(inputs.to(device), module)
    return lambda chosen: laid_out[chosen]


def batches_of(inputs: Inputs, module: nn.Module, size: int) -> Iterator[torch.Tensor]:
    """Yield all inputs, so many at a time, in the order in which a network is quick."""
    if isinstance(inputs, StoredInputs):
        return (in_quick_order(batch, module) for batch in inputs.split(size))
    return iter(torch.split(in_quick_order(inputs, module), size))
