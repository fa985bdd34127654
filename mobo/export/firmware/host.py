"""The C project on this machine: built with its compiler, run on any inputs, optionally under sanitizers."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mobo.export.c.frontend import ANOMALY_SOURCE, SOURCE
from mobo.export.c.labels import LABEL_SOURCE
from mobo.export.errors import ExportError
from mobo.export.firmware.toolchain import WARNINGS, Compiler, compiled, host_compiler, run_for_bytes, sources
from mobo.export.request import Integers, Raw

_DTYPES = {1: np.int8, 2: np.int16}
SANITIZERS = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# Inputs from standard input, one after another; to standard output the bytes of an output value, then each time the
# outputs and the class, four bytes.
_DRIVER = """\
#include <stdio.h>

#include "model.h"

int main(void) {
  static int8_t input[MODEL_INPUT_BYTES];
  static model_output output[MODEL_OUTPUTS];
  putchar(sizeof(model_output));
  while (fread(input, 1, sizeof input, stdin) == sizeof input) {
    const int32_t best = model_predict(input, output);
    fwrite(output, 1, sizeof output, stdout);
    fwrite(&best, 1, sizeof best, stdout);
  }
  return 0;
}
"""

# Raw inputs from standard input, one after another; to standard output the network's inputs.
_FRONT_END_DRIVER = """\
#include <stdio.h>

#include "model.h"
#include "model_frontend.h"

int main(void) {
  static model_sample samples[MODEL_FRONTEND_SAMPLES];
  static int8_t input[MODEL_INPUT_BYTES];
  while (fread(samples, sizeof samples[0], MODEL_FRONTEND_SAMPLES, stdin) == MODEL_FRONTEND_SAMPLES) {
    model_frontend(samples, input);
    fwrite(input, 1, sizeof input, stdout);
  }
  return 0;
}
"""

# Inputs and outputs from standard input, one pair after another; to standard output the score and the verdict.
_ANOMALY_DRIVER = """\
#include <stdio.h>

#include "model_anomaly.h"

int main(void) {
  static int8_t input[MODEL_INPUT_BYTES];
  static model_output output[MODEL_OUTPUTS];
  while (fread(input, 1, sizeof input, stdin) == sizeof input && fread(output, 1, sizeof output, stdin) != 0) {
    uint64_t found[2];
    found[1] = (uint64_t)model_is_anomalous(input, output, found);
    fwrite(found, sizeof found, 1, stdout);
  }
  return 0;
}
"""


# Outputs from standard input, one after another; to standard output the labels.
_LABEL_DRIVER = """\
#include <stdio.h>

#include "model_labels.h"

int main(void) {
  static model_output output[MODEL_OUTPUTS];
  static float labels[MODEL_OUTPUTS];
  while (fread(output, 1, sizeof output, stdin) == sizeof output) {
    model_labels(output, labels);
    fwrite(labels, 1, sizeof labels, stdout);
  }
  return 0;
}
"""


def run_on_host(
    project: Path,
    inputs: npt.NDArray[np.int8],
    *,
    compiler: Compiler | None = None,
    flags: Sequence[str] = ("-O2", "-Werror"),
    objects: Path | None = None,
) -> tuple[Integers, npt.NDArray[np.int32]]:
    """Build a C project and run it.

    Args:
        project: Its folder; nothing is written there.
        inputs: int8, N x H x W x C.
        compiler: The compiler; None for this machine's.
        flags: Further flags, e.g. :data:`SANITIZERS`.
        objects: A folder where compiled files are kept and found again: most of many projects are the same kernels.

    Returns:
        The outputs, int8 or int16, N x outputs, and the classes it returned, N.

    Raises:
        ExportError: It does not compile without warnings, fails, or takes inputs of another size.
        MissingToolError: There is no compiler.
    """
    compiler = compiler or host_compiler()
    with tempfile.TemporaryDirectory() as folder:
        driver, program = Path(folder, "driver.c"), Path(folder, "driver")
        driver.write_text(_DRIVER, encoding="utf-8")
        command = [*compiler.command, *WARNINGS, *flags, "-I.", "-Ikernels"]
        parts = sources(project)
        if objects is not None:
            parts = [str(compiled(project.resolve(), part, command, (), objects.resolve())) for part in parts]
        run_for_bytes([*command, "-o", str(program), *parts, str(driver)], folder=project.resolve())
        written = run_for_bytes([str(program)], stdin=np.ascontiguousarray(inputs).tobytes())
    return _parsed(written, len(inputs))


def run_front_end_on_host(
    project: Path, raw: Raw, *, compiler: Compiler | None = None, flags: Sequence[str] = ("-O2", "-Werror")
) -> npt.NDArray[np.int8]:
    """Build the front end of a C project and run it.

    Args:
        project: Its folder; nothing is written there.
        raw: int16 or uint8, N x samples.
        compiler: The compiler; None for this machine's.
        flags: Further flags, e.g. :data:`SANITIZERS`.

    Returns:
        The network's inputs, N x values.

    Raises:
        ExportError: It does not compile without warnings, or fails.
        MissingToolError: There is no compiler.
    """
    compiler = compiler or host_compiler()
    written = _driven(project, SOURCE, _FRONT_END_DRIVER, np.ascontiguousarray(raw).tobytes(), compiler, flags)
    return np.frombuffer(written, np.int8).reshape(len(raw), -1)


def run_anomaly_on_host(
    project: Path, inputs: npt.NDArray[np.int8], outputs: Integers, *, flags: Sequence[str] = ("-O2", "-Werror")
) -> npt.NDArray[np.int64]:
    """Build what judges the reconstructions of a C project and run it.

    Args:
        project: Its folder; nothing is written there.
        inputs: int8, N x H x W x C.
        outputs: int8 or int16, N x outputs.
        flags: Further flags, e.g. :data:`SANITIZERS`.

    Returns:
        N x 2: scores, and 1 for an anomaly.

    Raises:
        ExportError: It does not compile without warnings, or fails.
        MissingToolError: There is no compiler.
    """
    pairs = b"".join(given.tobytes() + made.tobytes() for given, made in zip(inputs, outputs, strict=True))
    written = _driven(project, ANOMALY_SOURCE, _ANOMALY_DRIVER, pairs, host_compiler(), flags)
    return np.frombuffer(written, np.int64).reshape(-1, 2)


def run_labels_on_host(
    project: Path, outputs: Integers, *, flags: Sequence[str] = ("-O2", "-Werror")
) -> npt.NDArray[np.float32]:
    """Build what turns the outputs of a C project into labels and run it.

    Args:
        project: Its folder; nothing is written there.
        outputs: int8 or int16, N x outputs.
        flags: Further flags, e.g. :data:`SANITIZERS`.

    Returns:
        N x outputs.

    Raises:
        ExportError: It does not compile without warnings, or fails.
        MissingToolError: There is no compiler.
    """
    stdin = np.ascontiguousarray(outputs).tobytes()
    written = _driven(project, LABEL_SOURCE, _LABEL_DRIVER, stdin, host_compiler(), flags)
    return np.frombuffer(written, np.float32).reshape(outputs.shape)


def _driven(project: Path, source: str, text: str, stdin: bytes, compiler: Compiler, flags: Sequence[str]) -> bytes:
    """Return what a program of one source of a project and a driver writes."""
    with tempfile.TemporaryDirectory() as folder:
        driver, program = Path(folder, "driver.c"), Path(folder, "driver")
        driver.write_text(text, encoding="utf-8")
        command = [*compiler.command, *WARNINGS, *flags, "-I.", "-Ikernels", "-o", str(program), source, str(driver)]
        run_for_bytes(command, folder=project.resolve())
        return run_for_bytes([str(program)], stdin=stdin)


def _parsed(written: bytes, count: int) -> tuple[Integers, npt.NDArray[np.int32]]:
    size, left = divmod(len(written) - 1, max(1, count))
    if left or size < 5:
        raise ExportError(
            f"the model wrote {len(written)} bytes for {count} inputs; the inputs have another shape than its own"
        )
    rows = np.frombuffer(written, np.int8, offset=1).reshape(count, size)
    classes = np.ascontiguousarray(rows[:, -4:]).view(np.int32).reshape(count)
    return np.ascontiguousarray(rows[:, :-4]).view(_DTYPES[written[0]]), classes
