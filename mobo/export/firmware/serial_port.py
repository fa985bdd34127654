"""Listening to a board at a serial port until it has said one whole measurement, or for so long."""

import time
from collections.abc import Iterator
from typing import Any

from mobo.export.errors import ExportError
from mobo.export.firmware.line import LONGEST_LINE_BYTES, LineError, Report, parse_line, report_in
from mobo.export.tools import PYSERIAL, required_module

BAUD = 115200
"""What every form of the firmware sets."""

_POLL_S = 0.1
_SHOWN = 60


def listen(port: str, *, seconds: float, baud: int = BAUD) -> Report:
    """Return the first whole measurement that comes.

    A line that is cut off or damaged is passed over, since the next one comes a second later; so is what a board says
    while it starts.

    Args:
        port: The port, e.g. ``/dev/ttyACM0`` or ``COM3``.
        seconds: How long to listen.
        baud: Its speed.

    Raises:
        MissingToolError: pyserial is not installed.
        ExportError: The port cannot be opened or is gone, or no measurement came; the message says what came instead.
    """
    serial = required_module("serial", PYSERIAL)
    try:
        stream = serial.Serial(port, baudrate=baud, timeout=_POLL_S)
    except (serial.SerialException, OSError, ValueError) as error:
        raise _unreadable(port, error) from error
    with stream:
        try:
            return _first_report(_lines(stream, time.monotonic() + seconds), port, seconds)
        except OSError as error:
            raise _unreadable(port, error) from error


def _unreadable(port: str, error: Exception) -> ExportError:
    return ExportError(
        f"the port {port} cannot be read: {error}; is the board plugged in, may you read the port, and does no other "
        "program hold it?"
    )


def _lines(stream: Any, until: float) -> Iterator[bytes]:
    """Yield the lines that come before a point in time; of one that never ends no more than a line can have."""
    waiting, some = b"", False
    while time.monotonic() < until:
        waiting += stream.read(max(1, min(stream.in_waiting, LONGEST_LINE_BYTES)))
        *whole, waiting = waiting.split(b"\n")
        some = some or bool(whole)
        yield from whole
        if len(waiting) > LONGEST_LINE_BYTES:
            yield waiting
            waiting = b""
    # Of what was on its way when time was up only the beginning of a measurement says more than the lines before.
    if report_in(waiting) or not some:
        yield waiting


def _first_report(lines: Iterator[bytes], port: str, seconds: float) -> Report:
    problem, others, last = "", 0, b""
    for line in lines:
        if report_in(line):
            try:
                return parse_line(line)
            except LineError as error:
                problem = str(error)
        elif line.strip():
            others, last = others + 1, line.strip()
    start = f"no measurement came from {port} within {seconds:g} s"
    if problem:
        raise ExportError(f"{start}, only damaged ones: {problem}")
    if others:
        shown = last[:_SHOWN].decode("ascii", errors="replace")
        raise ExportError(
            f"{start}; {others} lines of something else did, the last: {shown!r}: is the firmware flashed?"
        )
    raise ExportError(f"{start}, and nothing else: is the firmware flashed, and is it this port?")
