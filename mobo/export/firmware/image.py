"""The C project built for a bare-metal core, and one inference after another on the emulated one."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobo.export.c.frontend import ANOMALY_SOURCE, SOURCE
from mobo.export.c.labels import LABEL_SOURCE
from mobo.export.errors import ExportError
from mobo.export.firmware.elf import Image, read_image
from mobo.export.firmware.emulator import EmulatedCore
from mobo.export.firmware.toolchain import BARE_STRING_H, WARNINGS, Compiler, arm_compiler, compiled, run, sources
from mobo.export.request import Integers, Raw

# The smallest firmware around a front end alone.
_FRONT_END_MAIN = """\
#include "model.h"
#include "model_frontend.h"

model_sample samples[MODEL_FRONTEND_SAMPLES];
int8_t input[MODEL_INPUT_BYTES];

int main(void) {
  for (;;) {
    model_frontend(samples, input);
  }
}
"""

# The smallest firmware around what judges a reconstruction.
_LABEL_MAIN = """\
#include "model_labels.h"

model_output output[MODEL_OUTPUTS];
float labels[MODEL_OUTPUTS];

int main(void) {
  for (;;) {
    model_labels(output, labels);
  }
}
"""

_ANOMALY_MAIN = """\
#include "model_anomaly.h"

int8_t input[MODEL_INPUT_BYTES];
model_output output[MODEL_OUTPUTS];
uint64_t score;

int main(void) {
  for (;;) {
    model_is_anomalous(input, output, &score);
  }
}
"""


@dataclass(frozen=True, eq=False)
class Emulated:
    """What inferences on an emulated core gave.

    Attributes:
        outputs: int8 or int16, N x outputs.
        classes: What the calls returned, N.
        instructions: Of every inference, N.
        stack_bytes: The deepest stack of all.
        flash_bytes: Of the linked image: code, kernels, weights, start-up.
        ram_bytes: Variables of the linked image: the arena and the firmware's own few; the stack apart.
    """

    outputs: Integers
    classes: npt.NDArray[np.int32]
    instructions: npt.NDArray[np.int64]
    stack_bytes: int
    flash_bytes: int
    ram_bytes: int


def build_firmware(
    project: Path,
    core: str,
    *,
    compiler: Compiler | None = None,
    flags: Sequence[str] = ("-O2", "-Werror"),
    objects: Path | None = None,
) -> Image:
    """Return the linked image of a C project; nothing is written to its folder.

    Args:
        project: Its folder.
        core: The core to build for.
        compiler: The compiler; None for the one at hand.
        flags: Further flags.
        objects: A folder where compiled files are kept and found again: most of many projects are the same kernels.

    Raises:
        ExportError: It does not compile without warnings or does not fit the linker script.
        MissingToolError: There is no compiler for Cortex-M.
    """
    parts = [*sources(project), "bare_metal/startup.c", "bare_metal/main.c"]
    return _linked(project, core, parts, compiler or arm_compiler(), flags, objects)


def build_front_end(project: Path, core: str, *, compiler: Compiler | None = None) -> Image:
    """Return the linked image of a C project's front end alone; nothing is written to its folder.

    Raises:
        ExportError: It does not compile without warnings or does not fit the linker script.
        MissingToolError: There is no compiler for Cortex-M.
    """
    return _alone(project, core, SOURCE, _FRONT_END_MAIN, compiler)


def build_anomaly(project: Path, core: str, *, compiler: Compiler | None = None) -> Image:
    """Return the linked image of what judges a C project's reconstructions, as :func:`build_front_end` does."""
    return _alone(project, core, ANOMALY_SOURCE, _ANOMALY_MAIN, compiler)


def build_labels(project: Path, core: str, *, compiler: Compiler | None = None) -> Image:
    """Return the linked image of what turns a C project's outputs into labels, as :func:`build_front_end` does."""
    return _alone(project, core, LABEL_SOURCE, _LABEL_MAIN, compiler)


def _alone(project: Path, core: str, source: str, text: str, compiler: Compiler | None) -> Image:
    with tempfile.TemporaryDirectory() as folder:
        main = Path(folder, "main.c")
        main.write_text(text, encoding="utf-8")
        parts = [source, "bare_metal/startup.c", str(main)]
        return _linked(project, core, parts, compiler or arm_compiler(), ("-O2", "-Werror", "-I."), None)


def _linked(
    project: Path, core: str, parts: Sequence[str], compiler: Compiler, flags: Sequence[str], objects: Path | None
) -> Image:
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "firmware.elf")
        command = [*compiler.command, *compiler.bare_metal_flags(core), *WARNINGS, *flags]
        command += ["-ffunction-sections", "-fdata-sections", "-Ikernels"]
        headers: list[str] = []
        if compiler.is_zig:
            Path(folder, "string.h").write_text(BARE_STRING_H, encoding="utf-8")
            headers = ["-isystem", folder]
        if objects is not None:
            parts = [str(compiled(project.resolve(), part, command, headers, objects.resolve())) for part in parts]
        link = ["-Wl,--gc-sections", "-T", "bare_metal/cortex_m.ld", "-o", str(image)]
        run([*command, *headers, *link, *parts], folder=project.resolve())
        return read_image(image.read_bytes())


def run_emulated(image: Image, core: str, inputs: npt.NDArray[np.int8], outputs: int) -> Emulated:
    """Run a linked image on an emulated core.

    Args:
        image: What :func:`build_firmware` returned.
        core: The core it was built for.
        inputs: int8, N x H x W x C.
        outputs: How many values an output has.

    Raises:
        ExportError: The image fails.
        MissingToolError: The emulator is not installed.
    """
    machine = EmulatedCore(image, core)
    where = machine.call("model_input").result
    scores = machine.address("scores")
    size = image.sizes["scores"] // outputs
    found, calls = [], []
    for values in inputs:
        machine.write(where, values.reshape(-1))
        calls.append(machine.call("model_predict", 0, scores))
        found.append(machine.read(scores, size * outputs).view(f"i{size}"))
    if not calls:
        raise ExportError("there are no inputs to run the image on; give at least one")
    return Emulated(
        outputs=np.stack(found),
        classes=np.array([call.result for call in calls], np.int32),
        instructions=np.array([call.instructions for call in calls], np.int64),
        stack_bytes=max(call.stack_bytes for call in calls),
        flash_bytes=image.flash_bytes,
        ram_bytes=image.ram_bytes,
    )


def run_front_end_emulated(image: Image, core: str, raw: Raw) -> tuple[npt.NDArray[np.int8], int, int]:
    """Run the image of a front end on an emulated core.

    Args:
        image: What :func:`build_front_end` returned.
        core: The core it was built for.
        raw: int16 or uint8, N x samples.

    Returns:
        The network's inputs, N x values; the instructions of the longest call; its deepest stack, bytes.

    Raises:
        ExportError: The image fails.
        MissingToolError: The emulator is not installed.
    """
    machine = EmulatedCore(image, core)
    samples, place = machine.address("samples"), machine.address("input")
    found, calls = [], []
    for values in raw:
        machine.write(samples, values.view(np.int8))
        calls.append(machine.call("model_frontend", samples, place))
        found.append(machine.read(place, image.sizes["input"]))
    deepest = max(call.stack_bytes for call in calls)
    return np.stack(found), max(call.instructions for call in calls), deepest


def run_anomaly_emulated(
    image: Image, core: str, inputs: npt.NDArray[np.int8], outputs: Integers
) -> tuple[npt.NDArray[np.int64], int]:
    """Run the image of what judges reconstructions on an emulated core.

    Args:
        image: What :func:`build_anomaly` returned.
        core: The core it was built for.
        inputs: int8, N x H x W x C.
        outputs: int8 or int16, N x outputs.

    Returns:
        N x 2: scores, and 1 for an anomaly; the instructions of the longest call.

    Raises:
        ExportError: The image fails.
        MissingToolError: The emulator is not installed.
    """
    machine = EmulatedCore(image, core)
    places = [machine.address(name) for name in ("input", "output", "score")]
    found, instructions = [], 0
    for given, made in zip(inputs, outputs, strict=True):
        machine.write(places[0], given.reshape(-1))
        machine.write(places[1], made.view(np.int8))
        call = machine.call("model_is_anomalous", *places)
        found.append((int(machine.read(places[2], 8).view(np.int64)[0]), call.result))
        instructions = max(instructions, call.instructions)
    return np.array(found, np.int64), instructions


def run_labels_emulated(image: Image, core: str, outputs: Integers) -> npt.NDArray[np.float32]:
    """Run the image of what turns outputs into labels on an emulated core.

    Args:
        image: What :func:`build_labels` returned.
        core: The core it was built for.
        outputs: int8 or int16, N x outputs.

    Returns:
        N x outputs.

    Raises:
        ExportError: The image fails.
        MissingToolError: The emulator is not installed.
    """
    machine = EmulatedCore(image, core)
    places = [machine.address(name) for name in ("output", "labels")]
    found = []
    for made in outputs:
        machine.write(places[0], made.view(np.int8))
        machine.call("model_labels", *places)
        found.append(machine.read(places[1], 4 * len(made)).view(np.float32))
    return np.stack(found)
