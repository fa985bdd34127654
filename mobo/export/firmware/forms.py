"""What each form of the firmware adds to the shared sources: output, clock, and the files of its build system."""

from collections.abc import Sequence

from mobo.export.c.text import package_text
from mobo.export.firmware.machines import ICOUNT_SHIFT, RAM_SCRIPT, Machine, machine_for
from mobo.export.firmware.tflm import ARDUINO_ADDRESS, ARDUINO_LIBRARY, ARDUINO_VERSION
from mobo.export.request import Board, EngineName

NEVER_RUN = "Never run on hardware: nobody has sent a measurement of this form yet."
_RAM_ORIGIN, _STACK_BYTES = 0x2000_0000, 4096

_ZEPHYR_MAIN = """\
/* Prints one measurement a second on Zephyr's console. */
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

#include "mobo_measure.h"

static char line[MOBO_LINE_BYTES];

static uint32_t ticks(void) { return k_cycle_get_32(); }

int main(void) {
  const uint32_t ticks_hz = (uint32_t)sys_clock_hw_cycles_per_sec();
  const mobo_platform platform = {ticks_hz, ticks, ticks_hz, 0};
  for (;;) {
    mobo_measure(&platform, line);
    printk("%s", line);
    mobo_keep_busy(&platform);
  }
  return 0;
}
"""

_ARDUINO_SKETCH = """\
/* Prints one measurement a second on the serial port. */
#include <Arduino.h>
#include <mobo_measure.h>

static char line[MOBO_LINE_BYTES];

static uint32_t ticks(void) { return (uint32_t)micros(); }

void setup() { Serial.begin(115200); }

void loop() {
  const mobo_platform platform = {(uint32_t)F_CPU, ticks, 1000000u, 0};
  mobo_measure(&platform, line);
  Serial.print(line);
  mobo_keep_busy(&platform);
}
"""

_BARE_MAIN = """\
/* Measures again and again without a vendor's library. On a machine of QEMU (MOBO_UART) every line goes to the UART; on
 * a board a debugger waits in mobo_done and reads mobo_line. */
#include "mobo_measure.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

char mobo_line[MOBO_LINE_BYTES];

#if defined(MOBO_TIMER)
static void start_ticks(void) {
  REGISTER(MOBO_TIMER + 8u) = 0xFFFFFFFFu;
  REGISTER(MOBO_TIMER + 4u) = 0xFFFFFFFFu;
  REGISTER(MOBO_TIMER) = 1u;
}
static uint32_t ticks(void) { return 0u - REGISTER(MOBO_TIMER + 4u); }
#elif defined(MOBO_COUNTER)
static void start_ticks(void) { REGISTER(MOBO_COUNTER_ON) = 1u; }
static uint32_t ticks(void) { return REGISTER(MOBO_COUNTER); }
#else
#define MOBO_TICKS_HZ 0u
/* SysTick, 24 bits at the core's clock; its interrupt counts the rest. */
static volatile uint32_t rounds;
void systick(void);
void systick(void) { ++rounds; }
static void start_ticks(void) {
  REGISTER(0xE000E014u) = 0xFFFFFFu;
  REGISTER(0xE000E018u) = 0u;
  REGISTER(0xE000E010u) = 7u;
}
static uint32_t ticks(void) {
  uint32_t before, value;
  do {
    before = rounds;
    value = REGISTER(0xE000E018u);
  } while (before != rounds);
  return (before << 24) + (0xFFFFFFu - value);
}
#endif

#if defined(MOBO_UART)
#define EMULATED 1
static void start_output(void) {
  REGISTER(MOBO_UART + 16u) = 16u;
  REGISTER(MOBO_UART + 8u) = 1u;
}
static void put_line(const char *text) {
  for (; *text != '\\0'; ++text) {
    while ((REGISTER(MOBO_UART + 4u) & 1u) != 0) {
    }
    REGISTER(MOBO_UART) = (uint8_t)*text;
  }
}
#else
#define EMULATED 0
static void start_output(void) {}
static void put_line(const char *text) { (void)text; }
#endif

void mobo_done(void);
__attribute__((noinline)) void mobo_done(void) { __asm__ volatile("" ::: "memory"); }

int main(void) {
  const mobo_platform platform = {EMULATED ? MOBO_TICKS_HZ : 0u, ticks, MOBO_TICKS_HZ, EMULATED};
  start_ticks();
  start_output();
  for (;;) {
    mobo_measure(&platform, mobo_line);
    put_line(mobo_line);
    mobo_done();
  }
}
"""


_ZEPHYR_TFLM = """\
CONFIG_CPP=y
CONFIG_STD_CPP17=y
CONFIG_TENSORFLOW_LITE_MICRO=y
CONFIG_TENSORFLOW_LITE_MICRO_CMSIS_NN_KERNELS=y
"""

# Zephyr has no guards for statics of functions; nothing here has a second thread.
_ZEPHYR_STATICS = """set(NO_THREADSAFE_STATICS $<TARGET_PROPERTY:compiler-cpp,no_threadsafe_statics>)
zephyr_compile_options($<$<COMPILE_LANGUAGE:CXX>:${NO_THREADSAFE_STATICS}>)
"""


def zephyr(board: Board, sources: Sequence[str], engine: EngineName) -> dict[str, str]:
    """Return the Zephyr module with the model, and the application that measures."""
    has_tflm = engine == "tflm"
    depends = "\tdepends on TENSORFLOW_LITE_MICRO\n" if has_tflm else ""
    listed = "\n".join(f"    ${{CMAKE_CURRENT_SOURCE_DIR}}/../{name}" for name in sources)
    return {
        "zephyr/module.yml": "name: mobo_model\nbuild:\n  cmake: zephyr\n  kconfig: zephyr/Kconfig\n",
        "zephyr/Kconfig": f'config MOBO_MODEL\n\tbool "The exported model and its measurement"\n{depends}',
        "zephyr/CMakeLists.txt": (
            "if(CONFIG_MOBO_MODEL)\n  zephyr_library()\n  zephyr_library_sources(\n"
            f"{listed}\n  )\n  zephyr_include_directories(${{CMAKE_CURRENT_SOURCE_DIR}}/../src)\nendif()\n"
        ),
        "zephyr_app/CMakeLists.txt": (
            "# west build -b " + board.zephyr + " zephyr_app\ncmake_minimum_required(VERSION 3.20.0)\n"
            "list(APPEND ZEPHYR_EXTRA_MODULES ${CMAKE_CURRENT_SOURCE_DIR}/..)\n"
            "find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})\nproject(mobo_measure"
            + (f")\n{_ZEPHYR_STATICS}" if has_tflm else " LANGUAGES C)\n")
            + "target_sources(app PRIVATE src/main.c)\n"
        ),
        "zephyr_app/prj.conf": (
            "CONFIG_MOBO_MODEL=y\n"
            + (_ZEPHYR_TFLM if has_tflm else "")
            + "# -O2, as the costs are predicted for.\nCONFIG_SPEED_OPTIMIZATIONS=y\n"
            f"CONFIG_MAIN_STACK_SIZE={8192 if has_tflm else 4096}\nCONFIG_PRINTK=y\nCONFIG_SERIAL=y\nCONFIG_CONSOLE=y\n"
            "CONFIG_UART_CONSOLE=y\n"
        ),
        "zephyr_app/src/main.c": _ZEPHYR_MAIN,
    }


def arduino(engine: EngineName) -> dict[str, str]:
    """Return what makes the folder an Arduino library, and its measuring example."""
    properties = {
        "name": "mobo_model",
        "version": "1.0.0",
        "author": "mobo export",
        "maintainer": "mobo export",
        "sentence": "An exported neural network and its measurement.",
        "paragraph": "Outputs, cycles and stack of one inference, as a line of JSON.",
        "category": "Data Processing",
        "url": "https://example.invalid",
        "architectures": "*",
        "includes": "model.h",
    }
    if engine == "tflm":
        properties["depends"] = f"{ARDUINO_LIBRARY} (>={ARDUINO_VERSION})"
    return {
        "library.properties": "".join(f"{key}={value}\n" for key, value in properties.items()),
        "examples/measure/measure.ino": _ARDUINO_SKETCH,
    }


def platformio(board: Board, engine: EngineName) -> dict[str, str]:
    """Return the PlatformIO project."""
    platform, _, name = board.platformio.partition("/")
    has_tflm = engine == "tflm"
    # The library names cores that PlatformIO takes for other platforms than these.
    library = f"lib_deps = {ARDUINO_ADDRESS}\nlib_compat_mode = off\n" if has_tflm else ""
    unset, standard = (" -std=gnu++11 -std=gnu++14", " -std=gnu++17") if has_tflm else ("", "")
    return {
        "platformio.ini": (
            f"; pio run -t upload\n[platformio]\nsrc_dir = .\n\n[env:measure]\nplatform = {platform}\nboard = {name}\n"
            f"framework = arduino\nmonitor_speed = 115200\n{library}; -O2, as the costs are predicted for.\n"
            f"build_unflags = -Os{unset}\nbuild_flags = -O2{standard} -Isrc\n"
            "build_src_filter = -<*> +<src/> +<platformio/>\n"
        ),
        "platformio/main.cpp": '#include "../examples/measure/measure.ino"\n',
    }


def bare_metal(board: Board) -> dict[str, str]:
    """Return start-up, main and linker scripts without any vendor's library."""
    machine = machine_for(board.core)
    script = package_text("bare_metal/cortex_m.ld")
    texts = {
        "bare_metal/startup.c": package_text("bare_metal/startup.c"),
        "bare_metal/main.c": _BARE_MAIN,
        f"bare_metal/{RAM_SCRIPT}": _all_in_ram(script, board),
        "bare_metal/Makefile": _makefile(board, machine),
    }
    if machine is not None:
        memory = _memory(("FLASH (rx)", *machine.flash), ("RAM (rwx)", *machine.ram))
        texts[f"bare_metal/{machine.script}"] = f"/* QEMU's {machine.name}. */\n{memory}{_after_memory(script)}"
    return texts


def _after_memory(script: str) -> str:
    return script[script.index("}\n") + 2 :]


def _memory(*regions: tuple[str, int, int]) -> str:
    lines = "".join(f"  {name} : ORIGIN = {origin:#010x}, LENGTH = {kib}K\n" for name, origin, kib in regions)
    return f"MEMORY {{\n{lines}}}\n"


def _all_in_ram(script: str, board: Board) -> str:
    about = (
        "/* All in SRAM, for a debugger to load; code, variables and stack as low as they fit: SRAM may have gaps. */\n"
    )
    sections = _after_memory(script).replace("> RAM AT > FLASH", "> RAM").replace("> FLASH", "> RAM")
    sections = sections.replace(
        "stack_top = ORIGIN(RAM) + LENGTH(RAM);",
        f"stack_top = ALIGN(ADDR(.bss) + SIZEOF(.bss) + {_STACK_BYTES}, 8);\n"
        '  ASSERT(stack_top <= ORIGIN(RAM) + LENGTH(RAM), "the image does not fit the SRAM")',
    )
    return about + _memory(("RAM (rwx)", _RAM_ORIGIN, int(board.sram_kib))) + sections


def _makefile(board: Board, machine: Machine | None) -> str:
    head = (
        "# make board: an image for a debugger, all in the board's SRAM (board.ld).\n"
        "ARM_CC ?= arm-none-eabi-gcc\n"
        f"CPU ?= {board.core}\n"
        "FLAGS := -std=c99 -Wall -Wextra -pedantic -O2 -mthumb -mcpu=$(CPU) \\\n"
        "  -ffunction-sections -fdata-sections -I../src -nostartfiles --specs=nosys.specs -Wl,--gc-sections\n"
        "SOURCES := $(wildcard ../src/*.c) startup.c main.c\n\n"
        ".PHONY: board qemu run clean\n\nboard: build/board.elf\n\n"
        "build/board.elf: $(SOURCES) board.ld\n\t@mkdir -p build\n"
        "\t$(ARM_CC) $(FLAGS) -T board.ld -o $@ $(SOURCES)\n\nclean:\n\trm -rf build\n"
    )
    if machine is None:
        return head
    return head + (
        f"\n# make run: on QEMU's {machine.name}; what it counts are instructions.\n"
        f"qemu: build/{machine.name}.elf\n\n"
        f"build/{machine.name}.elf: $(SOURCES) {machine.script}\n\t@mkdir -p build\n"
        f"\t$(ARM_CC) $(FLAGS) {' '.join(machine.definitions)} -T {machine.script} -o $@ $(SOURCES)\n\n"
        f"run: qemu\n\tqemu-system-arm -machine {machine.name} -display none -monitor none -serial stdio \\\n"
        f"\t  -icount shift={ICOUNT_SHIFT},align=off,sleep=off -kernel build/{machine.name}.elf\n"
    )
