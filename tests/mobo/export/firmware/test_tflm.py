"""The firmware that runs the tflite file by TFLM: against stub headers, with outputs of the real interpreter replayed.

The stubs have the signatures of tflite-micro 90b983c2b3f1: ``tensorflow/lite/micro/micro_interpreter.h``,
``tensorflow/lite/micro/micro_mutable_op_resolver.h``, ``tensorflow/lite/schema/schema_generated.h``. The engine itself
is not built here: where ``TFLITE_MICRO_DIR`` names a checkout whose library its own Makefile has built, it is linked.
"""

import os
import re
import subprocess
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from envs.compression.policy import CompressionPolicy
from hw_models.device import load_devices
from hw_models.memory.arena_plan import plan_memory
from hw_models.runtime import load_runtime
from mobo.export.errors import ExportError
from mobo.export.firmware import tflm
from mobo.export.firmware.forms import NEVER_RUN
from mobo.export.firmware.line import FailedError, parse_line
from mobo.export.firmware.project import checksums, export_firmware, printed_digest
from mobo.export.firmware.toolchain import BARE_STRING_H, WARNINGS, Compiler, host_compiler
from mobo.export.request import Board, ExportRequest, Files, Integers
from mobo.export.tflite import operators as tflite_operators
from mobo.export.tflite.runnable import read_runnable
from mobo.export.tflite.writer import MODEL, export_tflite
from mobo.export.verify.tflm import run_tflm
from tests.mobo.export.c.projects import vectors
from tests.mobo.export.firmware.test_project import STUBS, board, request, written
from tests.mobo.export.quantised_networks import family

needs_tflm = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="pip install tflite-micro")
pytestmark = pytest.mark.skipif(
    find_spec("tflite_micro") is None and find_spec("ai_edge_litert") is None, reason="no schema of tflite files"
)
EVERYWHERE = {"zephyr": "my_board", "platformio": "ststm32/my_board"}

# The functions that the header of TFLM declares for what can be exported, and some others.
REGISTRATIONS = {
    "AddAdd": "ADD", "AddAveragePool2D": "AVERAGE_POOL_2D", "AddConcatenation": "CONCATENATION", "AddConv2D": "CONV_2D",
    "AddDepthwiseConv2D": "DEPTHWISE_CONV_2D", "AddFullyConnected": "FULLY_CONNECTED", "AddHardSwish": "HARD_SWISH",
    "AddLeakyRelu": "LEAKY_RELU", "AddLogistic": "LOGISTIC", "AddMaxPool2D": "MAX_POOL_2D", "AddMean": "MEAN",
    "AddMul": "MUL", "AddPad": "PAD", "AddPadV2": "PADV2", "AddQuantize": "QUANTIZE", "AddRelu": "RELU",
    "AddRelu6": "RELU6", "AddReshape": "RESHAPE", "AddSoftmax": "SOFTMAX", "AddSub": "SUB",
}  # fmt: skip

SCHEMA = """\
#pragma once
#include <stdint.h>
namespace tflite {
struct Model {
  uint32_t version() const {
    const char *const at = reinterpret_cast<const char *>(this) + 4;
    return at[0] == 'T' && at[1] == 'F' && at[2] == 'L' && at[3] == '3' ? 3 : 0;
  }
};
inline const Model *GetModel(const void *buf) { return static_cast<const Model *>(buf); }
}
"""

RESOLVER = """\
#pragma once
typedef enum TfLiteStatus { kTfLiteOk = 0, kTfLiteError = 1 } TfLiteStatus;
struct TFLMRegistration {};
namespace tflite {
struct MicroOpResolver {
  int codes[64];
  unsigned int length = 0;
};
template <unsigned int tOpCount>
class MicroMutableOpResolver : public MicroOpResolver {
 public:
  explicit MicroMutableOpResolver() {}
%s
 private:
  TfLiteStatus AddBuiltin(int op) {
    for (unsigned int i = 0; i < length; ++i) {
      if (codes[i] == op) return kTfLiteError;
    }
    if (length >= tOpCount) return kTfLiteError;
    codes[length++] = op;
    return kTfLiteOk;
  }
};
}
"""

# Where it finds an input among those that the real interpreter was given, it gives the output that this made of it.
INTERPRETER = """\
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "recorded.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/schema/schema_generated.h"
#define TFLITE_SCHEMA_VERSION (3)
typedef union TfLitePtrUnion { int32_t *i32; int16_t *i16; int8_t *int8; uint8_t *uint8; void *data; } TfLitePtrUnion;
typedef struct TfLiteTensor { TfLitePtrUnion data; size_t bytes; } TfLiteTensor;
namespace tflite {
class MicroResourceVariables;
class MicroProfilerInterface;
class MicroInterpreter {
 public:
  MicroInterpreter(const Model *model, const MicroOpResolver &op_resolver, uint8_t *tensor_arena,
                   size_t tensor_arena_size, MicroResourceVariables *resource_variables = nullptr,
                   MicroProfilerInterface *profiler = nullptr, bool preserve_all_tensors = false)
      : model_(model), resolver_(op_resolver), arena_(tensor_arena), size_(tensor_arena_size) {
    (void)resource_variables, (void)profiler, (void)preserve_all_tensors;
  }
  TfLiteStatus AllocateTensors() {
    if (reinterpret_cast<uintptr_t>(arena_) % 16 != 0 || reinterpret_cast<uintptr_t>(model_) % 16 != 0 ||
        size_ < NEEDED_BYTES || resolver_.length != sizeof needed / sizeof needed[0]) {
      return kTfLiteError;
    }
    for (int code : needed) {
      bool found = false;
      for (unsigned int i = 0; i < resolver_.length; ++i) found = found || resolver_.codes[i] == code;
      if (!found) return kTfLiteError;
    }
    input_.data.data = arena_;
    output_.data.data = arena_ + (INPUT_BYTES + 15) / 16 * 16;
    return kTfLiteOk;
  }
  TfLiteStatus Invoke() {
    for (int row = 0; row < ROWS; ++row) {
      bool same = true;
      for (int i = 0; i < INPUT_BYTES; ++i) same = same && input_.data.int8[i] == recorded_inputs[row][i];
      if (!same) continue;
      for (int i = 0; i < OUTPUT_BYTES; ++i) output_.data.uint8[i] = recorded_outputs[row][i];
      return kTfLiteOk;
    }
    return kTfLiteError;
  }
  TfLiteTensor *input(size_t index) { return index == 0 ? &input_ : nullptr; }
  TfLiteTensor *output(size_t index) { return index == 0 ? &output_ : nullptr; }
  size_t arena_used_bytes() const { return size_ < NEEDED_BYTES ? 48 : NEEDED_BYTES; }

 private:
  const Model *model_;
  const MicroOpResolver &resolver_;
  uint8_t *arena_;
  size_t size_;
  TfLiteTensor input_, output_;
};
}
"""

MAIN = """\
#include <stdio.h>
#include "mobo_measure.h"
static char line[MOBO_LINE_BYTES];
static uint32_t ticks(void) { static uint32_t now; return now += 100; }
int main(void) {
  const mobo_platform platform = {84000000u, ticks, 1000000u, 0};
  int i;
  for (i = 0; i < 2; ++i) {
    mobo_measure(&platform, line);
    fputs(line, stdout);
    mobo_keep_busy(&platform);
  }
  return 0;
}
"""


def tflm_request(place: Board, network, count: int = 3) -> ExportRequest:
    return replace(request(place, network, *vectors(network, count)), engine="tflm", policy=CompressionPolicy({}))


def rows_of(name: str, values: np.ndarray) -> str:
    rows = ",".join("{" + ",".join(map(str, row)) + "}" for row in values.tolist())
    return f"static const {values.dtype}_t {name}[{len(values)}][{values.shape[1]}] = {{{rows}}};\n"


def recorded(asked: ExportRequest, outputs: Integers, needed_bytes: int = 1024) -> str:
    """Return what the stub interpreter knows: the file's operators, and what the real one made of every input."""
    from mobo.export.tools import tflite_schema

    codes = tflite_schema().BuiltinOperator
    file = read_runnable(export_tflite(asked)[MODEL])
    inputs = asked.test_inputs.reshape(len(asked.test_inputs), -1)
    as_bytes = np.ascontiguousarray(outputs).view(np.uint8).reshape(len(outputs), -1)
    numbers = ",".join(str(getattr(codes, name)) for name in sorted(set(file.operators)))
    return (
        f"#define NEEDED_BYTES {needed_bytes}u\n#define ROWS {len(inputs)}\n#define INPUT_BYTES {inputs.shape[1]}\n"
        f"#define OUTPUT_BYTES {as_bytes.shape[1]}\nstatic const int needed[] = {{{numbers}}};\n"
        + rows_of("recorded_inputs", inputs)
        + rows_of("recorded_outputs", as_bytes)
    )


def stubs(known: str) -> dict[str, str]:
    from mobo.export.tools import tflite_schema

    codes = tflite_schema().BuiltinOperator
    calls = "".join(
        f"  TfLiteStatus {name}(const TFLMRegistration &registration = TFLMRegistration()) {{ (void)registration; return "
        f"AddBuiltin({getattr(codes, code)}); }}\n"
        for name, code in REGISTRATIONS.items()
    )
    micro = "tensorflow/lite/micro"
    headers = {
        "tensorflow/lite/schema/schema_generated.h": SCHEMA,
        f"{micro}/micro_mutable_op_resolver.h": RESOLVER % calls,
        f"{micro}/micro_interpreter.h": INTERPRETER,
        "recorded.h": known,
        "Chirale_TensorFlowLite.h": "",
    }
    return {f"stubs/{name}": text for name, text in (STUBS | headers).items()}


def lines_of(files: Files, known: str, folder: Path, *flags: str) -> list[bytes]:
    """Build a firmware for this machine with the stub interpreter, run it, and return the lines that it prints."""
    written(folder, {**files, **stubs(known), "main.c": MAIN})
    compiler = [*host_compiler().command, "-Wall", "-Wextra", "-Werror", "-Isrc", "-Istubs", *flags]
    cpp = ["-x", "c++", "-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
    subprocess.run([*compiler, *cpp, "-c", "-o", "model.o", "src/model.cpp"], cwd=folder, check=True)
    program = ["-std=c99", "-pedantic", "-o", "firmware", "main.c", "src/mobo_measure.c", "model.o"]
    subprocess.run([*compiler, *program], cwd=folder, check=True)
    return subprocess.run([folder / "firmware"], capture_output=True, check=True).stdout.splitlines(keepends=True)


@needs_tflm
@pytest.mark.parametrize(("name", "activation_bits"), [("depthwise", (8,)), ("residual", (16,))])
def test_it_prints_the_outputs_of_the_real_interpreter(
    name: str, activation_bits: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dense layers of 16 bits are not in the cost model of TFLM, whose interpreter runs them.
    monkeypatch.setattr(tflm, "predicted_arena_bytes", lambda *_: 4096)
    network = family(name, bits=(8,), activation_bits=activation_bits)
    asked = tflm_request(board(), network)
    outputs, _ = run_tflm(read_runnable(export_tflite(asked)[MODEL]), asked.test_inputs)
    files = export_firmware(asked)
    first, second = map(parse_line, lines_of(files, recorded(asked, outputs), tmp_path))
    assert first.checksums == second.checksums == checksums(asked.test_outputs)
    assert (first.engine, first.unit, first.counter, first.inferences) == ("tflm-cmsis-nn", "cycles", "ticks", 20)
    assert (first.export, first.board) == (printed_digest(files), "my-board")
    # The ticks of the stub's clock stand still between its calls.
    assert first.min == first.median == first.max == 100 * 84
    assert (first.arena_bytes, first.stack_bytes) == (1024, 0)


@pytest.mark.slow
@pytest.mark.skipif("TFLITE_MICRO_DIR" not in os.environ, reason="TFLITE_MICRO_DIR: a built checkout of tflite-micro")
@pytest.mark.parametrize("name", ["depthwise", "residual", "sequence"])
def test_linked_with_the_engine_it_prints_the_exported_checksums(name: str, tmp_path: Path) -> None:
    checkout = Path(os.environ["TFLITE_MICRO_DIR"]).resolve()
    (library,) = checkout.glob("gen/*/lib/libtensorflow-microlite.a")
    downloads = checkout / "tensorflow/lite/micro/tools/make/downloads"
    asked = tflm_request(board(), family(name, bits=(8,)))
    files = export_firmware(asked)
    written(tmp_path, {**files, "main.c": MAIN})
    # Structures with the pointers of this machine take more than those of a Cortex-M, whose arena is predicted.
    flags = ["-DTF_LITE_STATIC_MEMORY", "-DMODEL_ARENA_BYTES=262144", "-Isrc", "-w", f"-I{checkout}"]
    flags += [f"-I{downloads / folder}" for folder in ("flatbuffers/include", "gemmlowp", "ruy")]
    cpp = ["g++", *flags, "-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
    subprocess.run([*cpp, "-c", "-o", "model.o", "src/model.cpp"], cwd=tmp_path, check=True)
    for source in ("main.c", "src/mobo_measure.c"):
        subprocess.run(["gcc", *flags, "-std=c99", "-c", source], cwd=tmp_path, check=True)
    objects = ["main.o", "mobo_measure.o", "model.o", str(library)]
    subprocess.run(["g++", "-o", "firmware", *objects], cwd=tmp_path, check=True)
    lines = subprocess.run([tmp_path / "firmware"], capture_output=True, check=True).stdout.splitlines(keepends=True)
    report = parse_line(lines[0])
    assert report.checksums == checksums(asked.test_outputs)
    assert report.export == printed_digest(files)


def test_a_wrong_output_and_a_failed_inference_change_the_checksum(tmp_path: Path) -> None:
    asked = tflm_request(board(), family("depthwise"))
    files, wrong = export_firmware(asked), asked.test_outputs.copy()
    wrong[1, 0] ^= 1
    report = parse_line(lines_of(files, recorded(asked, wrong), tmp_path / "wrong")[0])
    assert [said == own for said, own in zip(report.checksums, checksums(asked.test_outputs), strict=True)] == [
        True,
        False,
        True,
    ]
    unknown = replace(asked, test_inputs=asked.test_inputs[:2], test_outputs=asked.test_outputs[:2])
    report = parse_line(lines_of(files, recorded(unknown, unknown.test_outputs), tmp_path / "failed")[0])
    assert report.checksums[:2] == checksums(asked.test_outputs)[:2]
    assert report.checksums[2] == checksums(np.zeros_like(asked.test_outputs[2:]))[0]


def test_why_it_cannot_start_is_told(tmp_path: Path) -> None:
    asked = tflm_request(board(), family("depthwise"))
    files, arena = dict(export_firmware(asked)), tflm.arena_bytes(asked, board())
    small = recorded(asked, asked.test_outputs, needed_bytes=arena + 1)
    lines = lines_of(files, small, tmp_path / "small")
    assert len(lines) == 2
    with pytest.raises(FailedError, match=rf"AllocateTensors failed when 48 of the arena's {arena:,} bytes.*-DMODEL_"):
        parse_line(lines[0])
    larger = lines_of(files, small, tmp_path / "large", f"-DMODEL_ARENA_BYTES={arena + 16}")
    assert parse_line(larger[0]).checksums == checksums(asked.test_outputs)
    model = files["src/model_data.h"]
    old = files | {"src/model_data.h": model.replace(b"84, 70, 76, 51", b"84, 70, 76, 50", 1)}
    with pytest.raises(FailedError, match="reads another version of tflite files; build it with a newer one"):
        parse_line(lines_of(old, recorded(asked, asked.test_outputs), tmp_path / "old")[0])
    source = re.sub(rb"Resolver<\d+>", b"Resolver<1>", files["src/model.cpp"])
    lines = lines_of(files | {"src/model.cpp": source}, recorded(asked, asked.test_outputs), tmp_path / "few")
    with pytest.raises(FailedError, match="lacks an operator of the file"):
        parse_line(lines[0])


def test_the_file_is_in_it_and_every_operator_once() -> None:
    asked = tflm_request(board(), family("residual"))
    data, files = export_tflite(asked)[MODEL], export_firmware(asked)
    text = files["src/model_data.h"].decode()
    assert "alignas(16) static const unsigned char model_data" in text
    numbers = re.findall(r"\d+", text[text.index("= {") : text.index("};")])
    assert bytes(map(int, numbers)) == data
    added = re.findall(r"resolver\.(Add\w+)\(\)", files["src/model.cpp"].decode())
    assert sorted(REGISTRATIONS[name] for name in added) == sorted(set(read_runnable(data).operators))
    assert f"MicroMutableOpResolver<{len(added)}>" in files["src/model.cpp"].decode()


def test_every_operator_that_can_be_written_has_its_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    written_codes = set(re.findall(r"\bcode\.([A-Z0-9_]+)", Path(tflite_operators.__file__).read_text()))
    assert written_codes == tflm.ADDED_BY.keys()
    assert {code: name for name, code in REGISTRATIONS.items() if code in written_codes} == dict(tflm.ADDED_BY)
    monkeypatch.setattr(tflm, "ADDED_BY", {"ADD": "AddAdd"})
    with pytest.raises(
        ExportError, match=r"the operator AVERAGE_POOL_2D, .* known are ADD: export with --engine mobo-c"
    ):
        export_firmware(tflm_request(board(), family("residual")))


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_the_arena_is_the_predicted_one_and_a_reserve(core: str) -> None:
    asked = tflm_request(board(core), family("depthwise", bits=(8,)))
    predicted = plan_memory(asked.network.graph, load_runtime("tflm-cmsis-nn"), core=core).arena_bytes
    header = export_firmware(asked)["src/model.h"].decode()
    reserved = int(header.partition("#define MODEL_ARENA_BYTES ")[2].split()[0])
    assert f"TFLM with CMSIS-NN: {predicted} bytes" in header
    assert predicted * 9 / 8 - 1 <= reserved <= predicted * 9 / 8 + 16
    assert reserved % 16 == 0


def test_its_sources_compile_for_a_core_against_stub_headers(compiler: Compiler, tmp_path: Path) -> None:
    asked = tflm_request(board(**EVERYWHERE), family("depthwise"))
    folder = written(tmp_path, {**export_firmware(asked), **stubs(recorded(asked, asked.test_outputs))})
    if compiler.is_zig:
        written(folder, {"stubs/string.h": f'extern "C" {{\n{BARE_STRING_H}}}\n'.replace("restrict ", "")})
    command = [*compiler.command, *compiler.bare_metal_flags("cortex-m4"), "-Wall", "-Wextra", "-Werror", "-Isrc"]
    command += ["-c", "-o", "out.o", "-Istubs"]
    cpp = ["-x", "c++", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
    builds = [
        [*cpp, "-std=gnu++17", "src/model.cpp"],
        [*cpp, "-std=gnu++14", "-DARDUINO=10607", "src/model.cpp"],
        [*cpp, "-std=gnu++14", "platformio/main.cpp"],
        ["-std=c99", "zephyr_app/src/main.c"],
    ]
    for flags in builds:
        subprocess.run([*command, *flags], cwd=folder, check=True, capture_output=True)
    own = [
        *compiler.command,
        *compiler.bare_metal_flags("cortex-m4"),
        *WARNINGS,
        "-Werror",
        "-Isrc",
        "-c",
        "-o",
        "out.o",
    ]
    if compiler.is_zig:
        own += ["-isystem", str(written(tmp_path / "headers", {"string.h": BARE_STRING_H}))]
    for kernels in ([], ["-DCONFIG_TENSORFLOW_LITE_MICRO"]):
        subprocess.run([*own, *kernels, "src/mobo_measure.c"], cwd=folder, check=True, capture_output=True)
    # Zephyr's configuration says with which kernels the engine was built.
    assert b"tflm-reference" in (folder / "out.o").read_bytes()


def test_the_forms_ask_for_the_engine() -> None:
    made = export_firmware(tflm_request(board(**EVERYWHERE), family("depthwise")))
    files = {name: data.decode() for name, data in made.items()}
    sources = {name for name in files if name.startswith("src/") and name.endswith((".c", ".cpp"))}
    assert set(re.findall(r"\.\./(src/\S+\.cp?p?)\b", files["zephyr/CMakeLists.txt"])) == sources
    assert "src/model.cpp" in sources
    assert "depends on TENSORFLOW_LITE_MICRO" in files["zephyr/Kconfig"]
    options = ("MOBO_MODEL", "CPP", "STD_CPP17", "TENSORFLOW_LITE_MICRO", "TENSORFLOW_LITE_MICRO_CMSIS_NN_KERNELS")
    assert {f"CONFIG_{name}=y" for name in options} <= set(files["zephyr_app/prj.conf"].splitlines())
    assert "no_threadsafe_statics" in files["zephyr_app/CMakeLists.txt"]
    assert "LANGUAGES" not in files["zephyr_app/CMakeLists.txt"]
    assert "depends=Chirale_TensorFLowLite (>=2.0.0)\n" in files["library.properties"]
    assert re.search(r"^lib_deps = https://\S+Chirale_TensorFlowLite\.git#[0-9a-f]{40}$", files["platformio.ini"], re.M)
    assert "-std=gnu++17" in files["platformio.ini"]
    assert "lib_compat_mode = off" in files["platformio.ini"]
    assert not [name for name in files if name.startswith("bare_metal")]
    readme = files["README.md"]
    assert NEVER_RUN in readme
    assert "There is no bare-metal image" in readme
    assert "--gdb" not in readme
    assert len(re.findall(r"-DMODEL_ARENA_BYTES=\d+", readme)) == 4
    plain = export_firmware(request(board(**EVERYWHERE)))
    assert not [name for name, data in plain.items() if b"TENSORFLOW" in data or b"Chirale" in data]


def test_what_the_cost_model_does_not_cover_is_an_error() -> None:
    network = family("depthwise", bits=(8,), activation_bits=(16,))
    with pytest.raises(ExportError, match=r"how large an arena TFLM needs is unknown: .*export with --engine mobo-c"):
        export_firmware(tflm_request(board(), network))


def test_every_listed_board_gets_one() -> None:
    network = family("depthwise", bits=(8,))
    devices = load_devices().values()
    for core in {device.core for device in devices}:
        device = next(device for device in devices if device.core == core and device.zephyr)
        place = Board(**{key: getattr(device, key) for key in Board.model_fields})
        assert "zephyr_app/prj.conf" in export_firmware(tflm_request(place, network))
