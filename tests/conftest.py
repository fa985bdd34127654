"""What every test has: folders in memory where there is room for them, and properties that no clock judges."""

import gc
import os
import shutil
from pathlib import Path

from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 2**30


def is_fit(folder: Path) -> bool:
    """Return whether a folder of files in memory may hold those of the tests: with room, and programs that run."""
    try:
        return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free >= ROOM_BYTES
    except OSError:
        return False


# A study waits for the disk after every step of a trial, and so do the tests: most of them longer than they compute.
if is_fit(MEMORY) and not {"TMPDIR", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys():
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_collection_finish() -> None:
    """Spare every collection of garbage the walk over all that the modules hold: it stays to the end."""
    gc.collect()
    gc.freeze()
