"""On what grid the weights of a layer lie: how many steps either side of zero, and which of them share a scale.

The width a layer computes with is a matter of kernels. A width that is only stored makes the grid coarser and leaves
the integers in the type the kernel reads. It saves transfer, for few different values take few bits, and flash where
the runtime unpacks weights.
"""


def weight_limit(weight_bits: int, stored_bits: int | None = None) -> int:
    """Return the largest weight in steps; the grid is symmetric.

    Args:
        weight_bits: Width the kernel computes with.
        stored_bits: Width of a coarser grid, if there is one.

    >>> weight_limit(8), weight_limit(4), weight_limit(8, 3), weight_limit(8, 2)
    (127, 7, 3, 1)
    """
    return (1 << min(weight_bits, stored_bits or weight_bits) - 1) - 1


def has_one_scale(dimensions: int, weight_bits: int) -> bool:
    """Return whether all weights of a layer share a scale: those of 4-bit dense layers do, by the kernel's wish.

    Args:
        dimensions: Of the weights: 2 of a dense layer, 4 of a convolution.
        weight_bits: Width the kernel computes with.
    """
    return dimensions == 2 and weight_bits == 4
