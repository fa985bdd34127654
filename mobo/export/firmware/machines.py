"""QEMU's boards that the bare-metal firmware runs on, its image for them, and such a board emulated by unicorn.

Addresses and clocks are those of Arm's application notes AN385, AN386, AN500, AN505 and AN547, as QEMU has them
(``hw/arm/mps2.c``, ``hw/arm/mps2-tz.c``): boards with TrustZone start in the secure world, so theirs are the secure
aliases. All have the CMSDK UART.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hw_models.device import Core
from mobo.export.errors import ExportError
from mobo.export.firmware.elf import Image, read_image
from mobo.export.firmware.emulator import CORES, instruction_count, load_unicorn
from mobo.export.firmware.toolchain import BARE_STRING_H, WARNINGS, Compiler, arm_compiler, run
from mobo.export.request import Board, Files

RAM_SCRIPT = "board.ld"
"""The linker script of an image that a debugger loads into a board's SRAM."""
ICOUNT_SHIFT = 6
"""QEMU's clock advances by 2^6 ns with every instruction, and so does ours."""

_KIB = 1024
_REGISTERS_BYTES = 0x1000
_SYSTEM, _SYSTEM_BYTES = 0xE000_0000, 1 << 20
_UART_DATA, _TIMER_VALUE = 0x0, 0x4
_MOST_INSTRUCTIONS = 4_000_000_000


@dataclass(frozen=True)
class Machine:
    """A board of QEMU.

    Attributes:
        name: QEMU's name for it.
        core: Its core.
        flash, ram: Where code and variables go: address and KiB.
        uart: Address of the CMSDK UART.
        timer: Address of a 32-bit timer of the CMSDK that counts down; 0 where there is none.
        counter: Addresses of a 64-bit counter and of what switches it on; (0, 0) where there is a timer.
        timer_hz: How fast either counts.
    """

    name: str
    core: Core
    flash: tuple[int, int]
    ram: tuple[int, int]
    uart: int
    timer: int
    counter: tuple[int, int]
    timer_hz: int

    @property
    def board(self) -> Board:
        """What a firmware for it is told."""
        return Board(name=self.name, core=self.core, sram_kib=self.ram[1])

    @property
    def script(self) -> str:
        """Name of its linker script."""
        return f"{self.name}.ld"

    @property
    def definitions(self) -> tuple[str, ...]:
        """The compiler's options that tell ``bare_metal/main.c`` where everything is."""
        found = {"UART": self.uart, "TIMER": self.timer, "COUNTER": self.counter[0], "COUNTER_ON": self.counter[1]}
        addresses = tuple(f"-DMOBO_{name}={address:#x}u" for name, address in found.items() if address)
        return (*addresses, f"-DMOBO_TICKS_HZ={self.timer_hz}u")


def _mps2(name: str, core: Core) -> Machine:
    return Machine(
        name, core, flash=(0, 4096), ram=(0x2000_0000, 4096), uart=0x4000_4000, timer=0x4000_0000, counter=(0, 0),
        timer_hz=25_000_000,
    )  # fmt: skip


MACHINES: Mapping[str, Machine] = MappingProxyType(
    {
        machine.name: machine
        for machine in (
            _mps2("mps2-an385", "cortex-m3"),
            _mps2("mps2-an386", "cortex-m4"),
            _mps2("mps2-an500", "cortex-m7"),
            Machine(
                "mps2-an505", "cortex-m33", flash=(0x1000_0000, 4096), ram=(0x3800_0000, 4096), uart=0x5020_0000,
                timer=0x5000_0000, counter=(0, 0), timer_hz=20_000_000,
            ),
            Machine(
                "mps3-an547", "cortex-m55", flash=(0x1000_0000, 512), ram=(0x3100_0000, 2048), uart=0x5930_3000,
                timer=0, counter=(0x4810_1000, 0x5810_0000), timer_hz=32_000_000,
            ),
        )
    }
)  # fmt: skip

# The M0+ executes a part of the M3's instructions.
_RUNS_ON: Mapping[str, Core] = MappingProxyType({"cortex-m0plus": "cortex-m3"})
_EMULATED_AS: Mapping[str, str] = MappingProxyType({"cortex-m0plus": "cortex-m0"})


def machine_for(core: str) -> Machine | None:
    """Return the machine that executes a core's instructions; None where there is none."""
    wanted = _RUNS_ON.get(core, core)
    return next((machine for machine in MACHINES.values() if machine.core == wanted), None)


def build_image(files: Files, board: Board, machine: Machine | None, *, compiler: Compiler | None = None) -> Image:
    """Return the bare-metal image of a firmware.

    Args:
        files: The firmware's files.
        board: Its board.
        machine: The machine it is for; None for an image that a debugger loads into the board's SRAM.
        compiler: The compiler; None for the one at hand.

    Raises:
        ExportError: It does not compile without warnings, or does not fit.
        MissingToolError: There is no compiler for Cortex-M.
    """
    compiler = compiler or arm_compiler()
    core = board.core if machine is None else _built_for(board, machine)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (target := Path(folder, name)).parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        command = [*compiler.command, *compiler.bare_metal_flags(core), *WARNINGS, "-O2", "-Werror"]
        command += ["-ffunction-sections", "-fdata-sections", "-Isrc", *(machine.definitions if machine else ())]
        if compiler.is_zig:
            Path(folder, "headers").mkdir()
            Path(folder, "headers/string.h").write_text(BARE_STRING_H, encoding="utf-8")
            command += ["-isystem", "headers"]
        parts = sorted(name for name in files if name.startswith(("src/", "bare_metal/")) and name.endswith(".c"))
        script = f"bare_metal/{machine.script if machine else RAM_SCRIPT}"
        run([*command, "-Wl,--gc-sections", "-T", script, "-o", "firmware.elf", *parts], folder=Path(folder))
        return read_image(Path(folder, "firmware.elf").read_bytes())


def _built_for(board: Board, machine: Machine) -> str:
    return board.core if _RUNS_ON.get(board.core) == machine.core else machine.core


class EmulatedBoard:
    """A machine with an image in it: what it writes to its UART, instruction by instruction.

    Args:
        image: The linked image.
        machine: The machine it was linked for.
        core: The board's core, which it was built for.

    Raises:
        ExportError: The emulator does not have the core.
        MissingToolError: The emulator is not installed.
    """

    def __init__(self, image: Image, machine: Machine, core: str) -> None:
        emulated = _EMULATED_AS.get(core, machine.core)
        if emulated not in CORES:
            raise ExportError(f"{machine.name} has a {machine.core}, which only QEMU emulates")
        self._unicorn, self._registers = load_unicorn()
        self._image, self._machine = image, machine
        self._counts: dict[tuple[int, int], int] = {}
        self._instructions, self._most = 0, _MOST_INSTRUCTIONS
        self._written = bytearray()
        self.chip = self._built(emulated)

    def _built(self, core: str) -> Any:
        uc, arm = self._unicorn, self._registers
        chip = uc.Uc(uc.UC_ARCH_ARM, uc.UC_MODE_THUMB | uc.UC_MODE_MCLASS)
        chip.ctl_set_cpu_model(getattr(arm, CORES[core]))
        for start, size_kib in (self._machine.flash, self._machine.ram):
            chip.mem_map(start, size_kib * _KIB)
        for start in (self._machine.uart, self._machine.timer):
            chip.mem_map(start, _REGISTERS_BYTES)
        chip.mem_map(_SYSTEM, _SYSTEM_BYTES)
        chip.hook_add(uc.UC_HOOK_BLOCK, self._count)
        uart, timer = self._machine.uart + _UART_DATA, self._machine.timer + _TIMER_VALUE
        chip.hook_add(uc.UC_HOOK_MEM_WRITE, self._take, begin=uart, end=uart)
        chip.hook_add(uc.UC_HOOK_MEM_READ, self._tick, begin=timer, end=timer)
        return chip

    def _count(self, chip: Any, address: int, size: int, _: object) -> None:
        key = (address, size)
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = instruction_count(bytes(chip.mem_read(address, size)))
        self._instructions += count
        if self._instructions > self._most:
            chip.emu_stop()

    def _take(self, _chip: Any, _access: int, _address: int, _size: int, value: int, _: object) -> None:
        self._written.append(value & 0xFF)

    def _tick(self, chip: Any, _access: int, address: int, _size: int, _value: int, _: object) -> None:
        ticks = (self._instructions << ICOUNT_SHIFT) * self._machine.timer_hz // 1_000_000_000
        chip.mem_write(address, (-1 - ticks & 0xFFFF_FFFF).to_bytes(4, "little"))

    def load(self) -> None:
        """Write the image into the memories, as a debugger would."""
        for address, content in self._image.segments:
            self.chip.mem_write(address, content)

    def start(self) -> None:
        """Set stack and entry as the core does when it leaves reset."""
        table = bytes(self.chip.mem_read(self._machine.flash[0], 8))
        self.chip.reg_write(self._registers.UC_ARM_REG_SP, int.from_bytes(table[:4], "little"))
        self.chip.reg_write(self._registers.UC_ARM_REG_PC, int.from_bytes(table[4:], "little"))

    def run(self) -> None:
        """Run on from where it is until a line has been written.

        Raises:
            ExportError: The image fails or writes nothing for a very long time.
        """
        chip, arm = self.chip, self._registers
        self._most = self._instructions + _MOST_INSTRUCTIONS
        done = self._image.symbols["mobo_done"]
        if chip.reg_read(arm.UC_ARM_REG_PC) & ~1 == done:
            # The emulator would stop at once; the function only returns.
            chip.reg_write(arm.UC_ARM_REG_PC, chip.reg_read(arm.UC_ARM_REG_LR))
        try:
            chip.emu_start(chip.reg_read(arm.UC_ARM_REG_PC) | 1, done)
        except self._unicorn.UcError as error:
            where = f"on the emulated {self._machine.name} at address {chip.reg_read(arm.UC_ARM_REG_PC):#x}"
            raise ExportError(f"the firmware failed {where}: {error}") from error
        if self._instructions > self._most:
            raise ExportError(f"the firmware wrote nothing to the UART of the emulated {self._machine.name}")

    def lines(self) -> Iterator[bytes]:
        """Yield one line after the other that the firmware writes, each with its end."""
        self.load()
        self.start()
        while True:
            self._written.clear()
            self.run()
            yield bytes(self._written)


def emulated_lines(files: Files, board: Board, *, compiler: Compiler | None = None) -> Iterator[bytes]:
    """Build a firmware for the machine that has its board's core, and yield the lines that it writes there.

    Raises:
        ExportError: No emulated machine has the core, or the firmware does not build or run.
        MissingToolError: There is no compiler for Cortex-M, or no emulator.
    """
    machine = machine_for(board.core)
    if machine is None:
        raise ExportError(f"no emulated machine has a {board.core}")
    return EmulatedBoard(build_image(files, board, machine, compiler=compiler), machine, board.core).lines()
