"""Shapes, and what a window that slides over a feature map leaves of its height and width."""

from typing import Literal

Shape = tuple[int, int, int]
Size = tuple[int, int]
Padding = Literal["same", "valid"]


def window_output(size: int, kernel: int, stride: int, padding: Padding) -> int:
    """Return how many positions a window takes along one axis (TFLite's rule for SAME and VALID)."""
    if padding == "same":
        return -(-size // stride)
    return (size - kernel) // stride + 1


def pad_before(size: int, kernel: int, stride: int, output: int, padding: Padding) -> int:
    """Return how far the first window begins before the map."""
    return max((output - 1) * stride + kernel - size, 0) // 2 if padding == "same" else 0


def window_map(shape: Shape, kernel: Size, stride: Size, padding: Padding, dilation: Size = (1, 1)) -> Size:
    """Return height and width of what a sliding window produces from a feature map."""
    height, width = (
        window_output(size, (taps - 1) * gap + 1, step, padding)
        for size, taps, gap, step in zip(shape, kernel, dilation, stride, strict=False)
    )
    return (height, width)
