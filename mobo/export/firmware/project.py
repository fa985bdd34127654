"""The firmware that measures the model on a board: one measuring source, and what each build system needs around it.

The folder is a Zephyr module with an application, an Arduino library with an example, a PlatformIO project and a
bare-metal project at once; all compile the same files in ``src``. With TensorFlow Lite Micro there is no bare-metal
project: its engine comes with Zephyr or as an Arduino library.
"""

from hashlib import sha256
from math import prod

import numpy as np

from envs.compression.integer.network_file import network_to_bytes
from hw_models.runtime import GENERATED_C_RUNTIME
from mobo.base.markdown import code, literal, table
from mobo.export.c.frontend import anomaly_files, frontend_sources
from mobo.export.c.labels import label_files
from mobo.export.c.memory import plan_arena
from mobo.export.c.project import c_layers, project_sources
from mobo.export.c.text import array, package_text
from mobo.export.errors import ExportError
from mobo.export.firmware import forms, tflm
from mobo.export.firmware.machines import machine_for
from mobo.export.request import Board, EngineName, ExportRequest, Files, Integers

INFERENCES = 20
"""How many inferences are timed for one measurement."""

PAINTED_BYTES = 1024
"""So far below the measuring function the firmware looks for the deepest stack; the deepest known takes a third."""

_VECTORS_BYTES = 16 * 1024
_DIGEST_DIGITS = 16
_HEADER = "src/mobo_export.h"
_MEASURE = ("measure/mobo_measure.c", "measure/mobo_measure.h")
_FNV_START, _FNV_PRIME, _MASK = 2166136261, 16777619, 0xFFFF_FFFF

_README = """\
# {name}

**{never_run}**

A firmware for {board} that runs the model on {vectors} test vectors, times {inferences} inferences and prints
one line of JSON: digests, checksums of the outputs, cycles (minimum, median, maximum), clock, stack. The core counts
its cycles (DWT) where it can, SysTick or the system's clock do else.

    mobo measure DIR --port /dev/ttyACM0

listens to it, compares the outputs with the exported ones and the cycles with the prediction.

{forms}

{engine}For your own firmware take `src` without `mobo_measure.c`, `mobo_measure.h` and `mobo_export.h`.
"""

_C_ENGINE = """\
`src` is the same for all of them: `model.c`, its kernels, and `mobo_measure.c`. """


def export_firmware(request: ExportRequest) -> Files:
    """Return the files of the firmware by path.

    Raises:
        ExportError: A layer, a bit width or a size that the engine cannot execute, or no board was given.
        MissingToolError: The package with the schema of tflite files is not installed, which TFLM's firmware needs.
    """
    board = request.board
    if board is None:
        raise ExportError("a firmware is for a board; give --board NAME")
    texts = _sources(request, board)
    listed = sorted(name for name in (*texts, "src/mobo_measure.c") if name.endswith((".c", ".cpp")))
    texts |= {f"src/{path.rpartition('/')[2]}": package_text(path) for path in _MEASURE}
    texts |= forms.arduino(request.engine)
    texts |= forms.bare_metal(board) if request.engine == "mobo-c" else {}
    texts |= forms.zephyr(board, listed, request.engine) if board.zephyr else {}
    texts |= forms.platformio(board, request.engine) if board.platformio else {}
    texts["README.md"] = _readme(request, board)
    header = _header(request, board)
    texts[_HEADER] = header.format(export=export_digest(texts | {_HEADER: header}))
    return {path: text.encode() for path, text in sorted(texts.items())}


def _sources(request: ExportRequest, board: Board) -> dict[str, str]:
    """Return model and kernels in one folder, where every build system finds their headers."""
    network, title = request.network, f"{request.name}: trial {request.trial} of {request.run}"
    if request.engine == "tflm":
        texts = tflm.tflm_sources(request, board, title)
    else:
        texts = project_sources(network, c_layers(network), plan_arena(network.graph), title)
    texts |= frontend_sources(request, title) | anomaly_files(request, title) | label_files(request, title)
    return {f"src/{path.rpartition('/')[2]}": text for path, text in texts.items()}


def model_digest(request: ExportRequest) -> str:
    """Return the digest of the network, which the firmware prints."""
    return sha256(network_to_bytes(request.network)).hexdigest()[:_DIGEST_DIGITS]


def export_digest(texts: dict[str, str]) -> str:
    """Return the digest of the firmware's files, which it prints itself; its own place in them is empty."""
    digest = sha256()
    for path, text in sorted(texts.items()):
        digest.update(f"{path}\0{text}\0".encode())
    return digest.hexdigest()[:_DIGEST_DIGITS]


def printed_digest(files: Files) -> str:
    """Return the digest of the firmware's files as its header has it."""
    return files[_HEADER].decode().partition('MOBO_EXPORT_DIGEST "')[2][:_DIGEST_DIGITS]


def vector_count(request: ExportRequest) -> int:
    """Return how many test vectors the firmware holds: at most what fits into 16 KiB of flash, at least one."""
    return min(len(request.test_inputs), max(1, _VECTORS_BYTES // prod(request.network.graph.input_shape)))


def checksums(outputs: Integers) -> tuple[str, ...]:
    """Return the checksum of every row of outputs as the firmware prints it: FNV-1a of 32 bits over its bytes."""
    return tuple(f"{checksum(row.astype(row.dtype.newbyteorder('<')).tobytes()):08x}" for row in outputs)


def checksum(data: bytes) -> int:
    """Return the FNV-1a hash of some bytes, 32 bits.

    >>> f"{checksum(b''):08x} {checksum(b'a'):08x}"
    '811c9dc5 e40c292c'
    """
    value = _FNV_START
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & _MASK
    return value


def _header(request: ExportRequest, board: Board) -> str:
    inputs = np.ascontiguousarray(request.test_inputs[: vector_count(request)])
    vectors = array("int8_t test_inputs", inputs).replace("{", "{{").replace("}", "}}")
    return (
        "/* What this firmware measures. */\n#ifndef MOBO_EXPORT_H\n#define MOBO_EXPORT_H\n\n#include <stdint.h>\n\n"
        f'#define MOBO_MODEL_DIGEST "{model_digest(request)}"\n#define MOBO_EXPORT_DIGEST "{{export}}"\n'
        f'#define MOBO_BOARD "{board.name}"\n#define MOBO_INFERENCES {INFERENCES}\n'
        f"#define TEST_VECTORS {len(inputs)}\n{_engine_definitions(request.engine)}\n"
        f"{vectors}\n#endif\n"
    )


def painted_bytes(engine: str) -> int:
    """Return how far below itself a firmware looks for the deepest stack, by the engine that it names."""
    return PAINTED_BYTES if engine == GENERATED_C_RUNTIME else tflm.PAINTED_BYTES


def _engine_definitions(engine: EngineName) -> str:
    own = f'#define MOBO_ENGINE "{GENERATED_C_RUNTIME}"\n#define MOBO_ARENA_USED_BYTES MODEL_ARENA_BYTES\n'
    return f"{own if engine == 'mobo-c' else tflm.DEFINITIONS}#define MOBO_PAINTED_BYTES {painted_bytes(engine)}\n"


def _readme(request: ExportRequest, board: Board) -> str:
    rows = [("Arduino library", "copy this folder into `libraries`, open the example `measure`", "Arduino IDE or CLI")]
    if board.zephyr:
        needs = "Zephyr 4" if request.engine == "mobo-c" else "Zephyr 4 with its module tflite-micro"
        rows.append(("Zephyr", code(f"west build -b {board.zephyr} zephyr_app && west flash"), needs))
    if board.platformio:
        rows.append(("PlatformIO", "`pio run -t upload`", "PlatformIO"))
    machine = machine_for(board.core)
    if machine is not None and request.engine == "mobo-c":
        rows.append((f"QEMU, {machine.name}", "`make -C bare_metal run`", "gcc-arm-none-eabi, qemu-system-arm"))
    if request.engine == "mobo-c":
        rows.append(("debugger, in SRAM", "`mobo measure DIR --gdb HOST:PORT`", "OpenOCD, pyOCD or J-Link"))
    return _README.format(
        name=literal(request.name),
        never_run=forms.NEVER_RUN,
        board=board.name,
        vectors=vector_count(request),
        inferences=INFERENCES,
        forms=table(("form", "how", "needs"), rows),
        engine=_C_ENGINE if request.engine == "mobo-c" else tflm.readme_text(request, board),
    )
