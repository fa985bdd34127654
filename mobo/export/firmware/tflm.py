"""The network of a firmware run by TensorFlow Lite Micro: tflite file, operators, arena, and ``model.h``'s calls.

Source: tflite-micro 90b983c2b3f1, ``tensorflow/lite/micro/micro_interpreter.h`` and ``micro_mutable_op_resolver.h``.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from hw_models.errors import HardwareModelError
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.c import model as c_model
from mobo.export.c.text import array, comment
from mobo.export.errors import ExportError
from mobo.export.request import Board, ExportRequest
from mobo.export.tflite.runnable import read_runnable
from mobo.export.tflite.writer import MODEL, export_tflite

RUNTIME = "tflm-cmsis-nn"
"""The engine that every form of the firmware builds, unless Zephyr's configuration leaves CMSIS-NN out."""

REFERENCE_RUNTIME = "tflm-reference"
"""What it is without."""

PAINTED_BYTES = 2048
"""So far below the measuring function the firmware looks for the deepest stack."""

ARDUINO_LIBRARY = "Chirale_TensorFLowLite"
"""The library of Arduino's manager that has TFLM with CMSIS-NN: tensorflow's own was withdrawn from there, and archived
in February 2025."""
ARDUINO_VERSION = "2.0.0"
ARDUINO_ADDRESS = "https://github.com/spaziochirale/Chirale_TensorFlowLite.git#46da2f989205a9216229d38cd3d1c657d79d6781"

ADDED_BY: Mapping[str, str] = MappingProxyType(
    {
        "ADD": "AddAdd",
        "AVERAGE_POOL_2D": "AddAveragePool2D",
        "CONCATENATION": "AddConcatenation",
        "CONV_2D": "AddConv2D",
        "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
        "FULLY_CONNECTED": "AddFullyConnected",
        "HARD_SWISH": "AddHardSwish",
        "LEAKY_RELU": "AddLeakyRelu",
        "MAX_POOL_2D": "AddMaxPool2D",
        "MUL": "AddMul",
        "PAD": "AddPad",
        "QUANTIZE": "AddQuantize",
        "RELU": "AddRelu",
        "RELU6": "AddRelu6",
        "RESHAPE": "AddReshape",
        "SOFTMAX": "AddSoftmax",
    }
)
"""Operator of the file -> what registers it at a ``MicroMutableOpResolver``."""

# Other versions of the interpreter keep other structures than the one that is predicted.
_RESERVE = 8
_ALIGNMENT_BYTES = 16

_ARENA = """\
/* Predicted for TFLM with CMSIS-NN: {predicted} bytes; the rest is a reserve. -DMODEL_ARENA_BYTES=N gives another. */
#ifndef MODEL_ARENA_BYTES
#define MODEL_ARENA_BYTES {arena}
#endif
"""

_CALLS = """
/* Makes the interpreter, once; to be called before anything else. Returns NULL, or what failed: "version", "operators"
 * or "tensors" (AllocateTensors: the arena is too small, or a kernel refuses its layer; TFLM logs which). */
#define MODEL_STARTS 1
const char *model_start(void);

/* What the interpreter took of the arena. */
uint32_t model_arena_used_bytes(void);
"""

_SOURCE = """\
/* {title}: run by TensorFlow Lite Micro. */
#if defined(ARDUINO)
/* Without it Arduino does not find the library. */
#include <Chirale_TensorFlowLite.h>
#endif
#include "model.h"

#include <string.h>

#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {{

typedef tflite::MicroMutableOpResolver<{count}> Resolver;

alignas(16) uint8_t arena[MODEL_ARENA_BYTES];
tflite::MicroInterpreter *interpreter = nullptr;

bool add_operators(Resolver &resolver) {{
  return {added};
}}

const char *start() {{
  const tflite::Model *const model = tflite::GetModel(model_data);
  static Resolver resolver;
  if (model->version() != TFLITE_SCHEMA_VERSION) {{
    return "version";
  }}
  if (!add_operators(resolver)) {{
    return "operators";
  }}
  static tflite::MicroInterpreter made(model, resolver, arena, sizeof arena);
  interpreter = &made;
  return made.AllocateTensors() == kTfLiteOk ? nullptr : "tensors";
}}

}}  // namespace

extern "C" const char *model_start(void) {{
  static const char *failure = nullptr;
  static bool has_started = false;
  if (!has_started) {{
    has_started = true;
    failure = start();
  }}
  return failure;
}}

extern "C" uint32_t model_arena_used_bytes(void) {{
  return interpreter == nullptr ? 0 : static_cast<uint32_t>(interpreter->arena_used_bytes());
}}

extern "C" int8_t *model_input(void) {{ return interpreter->input(0)->data.int8; }}

extern "C" int model_predict(const int8_t *input, model_output *output) {{
  int best = 0, i;
  if (input != nullptr && input != model_input()) {{
    memcpy(model_input(), input, MODEL_INPUT_BYTES);
  }}
  if (interpreter->Invoke() != kTfLiteOk) {{
    if (output != nullptr) {{
      memset(output, 0, sizeof(model_output) * MODEL_OUTPUTS);
    }}
    return -1;
  }}
  const model_output *const result = static_cast<const model_output *>(interpreter->output(0)->data.data);
  for (i = 1; i < MODEL_OUTPUTS; ++i) {{
    if (result[i] > result[best]) {{
      best = i;
    }}
  }}
  if (output != nullptr) {{
    memcpy(output, result, sizeof(model_output) * MODEL_OUTPUTS);
  }}
  return best;
}}
"""

_DATA = """\
/* The file {name}. */
#ifndef MODEL_DATA_H
#define MODEL_DATA_H

alignas(16) {bytes}
#endif
"""


_KERNELS = "CONFIG_TENSORFLOW_LITE_MICRO"
DEFINITIONS = f"""\
#if defined({_KERNELS}) && !defined({_KERNELS}_CMSIS_NN_KERNELS)
#define MOBO_ENGINE "{REFERENCE_RUNTIME}"
#else
#define MOBO_ENGINE "{RUNTIME}"
#endif
#define MOBO_ARENA_USED_BYTES model_arena_used_bytes()
"""
"""What the measurement is told of the engine."""

_README = """\
`src` is the same for all of them: `model.cpp`, which runs the tflite file in `model_data.h` by TensorFlow Lite Micro,
and `mobo_measure.c`. `model_start()` is to be called first; the other calls of `model.h` are those of the C of a model.

**Arena.** {predicted:,} bytes are predicted for TFLM with CMSIS-NN, {arena:,} are reserved: an eighth more, since
versions of TFLM differ. What the interpreter took is `arena_bytes` in the line. Where it cannot start the line says so,
with what was taken till then, and TFLM logs the reason; build again with a larger arena:

{larger}

**Versions.** Zephyr has TFLM as its optional module `tflite-micro`
(`west config manifest.project-filter -- +tflite-micro && west update`); its kernels are CMSIS-NN's
(`CONFIG_TENSORFLOW_LITE_MICRO_CMSIS_NN_KERNELS`). Arduino and PlatformIO take {library} {version}: TFLM with CMSIS-NN
as of July 2024, by its author for boards with Arduino's mbed core and ESP32. For other cores take Zephyr: there the
library is untried. TensorFlow's own Arduino library is archived. There is no bare-metal image: TFLM's own Makefile
would have to build the engine.

"""


def predicted_arena_bytes(request: ExportRequest, board: Board) -> int:
    """Return the arena that the interpreter is predicted to take on a board.

    Raises:
        ExportError: The cost model of TFLM does not cover the core, a layer or a bit width.
    """
    try:
        return plan_memory(request.network.graph, load_runtime(RUNTIME), core=board.core).arena_bytes
    except HardwareModelError as error:
        raise ExportError(f"how large an arena TFLM needs is unknown: {error}; export with --engine mobo-c") from error


def arena_bytes(request: ExportRequest, board: Board) -> int:
    """Return the arena that the firmware reserves: what is predicted, and an eighth more."""
    predicted = predicted_arena_bytes(request, board)
    return -(-(predicted + predicted // _RESERVE) // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def tflm_sources(request: ExportRequest, board: Board, title: str) -> dict[str, str]:
    """Return the model's sources by name: ``model.h`` with the same calls as the C of a model has, and what is behind.

    Raises:
        ExportError: TFLM would refuse the network, an operator has no registration, or the arena is unknown.
        MissingToolError: The package with the file's schema is not installed.
    """
    data = export_tflite(request)[MODEL]
    operators = sorted(set(read_runnable(data).operators))
    predicted = predicted_arena_bytes(request, board)
    arena = _ARENA.format(predicted=predicted, arena=arena_bytes(request, board))
    values = array("unsigned char model_data", np.frombuffer(data, np.uint8))
    return {
        "model.h": c_model.header(request.network, arena, title, calls=_CALLS),
        "model.cpp": _SOURCE.format(title=comment(title), count=len(operators), added=_added(operators)),
        "model_data.h": _DATA.format(name=MODEL, bytes=values),
        "model_quantise_input.c": c_model.QUANTISE_SOURCE,
    }


def _added(operators: Sequence[str]) -> str:
    for operator in operators:
        if operator not in ADDED_BY:
            raise ExportError(
                f"the tflite file uses the operator {operator}, of which is not known how it is registered at TFLM's "
                f"resolver; known are {', '.join(ADDED_BY)}: export with --engine mobo-c"
            )
    return " &&\n         ".join(f"resolver.{ADDED_BY[operator]}() == kTfLiteOk" for operator in operators)


def readme_text(request: ExportRequest, board: Board) -> str:
    """Return what the firmware's README says of the engine."""
    arena = arena_bytes(request, board)
    flag = f"-DMODEL_ARENA_BYTES={2 * arena}"
    ways = [
        f'arduino-cli compile --build-property "compiler.c.extra_flags={flag}" \\',
        f'  --build-property "compiler.cpp.extra_flags={flag}" …',
    ]
    if board.zephyr:
        ways.append(f"west build -b {board.zephyr} zephyr_app -- -DEXTRA_CPPFLAGS={flag}")
    if board.platformio:
        ways.append(f"PLATFORMIO_BUILD_FLAGS={flag} pio run -t upload")
    return _README.format(
        predicted=predicted_arena_bytes(request, board),
        arena=arena,
        larger="\n".join(f"    {way}" for way in ways),
        library=ARDUINO_LIBRARY,
        version=ARDUINO_VERSION,
    )
