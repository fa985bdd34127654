"""Cutting long signals into windows."""

import numpy as np

from envs.array_files import LARGEST_ARRAYS_BYTES
from mobo.tinyml.tasks.data import FloatArray, TaskError


def last_rows(spans: FloatArray, window: int, every: int) -> FloatArray:
    """Return of spans ``(n, 1, length, channels)`` every so manieth of the last rows; the very last is among them.

    >>> last_rows(np.arange(8.0, dtype=np.float32).reshape(1, 1, 8, 1), 5, 2)[0, 0, :, 0].tolist()
    [5.0, 7.0]
    """
    rows = window // every
    return spans[:, :, spans.shape[2] - rows * every :][:, :, every - 1 :: every]


def cut_windows(signal: FloatArray, window: int, hop: int) -> FloatArray:
    """Return the windows of a signal that lie wholly inside it.

    Args:
        signal: Values ``(length, channels)``.
        window: Samples of a window.
        hop: Samples from one window's start to the next.

    Returns:
        Windows ``(n, 1, window, channels)``; none where the signal is shorter than a window.

    Raises:
        TaskError: They take more than 2 GiB.

    >>> cut_windows(np.arange(7.0, dtype=np.float32)[:, None], 3, 2)[:, 0, :, 0].tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]
    """
    starts = np.arange(0, len(signal) - window + 1, hop)
    window_bytes = window * signal.shape[1] * signal.itemsize
    if len(starts) * window_bytes > LARGEST_ARRAYS_BYTES:
        raise TaskError(
            f"{len(starts):,} windows of {window:,} samples take {len(starts) * window_bytes:,} bytes; at most "
            f"{LARGEST_ARRAYS_BYTES:,} are held: raise the hop, or lower the window"
        )
    windows: FloatArray = signal[starts[:, None] + np.arange(window)][:, None]
    return windows
