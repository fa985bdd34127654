"""A stream of random numbers for libraries that draw from global generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


class PrivateRandomness:
    """Gives the libraries that draw from global generators a stream of their own and puts the caller's back.

    stable-baselines3 samples its replay buffer from numpy's global generator and its networks from torch's.

    Args:
        seed: Of the stream.
    """

    def __init__(self, seed: int) -> None:
        self._torch_state = torch.Generator().manual_seed(seed).get_state()
        self._numpy_state = np.random.RandomState(seed).get_state()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Let the code inside draw from the stream."""
        outside = np.random.get_state()  # noqa: NPY002
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._torch_state)
            np.random.set_state(self._numpy_state)  # noqa: NPY002
            try:
                yield
            finally:
                self._torch_state = torch.get_rng_state()
                self._numpy_state = np.random.get_state()  # noqa: NPY002
                np.random.set_state(outside)  # noqa: NPY002
