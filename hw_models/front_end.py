"""What stands between a sensor and a network, as work for the chip: instructions, RAM and flash of the exported C.

The instructions are linear forms in how often the loops of the C run, fitted per core to emulated counts:
``python -m experiments.code.front_end_instructions`` writes ``front_ends.toml``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import Field, TypeAdapter, ValidationError

from hw_models.device import Device
from hw_models.errors import HardwareModelError
from hw_models.files import FileError, FileModel, problems, read_toml
from hw_models.graph.layer_graph import Shape
from hw_models.interval import combined_log_std
from hw_models.runtime import GENERATED_C_RUNTIME, Runtime, load_runtime

FILE = Path(__file__).with_name("front_ends.toml")

STAGE_BYTES = 16
"""Of one row of constants that standardise and quantise: two int32 and an int64."""

BANDS, LOWEST_HZ = 40, 20.0
"""Mel bands, and where the first one begins."""

_Count = Annotated[int, Field(ge=1, le=2**24)]
_Side = Annotated[int, Field(ge=1, le=2**13)]

_COUNTED_AS = {"cortex-m0plus": "cortex-m0", "cortex-m55": "cortex-m33", "cortex-m85": "cortex-m33"}
_ROOTS, _LOGARITHMS = 192, 65
# The pace of code that is none of the usual kernels.
_GROUP = "other"


class FrontEndWork(Protocol):
    """What all front ends have: plain numbers, and what follows from them."""

    @property
    def kind(self) -> str:
        """Which C it is."""

    @property
    def shape(self) -> Shape:
        """What it gives."""

    @property
    def terms(self) -> Mapping[str, float]:
        """How often its loops run, by what they do."""

    @property
    def ram_bytes(self) -> int:
        """Its variables, and the samples that it reads."""

    @property
    def table_bytes(self) -> int:
        """Flash of its constant tables."""


@dataclass(frozen=True)
class MfccWork:
    """MFCC of one clip of int16 samples.

    Attributes:
        sample_rate_hz, clip_samples: Of the clip.
        frames, frame_samples: How many frames there are, and how long they are.
        fft_length: Of the transform.
        coefficients: Of every frame.
        highest_hz: Upper end of the bands.
        stage_rows: Rows of constants: one for every coefficient, or one for all.
    """

    sample_rate_hz: _Count
    clip_samples: _Count
    frames: _Count
    frame_samples: _Count
    fft_length: Annotated[int, Field(ge=2, le=2**16)]
    coefficients: Annotated[int, Field(ge=1, le=BANDS)]
    highest_hz: float
    stage_rows: _Count
    kind: Literal["mfcc"] = "mfcc"

    @property
    def shape(self) -> Shape:
        """A map."""
        return (self.frames, self.coefficients, 1)

    @property
    def bins(self) -> int:
        """Bins of the transform that a band has a part in."""
        step_hz = self.sample_rate_hz / self.fft_length
        return sum(LOWEST_HZ < place * step_hz < self.highest_hz for place in range(self.fft_length // 2))

    @property
    def terms(self) -> Mapping[str, float]:
        """A butterfly turns two numbers of a transform of half the length, over pairs of samples."""
        half = self.fft_length // 2
        return {
            "samples": self.clip_samples,
            "frames": self.frames,
            "windowed": self.frames * self.frame_samples,
            "loaded": self.frames * self.fft_length,
            "butterflies": self.frames * half / 2 * (half.bit_length() - 1),
            "bins": self.frames * self.bins,
            "coefficients": self.frames * self.coefficients,
        }

    @property
    def ram_bytes(self) -> int:
        """One frame of 32 bits, the logarithms of its bands, the clip."""
        return 4 * self.fft_length + 2 * BANDS + 2 * self.clip_samples

    @property
    def table_bytes(self) -> int:
        """Half a Hann window, three quarters of a sine, roots, logarithms, the bands' weights and counts, the DCT."""
        numbers = self.frame_samples // 2 + 1 + 3 * self.fft_length // 4 + _ROOTS + _LOGARITHMS + self.bins
        return 2 * (numbers + self.coefficients * BANDS) + BANDS + 1 + STAGE_BYTES * self.stage_rows


@dataclass(frozen=True)
class WindowWork:
    """A window of int16 rows, standardised.

    Attributes:
        rows, channels: Of the window.
        stage_rows: Rows of constants: one for every channel, or one for every value.
    """

    rows: _Count
    channels: _Count
    stage_rows: _Count
    kind: Literal["window"] = "window"

    @property
    def shape(self) -> Shape:
        """A signal."""
        return (1, self.rows, self.channels)

    @property
    def terms(self) -> Mapping[str, float]:
        """The inner loop goes through the rows of constants."""
        values = self.rows * self.channels
        return {"values": values, "periods": values / self.stage_rows}

    @property
    def ram_bytes(self) -> int:
        """The samples."""
        return 2 * self.rows * self.channels

    @property
    def table_bytes(self) -> int:
        """The constants."""
        return STAGE_BYTES * self.stage_rows


@dataclass(frozen=True)
class ImageWork:
    """A camera's image of 8-bit pixels, made grey and scaled.

    Attributes:
        source: Height, width and channels of the camera's image.
        shape: Of the network's input.
        lookups: Tables of 256 values: one for every channel, or one for all.
    """

    source: tuple[_Side, _Side, _Side]
    shape: tuple[_Side, _Side, _Side]
    lookups: _Side
    kind: Literal["image"] = "image"

    @property
    def _is_grey(self) -> bool:
        return self.shape[2] < self.source[2]

    @property
    def _is_scaled(self) -> bool:
        return self.shape[:2] != self.source[:2]

    @property
    def terms(self) -> Mapping[str, float]:
        """Every row of the network's needs several of the camera's, each made grey and scaled to the width anew.

        Which of several tables a value needs is a division. What is not scaled goes through a loop of its own, and
        pixels of three colours lie apart, which compilers make other loops of.
        """
        values = prod(self.shape)
        chosen = values if self.lookups > 1 else 0
        if not self._is_scaled:
            return {"copied": values, "copied_grey": values if self._is_grey else 0, "copied_chosen": chosen}
        rows = sum(count for _, count in _taps(self.source[0], self.shape[0]))
        of = "" if self.shape[2] == 1 else "_of_colours"
        across = sum(count for _, count in _taps(self.source[1], self.shape[1]))
        return {
            "grey": rows * self.source[1] if self._is_grey else 0,
            "values": values,
            "chosen": chosen,
            "rows": rows,
            f"sums{of}": rows * self.shape[1] * self.shape[2],
            f"taps{of}": rows * across * self.shape[2],
        }

    @property
    def ram_bytes(self) -> int:
        """A row of sums, a row of grey pixels, the camera's image."""
        sums = 4 * self.shape[1] * self.shape[2] if self._is_scaled else 0
        row = self.source[1] if self._is_grey and self._is_scaled else 0
        return sums + -(-row // 4) * 4 + prod(self.source)

    @property
    def table_bytes(self) -> int:
        """The values of a pixel, and of both axes the first pixel, the number and the weights of its taps."""
        size = 256 * self.lookups
        if self._is_scaled:
            axes = [(self.source[axis], self.shape[axis]) for axis in (0, 1)]
            size += sum(4 + 4 * count for axis in axes for _, count in _taps(*axis))
        return size


@cache
def _taps(source: int, target: int) -> tuple[tuple[int, int], ...]:
    """Return the first pixel and the number of taps of every scaled pixel of an axis, as Pillow has them."""
    scale = source / target
    support = max(scale, 1.0)
    centres = ((position + 0.5) * scale for position in range(target))
    bounds = [(max(int(c - support + 0.5), 0), min(int(c + support + 0.5), source)) for c in centres]
    return tuple((start, end - start) for start, end in bounds)


Work = Annotated[MfccWork | WindowWork | ImageWork, Field(discriminator="kind")]
"""Any of them, as it is read from a file."""

_WORK: TypeAdapter[MfccWork | WindowWork | ImageWork] = TypeAdapter(Work)


def work_to_json(work: FrontEndWork) -> bytes:
    """Return a work as what :func:`work_from_json` reads."""
    return json.dumps(asdict(work), indent=1).encode()  # type: ignore[call-overload]


def work_from_json(data: bytes, *, source: str) -> FrontEndWork:
    """Read a work.

    Raises:
        FileError: The bytes are something else; ``source`` names them.
    """
    try:
        return _WORK.validate_json(data)
    except ValidationError as error:
        raise FileError(f"{source} is no front end: {'; '.join(problems(error))}") from error


class FrontEndModel(FileModel):
    """What one kind of front end takes on one core.

    Attributes:
        instructions: By the terms of its work.
        code_bytes: Flash of its code.
        log_std: Spread of the logarithm of counted by fitted instructions.
        rows: How many counts it was fitted to.
    """

    instructions: dict[str, float]
    code_bytes: int = Field(ge=0)
    log_std: float = Field(ge=0)
    rows: int = Field(ge=1)


@dataclass(frozen=True)
class FrontEndCost:
    """What a front end takes on a board, beside the network.

    Attributes:
        kind: Which one.
        latency_ms: Of one input.
        energy_uj: The same.
        ram_bytes: Variables and samples.
        flash_bytes: Code and tables.
        instructions: Of one input.
        log_std: Spread of the logarithm of its time.
    """

    kind: str
    latency_ms: float
    energy_uj: float
    ram_bytes: int
    flash_bytes: int
    instructions: float
    log_std: float


@cache
def models() -> Mapping[str, Mapping[str, FrontEndModel]]:
    """Return what was fitted, by core and kind.

    Raises:
        HardwareModelError: The file is damaged.
    """
    try:
        return {
            core: {kind: FrontEndModel.model_validate(table) for kind, table in kinds.items()}
            for core, kinds in read_toml(FILE).items()
        }
    except ValidationError as error:
        raise HardwareModelError(f"{FILE}: {'; '.join(problems(error))}") from error


def instructions(work: FrontEndWork, core: str) -> float:
    """Return the instructions of one input; raises HardwareModelError for a core that nothing was counted on."""
    fitted = _model(work.kind, core).instructions
    return sum(fitted[name] * count for name, count in work.terms.items())


def _model(kind: str, core: str) -> FrontEndModel:
    counted = _COUNTED_AS.get(core, core)
    if counted not in models():
        raise HardwareModelError(f"no front end was counted on the core {core}; counted are {', '.join(models())}")
    return models()[counted][kind]


def front_end_cost(
    work: FrontEndWork, device: Device, runtime: Runtime, *, clock_mhz: float, power_mw: float
) -> FrontEndCost:
    """Return what a front end takes on a board.

    It is C of this program's, whatever the engine: it goes at the pace of the generated C, on cores that this was not
    fitted for at that of the engine.

    Args:
        work: What is to be done.
        device: The board.
        runtime: The engine of the network.
        clock_mhz: The clock.
        power_mw: Of the board at that clock.

    Raises:
        HardwareModelError: Nothing was counted on the core.
    """
    core, model = device.core, _model(work.kind, device.core)
    own = load_runtime(GENERATED_C_RUNTIME)
    pace = (own if own.covers(device) else runtime).core(core)
    count = instructions(work, core)
    cycles = count * pace.cycles_per_instruction * pace.timings[_GROUP].outer
    latency_ms = cycles / (clock_mhz * 1000)
    return FrontEndCost(
        kind=work.kind,
        latency_ms=latency_ms,
        energy_uj=latency_ms * power_mw,
        ram_bytes=work.ram_bytes,
        flash_bytes=model.code_bytes + work.table_bytes,
        instructions=count,
        log_std=combined_log_std((pace.cycles_log_std, pace.timings[_GROUP].log_std, model.log_std)),
    )
