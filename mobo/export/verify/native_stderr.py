"""What C code writes to its stderr, which Python's ``sys.stderr`` does not see."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2


class Captured:
    """The text, complete once the block is left."""

    text: str = ""


@contextmanager
def native_stderr() -> Iterator[Captured]:
    """Catch everything that is written to file descriptor 2 in the block."""
    captured = Captured()
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), _STDERR)
        try:
            yield captured
        finally:
            os.dup2(kept, _STDERR)
            os.close(kept)
            file.seek(0)
            captured.text = file.read().decode(errors="replace")
