"""What every test has: folders in memory where there is room for them, properties that no clock judges, devices."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("no clock", deadline=None)
settings.load_profile("no clock")

MEMORY = Path("/dev/shm")
ROOM_BYTES = 4 * 2**30
PRETENDED = "lazy"


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a device of torch on each: the CPU, one that only pretends to be another, a GPU where it is."""
    if "torch_device" in metafunc.fixturenames:
        import torch

        there = ["cuda"] if torch.cuda.is_available() else []
        metafunc.parametrize("torch_device", ["cpu", PRETENDED, *there], indirect=True)


@pytest.fixture
def torch_device(request: pytest.FixtureRequest) -> Iterator[str]:
    """A device that tensors may lie on."""
    if request.param == PRETENDED:
        from tests.pretended_device import pretended_device

        with pretended_device() as device:
            yield device
    else:
        yield request.param
