"""An emulated Cortex-M that runs a linked image: outputs, instructions, stack.

Instructions are counted per basic block: a hook on every block adds the number of instructions in it, decoded once. A
predicated instruction counts whether or not its condition holds. No cycles: no wait states, no dual issue.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from hw_models.errors import unknown_name
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.firmware.elf import Image

INSTALL = 'pip install "tinyml-mobo-rl[verify]"'
# Core -> the emulator's name for it.
CORES: Mapping[str, str] = MappingProxyType(
    {
        "cortex-m0": "UC_CPU_ARM_CORTEX_M0",
        "cortex-m3": "UC_CPU_ARM_CORTEX_M3",
        "cortex-m4": "UC_CPU_ARM_CORTEX_M4",
        "cortex-m7": "UC_CPU_ARM_CORTEX_M7",
        "cortex-m33": "UC_CPU_ARM_CORTEX_M33",
    }
)

_FLASH, _RAM, _MEMORY_BYTES = 0x0000_0000, 0x2000_0000, 4 << 20
_SYSTEM, _SYSTEM_BYTES = 0xE000_0000, 1 << 20
_PAINT = 0xA5
# Where the code returns to when the call is over; nothing is mapped there but one page.
_RETURN, _PAGE = 0x1000_0000, 0x1000
_ARGUMENTS = 4


@dataclass(frozen=True)
class Call:
    """What one call did.

    Attributes:
        result: What it returned, as a signed 32-bit number.
        instructions: Instructions executed.
        stack_bytes: The deepest it reached below the stack's top.
    """

    result: int
    instructions: int
    stack_bytes: int


def load_unicorn() -> tuple[ModuleType, ModuleType]:
    """Return the emulator's modules.

    Raises:
        MissingToolError: It is not installed.
    """
    try:
        return import_module("unicorn"), import_module("unicorn.arm_const")
    except ImportError as error:
        raise MissingToolError("the emulator unicorn", install=INSTALL) from error


def instruction_count(code: bytes) -> int:
    """Return how many Thumb instructions a piece of code consists of.

    >>> instruction_count(bytes.fromhex("7047" "00f000f8"))
    2
    """
    count = position = 0
    while position < len(code):
        # The first five bits of a 32-bit instruction are 11101, 11110 or 11111.
        position += 4 if code[position + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
        count += 1
    return count


class EmulatedCore:
    """A core with an image in its flash, started up and ready for calls.

    Args:
        image: The linked image.
        core: Name of the core, a key of :data:`CORES`.

    Raises:
        ExportError: An unknown core, or the start-up code fails.
        MissingToolError: The emulator is not installed.
    """

    def __init__(self, image: Image, core: str) -> None:
        if core not in CORES:
            raise ExportError(unknown_name("emulated core", core, CORES))
        self._unicorn, self._registers = load_unicorn()
        self._image, self._core = image, core
        self._counts: dict[tuple[int, int], int] = {}
        self._instructions = 0
        self._machine = self._built(core)
        self._start_up()

    def _built(self, core: str) -> Any:
        uc, arm = self._unicorn, self._registers
        machine = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
        machine.ctl_set_cpu_model(getattr(arm, CORES[core]))
        for start in (_FLASH, _RAM):
            machine.mem_map(start, _MEMORY_BYTES)
        machine.mem_map(_RETURN, _PAGE)
        machine.mem_map(_SYSTEM, _SYSTEM_BYTES)
        for address, content in self._image.segments:
            machine.mem_write(address, content)
        machine.hook_add(uc.UC_HOOK_BLOCK, self._count)
        return machine

    def _count(self, machine: Any, address: int, size: int, _: object) -> None:
        key = (address, size)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = instruction_count(bytes(machine.mem_read(address, size)))
        self._instructions += count

    def _start_up(self) -> None:
        """Run the start-up code up to ``main``."""
        stack, reset = struct.unpack("<2I", bytes(self._machine.mem_read(_FLASH, 8)))
        self._stack_top = stack
        self._machine.reg_write(self._registers.UC_ARM_REG_SP, stack)
        self._run(reset, self.address("main"))

    def _run(self, start: int, until: int) -> None:
        self._instructions = 0
        try:
            self._machine.emu_start(start | 1, until, count=0)
        except self._unicorn.UcError as error:
            counter = self._machine.reg_read(self._registers.UC_ARM_REG_PC)
            where = f"on the emulated {self._core} at address {counter:#x}"
            raise ExportError(f"the image failed {where}: {error}") from error

    def address(self, symbol: str) -> int:
        """Return the address of a symbol.

        Raises:
            ExportError: The image does not hold it.
        """
        if symbol not in self._image.symbols:
            raise ExportError(f"the image has no symbol {symbol!r}; build it with the project's Makefile")
        return self._image.symbols[symbol]

    def call(self, function: str, *arguments: int) -> Call:
        """Call a function with up to four numbers or addresses."""
        if len(arguments) > _ARGUMENTS:
            raise TypeError(f"at most {_ARGUMENTS} arguments fit into registers; got {len(arguments)}")
        machine, arm = self._machine, self._registers
        lowest = _RAM + self._image.ram_bytes
        machine.mem_write(lowest, bytes([_PAINT]) * (self._stack_top - lowest))
        for index, argument in enumerate(arguments):
            machine.reg_write(arm.UC_ARM_REG_R0 + index, argument)
        machine.reg_write(arm.UC_ARM_REG_SP, self._stack_top)
        machine.reg_write(arm.UC_ARM_REG_LR, _RETURN | 1)
        self._run(self.address(function), _RETURN)
        result = machine.reg_read(arm.UC_ARM_REG_R0)
        return Call(result - (result >> 31 << 32), self._instructions, self._stack_bytes(lowest))

    def _stack_bytes(self, lowest: int) -> int:
        stack = np.frombuffer(bytes(self._machine.mem_read(lowest, self._stack_top - lowest)), np.uint8)
        touched = np.flatnonzero(stack != _PAINT)
        return len(stack) - int(touched[0]) if len(touched) else 0

    def write(self, address: int, values: npt.NDArray[np.int8]) -> None:
        """Write values to memory."""
        self._machine.mem_write(address, values.tobytes())

    def read(self, address: int, count: int) -> npt.NDArray[np.int8]:
        """Read values from memory."""
        return np.frombuffer(bytes(self._machine.mem_read(address, count)), np.int8)
