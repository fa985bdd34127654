"""Count TFLM's operator DECODE on emulated cores, for weights of a stored width.

    python -m experiments.code.count_decode --tflite-micro DIR

Compiles ``decode_state_lut.cc`` of a checkout of tflite-micro (commit 90b983c2b3f1) for every emulated core, against
headers with as little as it asks for, decodes weights of many sizes (they must come out as they went in), and fits
instructions by how many weights it takes in groups, one by one, and per channel. Writes ``hw_models/decoding.toml``:
coefficients and their spread; prints the errors.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tomlkit
from scipy.optimize import nnls

from envs.compression.integer.weight_grid import weight_limit
from hw_models.decoding import DECODED_BITS, FILE, Decoding
from mobo.export.c.text import package_text
from mobo.export.firmware.elf import Image, read_image
from mobo.export.firmware.emulator import CORES, EmulatedCore
from mobo.export.firmware.toolchain import arm_compiler, run
from mobo.export.tflite.decode import ancillary, encoded

_UPSTREAM = "tensorflow/lite/micro/kernels/decode_state_lut"
# Channels, weights of each; with the channels as the first axis and as the last.
_SIZES = ((1, 640), (4, 27), (8, 75), (10, 64), (16, 27), (16, 144), (24, 16), (32, 9), (64, 40), (64, 144), (128, 25))
_SEED = 5

# What the source asks of TFLM's headers.
_TYPES = """\
#pragma once
#include <stddef.h>
#include <stdint.h>
#define TFLITE_DCHECK(x)
#define TF_LITE_REMOVE_VIRTUAL_DELETE void operator delete(void *) {}
namespace std {
template <class A, class B> struct is_same { static constexpr bool value = false; };
template <class A> struct is_same<A, A> { static constexpr bool value = true; };
}
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
enum TfLiteType { kTfLiteBool, kTfLiteFloat32, kTfLiteInt8, kTfLiteInt16, kTfLiteInt32, kTfLiteInt64 };
enum { kTfLiteAffineQuantization = 1 };
struct TfLiteIntArray { int size; };
struct TfLiteAffineQuantization { TfLiteIntArray *scale; int quantized_dimension; };
struct TfLiteTensor { struct { int type; void *params; } quantization; TfLiteIntArray *dims; void *data; int count; };
struct TfLiteEvalTensor { void *data; TfLiteType type; };
struct TfLiteContext;
inline void MicroPrintf(const char *, ...) {}
inline const char *TfLiteTypeGetName(TfLiteType) { return ""; }
namespace tflite {
struct MicroProfilerInterface;
struct ScopedMicroProfiler { ScopedMicroProfiler(const char *, MicroProfilerInterface *) {} };
template <class T> const T *GetTensorData(const TfLiteTensor *tensor) { return (const T *)tensor->data; }
inline size_t NumElements(const TfLiteTensor *tensor) { return tensor->count; }
namespace micro {
template <class T> const T *GetTensorData(const TfLiteEvalTensor *tensor) { return (const T *)tensor->data; }
}
class DecodeState {
 public:
  DecodeState(const TfLiteContext *, MicroProfilerInterface *profiler) : micro_profiler_(profiler) {}
  virtual TfLiteStatus Setup(const TfLiteTensor &, const TfLiteTensor &, const TfLiteTensor &) = 0;
  virtual TfLiteStatus Decode(const TfLiteEvalTensor &, const TfLiteEvalTensor &, const TfLiteEvalTensor &) = 0;
  static constexpr size_t kDcmSizeInBytes = 16;
 protected:
  virtual ~DecodeState() = default;
  MicroProfilerInterface *micro_profiler_;
};
}
"""
_HEADERS = (
    "cstddef", "cstdint", "type_traits", "tensorflow/lite/kernels/internal/compatibility.h",
    "tensorflow/lite/kernels/internal/tensor_ctypes.h", "tensorflow/lite/kernels/kernel_util.h",
    "tensorflow/lite/micro/compatibility.h", "tensorflow/lite/micro/kernels/decode_state.h",
    "tensorflow/lite/micro/micro_log.h", "tensorflow/lite/micro/micro_profiler.h",
)  # fmt: skip
_PROBE = """\
#include "tensorflow/lite/micro/kernels/decode_state_lut.h"
struct State : tflite::DecodeStateLut {
  State() : DecodeStateLut(nullptr, nullptr) {}
  void operator delete(void *) {}
};
extern "C" {
uint8_t indices[32768] __attribute__((aligned(16))), table[128];
int8_t weights[32768] __attribute__((aligned(16)));
int32_t shape[3]; /* weights, channels, the channels' axis */
void *__dso_handle;
void __cxa_pure_virtual() {}
int decode() {
  State state;
  TfLiteIntArray channels{shape[1]}, dims{4};
  TfLiteAffineQuantization scales{&channels, shape[2]};
  TfLiteTensor input{{0, nullptr}, nullptr, indices, 0}, told{{0, nullptr}, nullptr, table, 0};
  TfLiteTensor output{{kTfLiteAffineQuantization, &scales}, &dims, nullptr, shape[0]};
  if (state.Setup(input, told, output) != kTfLiteOk) return 1;
  return state.Decode({indices, kTfLiteInt8}, {table, kTfLiteInt8}, {weights, kTfLiteInt8});
}
int main() { for (;;) decode(); }
}
"""


def main() -> None:
    """Count, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tflite-micro", type=Path, required=True, help="a checkout of tflite-micro")
    parser.add_argument("--out", type=Path, default=FILE, help="where the fits go")
    arguments = parser.parse_args()
    document = tomlkit.document()
    document.add(tomlkit.comment("Written by python -m experiments.code.count_decode; see decoding.py."))
    for core in CORES:
        document.add(core, _fitted(core, _built(arguments.tflite_micro, core)))
    arguments.out.write_text(tomlkit.dumps(document), encoding="utf-8")


def _built(checkout: Path, core: str) -> Image:
    compiler = arm_compiler()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for header in _HEADERS:
            (folder / header).parent.mkdir(parents=True, exist_ok=True)
            (folder / header).write_text('#include "types.h"\n', encoding="utf-8")
        (folder / "types.h").write_text(_TYPES, encoding="utf-8")
        for ending in (".h", ".cc"):
            (folder / f"{_UPSTREAM}{ending}").write_bytes((checkout / f"{_UPSTREAM}{ending}").read_bytes())
        (folder / "probe.cc").write_text(_PROBE, encoding="utf-8")
        for part in ("startup.c", "cortex_m.ld"):
            (folder / part).write_text(package_text(f"bare_metal/{part}"), encoding="utf-8")
        flags = [*compiler.bare_metal_flags(core), "-O2", "-ffunction-sections", "-fdata-sections", "-I."]
        plain = ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics"]
        objects: list[str] = []
        for source in (f"{_UPSTREAM}.cc", "probe.cc", "startup.c"):
            objects.append(f"{len(objects)}.o")
            language = ["-x", "c"] if source.endswith(".c") else ["-x", "c++", *plain]
            run([*compiler.command, *flags, *language, "-c", source, "-o", objects[-1]], folder=folder)
        link = ["-Wl,--gc-sections", "-T", "cortex_m.ld", "-o", "image.elf", *objects]
        run([*compiler.command, *flags, *link], folder=folder)
        return read_image((folder / "image.elf").read_bytes())


def _counted(core: str, image: Image) -> Iterator[tuple[Decoding, int]]:
    emulated, generator = EmulatedCore(image, core), np.random.default_rng(_SEED)
    for bits in DECODED_BITS:
        limit, told = weight_limit(8, bits), np.frombuffer(ancillary(bits), np.int8)
        for channels, each in _SIZES:
            for is_last in (False, True) if channels > 1 else (False,):
                values = generator.integers(-limit, limit + 1, channels * each, dtype=np.int8)
                emulated.write(emulated.address("indices"), np.frombuffer(encoded(values, bits), np.int8))
                emulated.write(emulated.address("table"), told)
                shape = np.array([values.size, channels, 3 if is_last else 0], "<i4")
                emulated.write(emulated.address("shape"), shape.view(np.int8))
                call = emulated.call("decode")
                assert call.result == 0
                np.testing.assert_array_equal(emulated.read(emulated.address("weights"), values.size), values)
                yield Decoding(bits, values.size, channels, is_last), call.instructions


def _fitted(core: str, image: Image) -> Any:
    """Return the table of a core, and print how far it is from the counts."""
    counted = list(_counted(core, image))
    widths, errors = tomlkit.table(), []
    for width in dict.fromkeys(work.width for work, _ in counted):
        rows = [(work.terms, count) for work, count in counted if work.width == width]
        names = [name for name in rows[0][0] if any(terms[name] for terms, _ in rows)]
        terms, counts = np.array([[row[name] for name in names] for row, _ in rows], float), [c for _, c in rows]
        found, _ = nnls(terms / np.array(counts)[:, None], np.ones(len(counts)))
        errors += np.log(terms @ found / counts).tolist()
        form = tomlkit.inline_table()
        for name, value in zip(names, found, strict=True):
            form.add(name, float(f"{value:.4g}"))
        widths.add(width, form)
    print(f"{core}: {len(counted)} counts, errors {100 * np.mean(np.abs(errors)):.1f} % mean, "
          f"{100 * np.max(np.abs(errors)):.1f} % largest")  # fmt: skip
    table = tomlkit.table()
    table.add("log_std", float(f"{np.sqrt(np.mean(np.square(errors))):.3g}"))
    table.add("rows", len(counted))
    table.add("instructions", widths)
    return table


if __name__ == "__main__":
    main()
