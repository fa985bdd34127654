"""The line of JSON that a measuring firmware prints: read within bounds, believed only where its own check agrees.

A line comes over a cable from whatever is at the other end of it, so nothing of it reaches a terminal or a file but
numbers of known sizes and names of known letters.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hw_models.files import FileError, FileModel, parse_json
from mobo.export.errors import ExportError
from mobo.export.exported_model import ExportedModel
from mobo.export.firmware.project import checksum, checksums, model_digest, printed_digest, vector_count
from mobo.export.formats import FIRMWARE

LONGEST_LINE_BYTES = 2048
"""No firmware writes longer lines (``MOBO_LINE_BYTES``)."""

_START, _FAILED, _CHECK = b'{"mobo":', b',"failed":"', b',"check":"'
_UINT32 = Field(ge=0, lt=2**32)
Count = Annotated[int, _UINT32]


class LineError(ExportError):
    """A line that is no measurement, or not of the model that was expected."""


class FailedError(ExportError):
    """The firmware says that it could not start the model: no later line will say more."""


class _Identity(FileModel):
    """How every line begins, and how it ends.

    Attributes:
        mobo: Version of the line.
        model, export: Digests of the network and of the firmware's files.
        board: The board that the firmware was exported for.
        engine: What runs the network, as a runtime of the cost model.
        check: Checksum of the line before it.
    """

    mobo: Literal[1]
    model: str = Field(pattern=r"^[0-9a-f]{16}$")
    export: str = Field(pattern=r"^[0-9a-f]{16}$")
    board: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=80)
    engine: Literal["mobo-c", "tflm-cmsis-nn", "tflm-reference"] = "mobo-c"
    check: str


class Failure(_Identity):
    """What a firmware says where TFLM cannot start.

    Attributes:
        failed: What stood in the way: the file's version, an operator, or the tensors.
        arena_bytes: Size of the arena; ``used_bytes`` of it were taken till then.
    """

    failed: Literal["version", "operators", "tensors"]
    arena_bytes: Count
    used_bytes: Count


class Report(_Identity):
    """What a firmware measured.

    Attributes:
        checksums: Of the outputs for every test vector.
        unit: What was counted; an emulator counts instructions.
        counter: The cycle counter of the core, or the system's clock.
        clock_hz: The core's clock; 0 where the firmware does not know it.
        inferences: How many were timed.
        min, median, max: Cycles or instructions of one inference.
        stack_bytes: The deepest stack of one inference; 0 where unknown.
        arena_bytes: All RAM of the model, of TFLM what the interpreter took of its arena.
    """

    checksums: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")], ...] = Field(max_length=64)
    unit: Literal["cycles", "instructions"]
    counter: Literal["dwt", "ticks"]
    clock_hz: Count
    inferences: Annotated[int, Field(ge=1, lt=2**16)]
    min: Count
    median: Annotated[int, Field(ge=1, lt=2**32)]
    max: Count
    stack_bytes: Count
    arena_bytes: Count

    @model_validator(mode="after")
    def _is_ordered(self) -> "Report":
        if not self.min <= self.median <= self.max:
            raise ValueError(f"min {self.min}, median {self.median} and max {self.max} are not in order")
        return self


def report_in(line: bytes) -> bytes:
    """Return the part of a line that is meant as a measurement, empty where none is."""
    start = line.rfind(_START)
    return line[start:].strip() if start >= 0 else b""


def parse_line(line: bytes) -> Report:
    """Return the measurement of a line.

    Raises:
        LineError: It is cut off, damaged, or none.
        FailedError: The firmware could not start the model.
    """
    text = report_in(line)
    if not text:
        raise LineError("the line is no measurement")
    if len(text) > LONGEST_LINE_BYTES or not text.endswith(b"}"):
        raise LineError(f"the line was cut off after {len(text)} bytes")
    body, found, rest = text.rpartition(_CHECK)
    if not found or rest != f'{checksum(body):08x}"}}'.encode():
        raise LineError("the line was damaged on its way: its own check does not agree")
    try:
        if _FAILED in text:
            raise _failed(parse_json(text, Failure, source="the line"))
        return parse_json(text, Report, source="the line")
    except FileError as error:
        raise LineError(f"{error}; it comes from a firmware of another version: export and flash it again") from error


def _failed(failure: Failure) -> FailedError:
    start = f"the firmware of {failure.board} could not start TFLM"
    if failure.failed == "tensors":
        return FailedError(
            f"{start}: AllocateTensors failed when {failure.used_bytes:,} of the arena's {failure.arena_bytes:,} bytes "
            "were taken; if TFLM logs that memory lacked, build it with more by -DMODEL_ARENA_BYTES=N (the firmware's "
            "README.md says how)"
        )
    what = "reads another version of tflite files" if failure.failed == "version" else "lacks an operator of the file"
    return FailedError(f"{start}: its library {what}; build it with a newer one")


def check_identity(model: ExportedModel, report: Report) -> None:
    """Refuse the measurement of another model or another export.

    Raises:
        LineError: A digest differs.
        ExportError: The folder has no firmware, or another one than this installation writes.
    """
    files, request = model.written(FIRMWARE), model.request
    for what, said, own in (
        ("model", report.model, model_digest(request)),
        ("export", report.export, printed_digest(files)),
    ):
        if said != own:
            raise LineError(
                f"the board runs another {what}: its digest is {said}, that of {model.path} is {own}; build and flash "
                f"{model.path / FIRMWARE}, or name the folder that was flashed"
            )


def wrong_outputs(model: ExportedModel, report: Report) -> int:
    """Return for how many test vectors the board computed another output than the integer interpreter."""
    expected = checksums(model.samples.outputs[: vector_count(model.request)])
    if len(report.checksums) != len(expected):
        raise LineError(f"the board ran {len(report.checksums)} test vectors, the export has {len(expected)}")
    return sum(said != own for said, own in zip(report.checksums, expected, strict=True))
