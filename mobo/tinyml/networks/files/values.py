"""What a tensor of a file is in torch, and what stands in the way of making one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy.typing as npt

from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError

Array = npt.NDArray[Any]
Padding = tuple[tuple[int, int], tuple[int, int]]
"""Rows above and below, columns left and right."""

NO_PADDING: Padding = ((0, 0), (0, 0))

_MOST_SHOWN = 20

SUPPORTED = (
    "convolutions (1 group or depthwise), dense layers, batch norm and constants directly behind these, ReLU, ReLU6, "
    "LeakyReLU, Hardswish, Hardsigmoid directly behind a convolution or dense layer, average and max pooling, means "
    "over the map, additions, products, joins of channels, zeros around a map, changes of shape that move nothing"
)

SMOOTH = "train it with ReLU, ReLU6, LeakyReLU or Hardswish in its place"
_RECURRENT = "train convolutions over time in its place"
_LARGER = "nothing here makes maps larger: leave it out"
_NORM = "train it with batch norm directly behind the convolution"
_PARTS = "channels are kept together here; train two convolutions that read the same tensor"
_INTEGERS = "write the file in float, or with QuantizeLinear and DequantizeLinear around float operators (QDQ)"
_CHOICE = "write the network without it: it ends in one output per class"
_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "LOGISTIC SIGMOID": f"{SMOOTH}; a gate with Hardsigmoid, two classes as two outputs",
        "TANH ELU SELU CELU GELU MISH SOFTPLUS SOFTSIGN PRELU RELU_N1_TO_1 ERF EXP": SMOOTH,
        "LSTM GRU RNN SVDF UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN "
        "BIDIRECTIONAL_SEQUENCE_RNN ATTENTION EINSUM LOOP SCAN WHILE BATCH_MATMUL": _RECURRENT,
        "TRANSPOSE_CONV CONVTRANSPOSE RESIZE UPSAMPLE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR DEPTHTOSPACE "
        "DEPTH_TO_SPACE": _LARGER,
        "LAYERNORMALIZATION INSTANCENORMALIZATION GROUPNORMALIZATION L2_NORMALIZATION LRN "
        "LOCAL_RESPONSE_NORMALIZATION": _NORM,
        "SPLIT SPLIT_V UNPACK SLICE STRIDED_SLICE GATHER": _PARTS,
        "QLINEARCONV QLINEARMATMUL CONVINTEGER MATMULINTEGER QGEMM DYNAMICQUANTIZELINEAR": _INTEGERS,
        "ARGMAX ARG_MAX TOPK TOPK_V2": _CHOICE,
    }
)
INSTEAD: Mapping[str, str] = MappingProxyType(
    {name: remedy for names, remedy in _REMEDIES.items() for name in names.split()}
)
"""What to do about an operator that cannot be used, by its name in capitals."""

_UNARY = (
    "LOGISTIC SIGMOID TANH ELU SELU CELU GELU MISH SOFTPLUS SOFTSIGN PRELU ERF EXP LAYERNORMALIZATION CLIP HARDSIGMOID "
    "INSTANCENORMALIZATION GROUPNORMALIZATION L2_NORMALIZATION LRN LOCAL_RESPONSE_NORMALIZATION BATCHNORMALIZATION "
    "RELU_0_TO_1"
)
_KEEP_SHAPES = frozenset(_UNARY.split())


class RefusedError(Exception):
    """Nothing can be made of an operator; its message says why and what to do."""


@dataclass(frozen=True)
class Value:
    """What a tensor of the file is in torch.

    Attributes:
        name: The step that makes it.
        shape: Height, width and channels; those of a vector are ``(1, 1, n)``.
        axes: What the file's axes behind the samples are, e.g. ``"hwc"``.
        is_vector: Whether torch has it as N x C instead of N x C x H x W.
        flattened: Axes and shape of the map whose elements it has, in the file's order; None where it is no flattened
            map of more than one position.
        never_negative: Whether it has no values below 0.
        weights: The module that made it and whose weights may still take a factor; None where none may.
    """

    name: str
    shape: Shape
    axes: str
    is_vector: bool = False
    flattened: tuple[str, Shape] | None = None
    never_negative: bool = False
    weights: str | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes as the file has them, without that of the samples."""
        return tuple(self.shape["hwc".index(letter)] for letter in self.axes)

    @property
    def from_end(self) -> int:
        """Which of the axes the channels are, counted from the last."""
        return len(self.axes) - self.axes.index("c")

    @property
    def is_one_position(self) -> bool:
        """Whether it has one number per channel."""
        return self.shape[:2] == (1, 1)


@dataclass(frozen=True)
class Problem:
    """An operator of which nothing can be made: what and where it is, and why."""

    operator: str
    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} {self.name!r}: {self.reason}"


def unknown_operator(code: str) -> str:
    """Return what to say of an operator that nothing here computes."""
    return f"it is not supported; {INSTEAD.get(code.upper().removeprefix('CUSTOM '), 'leave it out')}"


def instead_of(code: str, read: "Value | None") -> "Value | None":
    """Return what may stand for the output of an operator that cannot be used, so that what follows is looked at, too.

    Args:
        code: Its name.
        read: Its first input.
    """
    return None if read is None or code.upper() not in _KEEP_SHAPES else replace(read, weights=None)


def refuse(source: str, problems: Sequence[Problem]) -> MoboError:
    """Return the error that tells all problems of a file."""
    lines = [f"  {problem}" for problem in problems[:_MOST_SHOWN]]
    if len(problems) > _MOST_SHOWN:
        lines.append(f"  and {len(problems) - _MOST_SHOWN} more")
    return MoboError(f"{source} cannot be compressed as it is:\n" + "\n".join(lines) + f"\nSupported: {SUPPORTED}")
