"""The front end of the C project: ``model_frontend.h``, its tables, its test."""

from collections.abc import Mapping

from mobo.export.c.text import array, comment, package_text
from mobo.export.fixed_front_end import FixedFrontEnd, FixedImage, FixedMfcc, FixedWindow, Stage, table_bytes
from mobo.export.front_end import fixed_front_end
from mobo.export.request import ExportRequest, FrontEnd, ImageFrontEnd, WindowFrontEnd
from mobo.tinyml.tasks.mfcc import BANDS

SOURCE = "model_frontend.c"
"""What is compiled beside ``model.c``."""

_HEADER = """\
/* {title}: from the sensor's samples to the network's input, in integers.
 *
{about}
 * {distance}
 */
#ifndef MODEL_FRONTEND_H
#define MODEL_FRONTEND_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

{sizes}
/* RAM beside the stack, the samples and the input; flash of the constant tables. */
#define MODEL_FRONTEND_RAM_BYTES {ram_bytes}
#define MODEL_FRONTEND_TABLE_BYTES {table_bytes}

typedef {dtype}_t model_sample;

/* Turns MODEL_FRONTEND_SAMPLES samples into MODEL_INPUT_BYTES values; `input` may be model_input(). Not re-entrant. */
void model_frontend(const model_sample *samples, int8_t *input);

#ifdef __cplusplus
}}
#endif

#endif
"""

_STAGE = """\
/* The standardisation and the input's scale: (value * factor + offset) >> shift. */
typedef struct {{
  int32_t factor, shift;
  int64_t offset;
}} frontend_row;
static const frontend_row frontend_stages[{count}] = {{
{rows}
}};

static int8_t frontend_stage(int index, int32_t value) {{
  const frontend_row *row = frontend_stages + index{of};
  int64_t scaled;
#if defined(__GNUC__)
  /* A few rows would be spelt out in the code, where they take more flash. */
  __asm__("" : "+r"(row));
#endif
  scaled = ((int64_t)value * row->factor + row->offset) >> row->shift;
  return (int8_t)(scaled < -128 ? -128 : scaled > 127 ? 127 : scaled);
}}
"""

_WINDOW = """\
void model_frontend(const int16_t *samples, int8_t *input) {{
  int32_t index, n = 0;
  while (n < MODEL_FRONTEND_SAMPLES) {{
    for (index = 0; index < {period}; ++index, ++n) {{
      input[n] = frontend_stage((int)index, samples[n]);
    }}
  }}
}}
"""

_TEST = """\
/* Runs the front end on raw inputs on the host; 0 when every value is the expected one. */
#include <stdio.h>
#include <string.h>

#include "../model.h"
#include "../model_frontend.h"
#include "frontend_vectors.h"

int main(void) {
  int wrong = 0, i;
  for (i = 0; i < FRONTEND_VECTORS; ++i) {
    model_frontend(frontend_samples + (size_t)i * MODEL_FRONTEND_SAMPLES, model_input());
    if (memcmp(model_input(), frontend_inputs + (size_t)i * MODEL_INPUT_BYTES, MODEL_INPUT_BYTES) != 0) {
      printf("raw input %d: another network input than expected\\n", i);
      ++wrong;
    }
  }
  printf("%d of %d raw inputs as expected\\n", FRONTEND_VECTORS - wrong, FRONTEND_VECTORS);
  return wrong != 0;
}
"""

_README = """\
## Front end

`model_frontend.c` turns {samples:,} {dtype} samples into the network's input, without floating point, without a heap:

```c
#include "model_frontend.h"

model_frontend(samples, model_input());
int class = model_predict(NULL, scores);
```

{about}

Standardisation and the scale of the input are in it. RAM {ram:,} bytes beside the stack and the samples
({sample_bytes:,} bytes, yours); tables {tables:,} bytes of flash. {distance}
"""


def fixed(request: ExportRequest) -> FixedMfcc | FixedWindow | FixedImage | None:
    """Return the integers of a model's front end; None where it has none.

    Raises:
        ExportError: It does not fit the network.
    """
    if request.front_end is None:
        return None
    return fixed_front_end(request.front_end.form, request.network, request.mean, request.deviation)


def frontend_sources(request: ExportRequest, title: str) -> dict[str, str]:
    """Return the sources of a model's front end by path; none where it has none."""
    front_end, integers = request.front_end, fixed(request)
    if front_end is None or integers is None:
        return {}
    texts = {"model_frontend.h": _header(front_end, integers, title), SOURCE: _source(integers, title)}
    if isinstance(integers, FixedMfcc):
        texts["kernels/mobo_frontend_mfcc.h"] = package_text("frontend/mobo_frontend_mfcc.h")
    if isinstance(integers, FixedImage):
        texts["kernels/mobo_frontend_image.h"] = package_text("frontend/mobo_frontend_image.h")
    return texts


def frontend_test(request: ExportRequest) -> dict[str, str]:
    """Return the test of a model's front end by path; none where it has none."""
    integers = fixed(request)
    if integers is None or request.raw_inputs is None:
        return {}
    raw = request.raw_inputs
    vectors = (
        "/* Raw inputs and the network's inputs for them. */\n"
        f"#include <stdint.h>\n\n#define FRONTEND_VECTORS {len(raw)}\n\n"
        + array(f"{raw.dtype}_t frontend_samples", raw)
        + array("int8_t frontend_inputs", integers(raw))
    )
    return {"test/test_frontend.c": _TEST, "test/frontend_vectors.h": vectors}


def frontend_readme(request: ExportRequest) -> str:
    """Return what the project's README says of a front end; empty where there is none."""
    front_end, integers = request.front_end, fixed(request)
    if front_end is None or integers is None:
        return ""
    samples = front_end.form.samples
    return _README.format(
        samples=samples,
        about=" ".join(_about(front_end)),
        ram=integers.ram_bytes,
        sample_bytes=front_end.form.sample_bytes,
        dtype=front_end.form.dtype,
        tables=table_bytes(integers),
        distance=distance_text(front_end),
    )


def distance_text(front_end: FrontEnd) -> str:
    """Return in a sentence how far the integers are from the front end of training."""
    found = front_end.distance
    origin = "" if found.source == "data" else f" ({found.source})"
    return (
        f"Of {found.inputs:,} inputs{origin}, {100 * found.equal / found.values:.2f} % of the values are those of "
        f"training, the largest difference is {found.largest} of 256 steps."
    )


def front_end_line(request: ExportRequest) -> str | None:
    """Return in a line what a model's front end is and takes; None where it has none."""
    front_end, integers = request.front_end, fixed(request)
    if front_end is None or integers is None:
        return None
    return (
        f"front end in C ({front_end.form.kind}): RAM {integers.ram_bytes:,} bytes beside "
        f"{front_end.form.sample_bytes:,} of samples, tables {table_bytes(integers):,} bytes of flash. "
        f"{distance_text(front_end)}"
    )


def makefile(text: str, request: ExportRequest) -> str:
    """Return the project's Makefile, with the front end and its test where there is one."""
    if request.front_end is None:
        return text
    run = "\n\nbuild/test_frontend: $(SOURCES) $(HEADERS) test/test_frontend.c test/frontend_vectors.h\n"
    run += "\t@mkdir -p build\n\t$(CC) $(WARNINGS) $(CFLAGS) -Ikernels -o $@ $(SOURCES) test/test_frontend.c"
    text = text.replace("model_quantise_input.c $(wild", f"model_quantise_input.c {SOURCE} $(wild")
    text = text.replace("HEADERS := model.h ", "HEADERS := model.h model_frontend.h ")
    text = text.replace("test: build/test_model\n", "test: build/test_model build/test_frontend\n")
    text = text.replace("\t./build/test_model\n", "\t./build/test_model\n\t./build/test_frontend\n")
    return text.replace("$(SOURCES) test/test_model.c", f"$(SOURCES) test/test_model.c{run}")


def _about(front_end: FrontEnd) -> tuple[str, ...]:
    form = front_end.form
    if isinstance(form, WindowFrontEnd):
        powers = ", ".join(str(bits) for bits in form.fraction_bits)
        scales = "the raw value" if not any(form.fraction_bits) else f"the raw value times 2 to the power {powers}"
        return (
            f"{form.length} rows of {len(form.fraction_bits)} channels, the oldest first.",
            f"A sample is {scales}" + (" (channel by channel), rounded." if any(form.fraction_bits) else "."),
        )
    if isinstance(form, ImageFrontEnd):
        colours = "grey" if form.channels == 1 else "red, green, blue"
        return (
            f"An image of {form.height} x {form.width} pixels of 8 bits, {colours}, row by row;",
            "what makes it grey and scales it computes as Pillow does, to the bit.",
        )
    return (
        f"A clip of {form.clip_samples} samples at {form.sample_rate_hz} Hz; its loudness is divided out.",
        f"Frames of {form.coefficients} MFCC: 30 ms Hann windows every 20 ms, {BANDS} mel bands "
        f"to {form.highest_hz:g} Hz.",
    )


def _header(front_end: FrontEnd, integers: FixedFrontEnd, title: str) -> str:
    form = front_end.form
    sizes = {"SAMPLES": str(form.samples)}
    if isinstance(form, WindowFrontEnd):
        sizes |= {"ROWS": str(form.length), "CHANNELS": str(len(form.fraction_bits))}
    elif isinstance(form, ImageFrontEnd):
        sizes |= {"HEIGHT": str(form.height), "WIDTH": str(form.width), "CHANNELS": str(form.channels)}
    else:
        sizes["RATE_HZ"] = str(form.sample_rate_hz)
    return _HEADER.format(
        title=comment(title),
        about="\n".join(f" * {line}" for line in _about(front_end)),
        distance=distance_text(front_end),
        sizes="\n".join(f"#define MODEL_FRONTEND_{name} {value}" for name, value in sizes.items()),
        ram_bytes=integers.ram_bytes,
        table_bytes=table_bytes(integers),
        dtype=form.dtype,
    )


def _source(integers: FixedMfcc | FixedWindow | FixedImage, title: str) -> str:
    head = f'/* {comment(title)} */\n#include "model_frontend.h"\n\n'
    tables = "".join(array(f"{table.dtype}_t frontend_{name}", table) for name, table in integers.tables.items())
    if isinstance(integers, FixedMfcc):
        body = f'{_stage(integers.stage)}\n{_mfcc(integers)}\n#include "mobo_frontend_mfcc.h"\n'
    elif isinstance(integers, FixedImage):
        body = f'{_image(integers)}\n#include "mobo_frontend_image.h"\n'
    else:
        body = f"{_stage(integers.stage)}\n{_WINDOW.format(period=len(integers.stage.factors))}"
    return head + tables + body


def _stage(stage: Stage) -> str:
    rows = zip(stage.factors.tolist(), stage.shifts.tolist(), stage.offsets.tolist(), strict=True)
    lines = ",\n".join(f"  {{{factor}, {shift}, INT64_C({offset})}}" for factor, shift, offset in rows)
    # One row serves every element; the index says nothing then.
    return _STAGE.format(count=len(stage.factors), rows=lines, of="" if len(stage.factors) > 1 else " * 0")


def _image(integers: FixedImage) -> str:
    height, width, channels = integers.target
    return _definitions(
        {
            "HEIGHT": height,
            "WIDTH": width,
            "CHANNELS": channels,
            "TABLES": len(integers.lookup),
            "GREY": int(integers.is_grey),
            "SCALED": int(integers.is_scaled),
        }
    )


def _definitions(named: Mapping[str, int]) -> str:
    return "".join(f"#define FRONTEND_{name} {value}\n" for name, value in named.items())


def _mfcc(integers: FixedMfcc) -> str:
    features = integers.features
    mantissa, shift = integers.floor
    named = {
        "FFT": features.fft_length,
        "LOG2_FFT": features.fft_length.bit_length() - 1,
        "WINDOW": features.window,
        "HOP": features.hop,
        "FRAMES": features.frames,
        "BANDS": BANDS,
        "COEFFICIENTS": features.coefficients,
        "FIRST_BIN": integers.first_bin,
        "FLOOR_SHIFT": shift,
    }
    return f"{_definitions(named)}#define FRONTEND_FLOOR {mantissa}u\n"
