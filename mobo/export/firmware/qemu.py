"""The C project on the Cortex-M55 that QEMU emulates: outputs and instructions.

The board is Arm's AN547 on an MPS3. The firmware reads its inputs from a file of this machine and writes a file, by
semihosting ("Semihosting for AArch32 and AArch64", Arm). QEMU counts: with ``-icount`` its clock advances by a fixed
time per instruction, and the firmware reads the board's counter before and after an inference.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobo.export.errors import ExportError, MissingToolError
from mobo.export.firmware.elf import Image
from mobo.export.firmware.image import build_firmware
from mobo.export.firmware.toolchain import Compiler, run
from mobo.export.request import Integers

CORE = "cortex-m55"
INSTALL = "apt-get install qemu-system-arm"
_PROGRAM, _MACHINE = "qemu-system-arm", "mps3-an547"
# DDR in place of flash, which the board has none of, and its SRAM: room for what the linker script allows.
_FLASH, _RAM = 0x6000_0000, 0x2100_0000
# Where the core looks for the top of the stack and the entry.
_VECTORS, _VECTORS_BYTES = 0x0000_0000, 8
# The counter runs at 32 MHz; an instruction takes 2^6 ns.
_TICK_NS, _ICOUNT_SHIFT = 31.25, 6

# For every input the outputs and the counter's ticks, four bytes.
_MAIN = """\
#include <stddef.h>

#include "../model.h"

enum { OPEN = 0x01, WRITE = 0x05, READ = 0x06, EXIT = 0x18, DONE = 0x20026 };

typedef struct {
  const char *name;
  uint32_t mode, length;
} named;

typedef struct {
  uint32_t file;
  const void *at;
  uint32_t bytes;
} moved;

static volatile uint32_t *const counter_control = (volatile uint32_t *)0x58100000;
static const volatile uint32_t *const counter = (const volatile uint32_t *)0x48101000;
model_output scores[MODEL_OUTPUTS];

static uint32_t host(uint32_t operation, const void *arguments) {
  register uint32_t r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = arguments;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

int main(void) {
  const named inputs = {"inputs", 1, 6}, outputs = {"outputs", 5, 7};
  uint32_t ticks;
  const moved from = {host(OPEN, &inputs), model_input(), MODEL_INPUT_BYTES};
  const uint32_t to = host(OPEN, &outputs);
  const moved result = {to, scores, sizeof scores}, time = {to, &ticks, sizeof ticks};
  *counter_control = 1;
  while (host(READ, &from) == 0) {
    ticks = *counter;
    model_predict(NULL, scores);
    ticks = *counter - ticks;
    host(WRITE, &result);
    host(WRITE, &time);
  }
  host(EXIT, (const void *)DONE);
  return 0;
}
"""


@dataclass(frozen=True, eq=False)
class QemuRun:
    """What inferences in QEMU gave.

    Attributes:
        outputs: int8 or int16, N x outputs.
        instructions: Of every inference, N, those that read the counter included.
    """

    outputs: Integers
    instructions: npt.NDArray[np.int64]


def find_qemu() -> str:
    """Return the path of QEMU.

    Raises:
        MissingToolError: It is not installed or too old for the board.
    """
    program = shutil.which(_PROGRAM)
    if program is None or _MACHINE not in run([program, "-machine", "help"]):
        raise MissingToolError(f"QEMU (6.0 or later, for its board {_MACHINE})", install=INSTALL)
    return program


def build_for_qemu(project: Path, core: str = CORE, *, compiler: Compiler | None = None) -> Image:
    """Return the linked image of a C project for the board, with a ``main`` that asks this machine for inputs.

    Args:
        project: Its folder; nothing is written there.
        core: The core to build for; the board's executes what is built for a cortex-m33 too.
        compiler: The compiler; None for the one at hand.

    Raises:
        ExportError: It does not compile without warnings or does not fit the linker script.
        MissingToolError: There is no compiler for Cortex-M.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(project, Path(folder, "project")))
        (copy / "bare_metal/main.c").write_text(_MAIN, encoding="utf-8")
        script = copy / "bare_metal/cortex_m.ld"
        origins = iter((_FLASH, _RAM))
        text = re.sub(r"ORIGIN = \w+", lambda _: f"ORIGIN = {next(origins):#x}", script.read_text(encoding="utf-8"))
        script.write_text(text, encoding="utf-8")
        return build_firmware(copy, core, compiler=compiler)


def run_in_qemu(image: Image, inputs: npt.NDArray[np.int8], outputs: int) -> QemuRun:
    """Run a linked image.

    Args:
        image: What :func:`build_for_qemu` returned.
        inputs: int8, N x H x W x C.
        outputs: How many values an output has.

    Raises:
        ExportError: The image fails.
        MissingToolError: QEMU is not installed.
    """
    program = find_qemu()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "inputs").write_bytes(inputs.tobytes())
        options = ["-display", "none", "-monitor", "none", "-serial", "none"]
        options += ["-semihosting-config", "enable=on,target=native"]
        options += ["-icount", f"shift={_ICOUNT_SHIFT},align=off,sleep=off"]
        run([program, "-machine", _MACHINE, *options, *_loaded(image, Path(folder))], folder=Path(folder))
        written = Path(folder, "outputs").read_bytes()
    size = image.sizes["scores"]
    if len(written) != len(inputs) * (size + 4):
        raise ExportError(f"the image wrote {len(written)} bytes for {len(inputs)} inputs; they have another shape")
    rows = np.frombuffer(written, np.int8).reshape(len(inputs), size + 4)
    ticks = np.ascontiguousarray(rows[:, size:]).view(np.uint32).reshape(-1)
    instructions = np.rint(ticks * (_TICK_NS / 2**_ICOUNT_SHIFT)).astype(np.int64)
    return QemuRun(np.ascontiguousarray(rows[:, :size]).view(f"i{size // outputs}"), instructions)


def _loaded(image: Image, folder: Path) -> list[str]:
    """Return the options that load an image; what they load is written to a folder.

    The other vectors stay empty, so that a fault ends QEMU at once instead of going round in the fault handler.
    """
    first = next(content for address, content in image.segments if address == _FLASH)
    options = []
    for address, content in ((_VECTORS, first[:_VECTORS_BYTES]), *image.segments):
        (folder / f"{address:x}").write_bytes(content)
        options += ["-device", f"loader,file={address:x},addr={address:#x},force-raw=on"]
    return options
