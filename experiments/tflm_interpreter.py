"""The arena a real TFLM interpreter allocates: the `tflite-micro` package (x86-64, reference kernels, 64-bit pointers).

The package is needed for this check only: `pip install tflite-micro==0.dev20261023182759`. Its interpreter prints its
allocations to the C standard error, so file descriptor 2 is caught while it does.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_LINE = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_PART = re.compile(r"'(.+?)' used (\d+) bytes with alignment overhead \(requested (\d+) bytes for (\d+)")


class InterpreterError(RuntimeError):
    """The interpreter refused the model; the message is what it printed."""


@dataclass(frozen=True)
class RecordedArena:
    """What the interpreter allocated.

    Attributes:
        total_bytes: The whole arena.
        planned_bytes: Its head: tensors and scratch buffers.
        persistent_bytes: Its tail.
        parts: Kind of structure -> (bytes used, bytes requested, allocations).
    """

    total_bytes: int
    planned_bytes: int
    persistent_bytes: int
    parts: dict[str, tuple[int, int, int]]


@contextmanager
def _caught_stderr() -> Iterator[list[str]]:
    lines: list[str] = []
    saved = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()


def recorded_arena(model: bytes, *, limit_bytes: int = 8 << 20) -> RecordedArena:
    """Return the arena the interpreter allocates for a tflite file.

    Raises:
        InterpreterError: It refused the model.
    """
    from tflite_micro.python.tflite_micro import runtime

    with _caught_stderr() as lines:
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=limit_bytes)
            interpreter.print_allocations()
            refused = False
        except RuntimeError:
            refused = True
    if refused:
        raise InterpreterError("; ".join(lines))
    text = "\n".join(lines)
    sizes = {name: int(size) for name, size in _LINE.findall(text)}
    parts = {name: (int(used), int(asked), int(count)) for name, used, asked, count in _PART.findall(text)}
    return RecordedArena(sizes["total"], sizes["head"], sizes["tail"], parts)
