"""Weights with a stored width in a tflite file: TFLM's operator DECODE writes them as int8 before a layer runs.

The file holds an index per weight and one table of values; the weights lie in the arena from DECODE to the layer.
Nobody timed it: instructions were counted on emulated cores (``decoding.toml``), the rest follows from tflite-micro
90b983c2b3f1, ``tensorflow/lite/micro/kernels/decode*.cc``.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hw_models.errors import HardwareModelError
from hw_models.files import problems, read_toml
from hw_models.graph.layer_graph import Conv2D, Dense, DepthwiseConv2D, Layer, Shape
from hw_models.size_rules import Form, LogStd

FILE = Path(__file__).with_name("decoding.toml")
DECODED_BITS = (2, 3, 5, 6)
"""The stored widths that are decoded."""

# Beside indices and table: operator and two tensors with their names; 165 to 204 were seen.
_OPERATOR_BYTES = 180
_HEAD_BYTES = 16
CODE_BYTES = 20_281
"""The operator's code and constants on a Cortex-M4, by clang (``python -m experiments.costs.decode_code``)."""
STATE_BYTES = {4: 36, 8: 72}
"""What a decoding keeps in the arena beside the pointer to it, by the bytes of a pointer."""
SPREAD = 0.35
"""Assumed spread of the time of a decoding: its instructions were counted, but not as TFLM's builds compile them."""

LEAST_SAVED_BYTES = 256
"""A layer that saves no more is left alone: an operator more is time and arena."""
# Widths whose weights are taken in groups of so many where the channels are the first axis.
_GROUP = {2: 16, 3: 32}
# Cores without counts of their own -> the core whose counts they have.
_COUNTED_AS = {"cortex-m0plus": "cortex-m0", "cortex-m55": "cortex-m33", "cortex-m85": "cortex-m33"}


class Decoding(NamedTuple):
    """The decoding of one layer's weights.

    Attributes:
        bits: Their stored width.
        weights: How many there are.
        channels: How many channels have a scale of their own, 1 for one scale of all.
        is_last: Whether the channels are the last axis, as in depthwise layers.
    """

    bits: int
    weights: int
    channels: int
    is_last: bool

    @property
    def file_bytes(self) -> int:
        """What takes the place of the weights in the file: indices, table, operator."""
        return -(-self.weights * self.bits // 8) + _HEAD_BYTES + (1 << self.bits) + _OPERATOR_BYTES

    @property
    def width(self) -> str:
        """Key of the instructions: ``"w2"``, ``"w5"`` …, ``"w2_last"`` where the channels are the last axis."""
        return f"w{self.bits}_last" if self.is_last else f"w{self.bits}"

    @property
    def terms(self) -> Mapping[str, int]:
        """How often what is done: weights taken in groups (``grouped``) and one by one (``single``), ``channels``."""
        grouped, size = 0, _GROUP.get(self.bits)
        if size is not None and not self.is_last:
            each = self.weights // self.channels
            for start in range(0, self.weights, each):
                first = -(-start // size) * size
                grouped += max(0, start + each - first) // size * size
        channels = self.weights // self.channels if self.is_last else self.channels
        return {"grouped": grouped, "single": self.weights - grouped, "channels": channels, "call": 1}


def decoding(layer: Layer, inputs: Sequence[Shape], output: Shape) -> Decoding | None:
    """Return how a layer's weights are decoded; None where they lie in the file as they are computed with.

    Args:
        layer: The layer.
        inputs: The shapes it reads.
        output: The shape it produces.
    """
    if not isinstance(layer, Conv2D | Dense | DepthwiseConv2D) or layer.stored_bits not in DECODED_BITS:
        return None
    weights = layer.weight_count(inputs)
    if layer.weight_bits != 8 or weights * (8 - layer.stored_bits) // 8 <= LEAST_SAVED_BYTES:
        return None
    channels = output[2] if not isinstance(layer, Dense) or layer.has_channel_scales else 1
    return Decoding(layer.stored_bits, weights, channels, isinstance(layer, DepthwiseConv2D) and channels > 1)


class _CoreModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    log_std: LogStd
    rows: int = Field(gt=0)
    instructions: dict[str, Form]


def instructions(work: Decoding, core: str) -> float:
    """Return the instructions of one decoding; raises HardwareModelError for a core that nothing was counted on."""
    return sum(value * work.terms[term] for term, value in _model(core).instructions[work.width].items())


def counted_cores(cores: Sequence[str]) -> tuple[str, ...]:
    """Return which of some cores the instructions are known for."""
    return tuple(core for core in cores if _COUNTED_AS.get(core, core) in _models())


def _model(core: str) -> _CoreModel:
    counted = _COUNTED_AS.get(core, core)
    if counted not in _models():
        raise HardwareModelError(f"DECODE was not counted on the core {core}; counted are {', '.join(_models())}")
    return _models()[counted]


@cache
def _models() -> Mapping[str, _CoreModel]:
    try:
        return {core: _CoreModel.model_validate(table) for core, table in read_toml(FILE).items()}
    except ValidationError as error:
        raise HardwareModelError(f"{FILE}: {'; '.join(problems(error))}") from error
