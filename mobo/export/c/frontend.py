"""What surrounds the network in the C project: the front end before it, the threshold of an anomaly behind it."""

from collections.abc import Mapping

from hw_models.front_end import BANDS
from mobo.export.c.labels import LABEL_SOURCE, predict_call
from mobo.export.c.text import array, comment, package_text
from mobo.export.fixed_front_end import (
    DROPPED_BITS,
    FixedFrontEnd,
    FixedImage,
    FixedMfcc,
    FixedScore,
    FixedWindow,
    Stage,
    table_bytes,
)
from mobo.export.front_end import fixed_front_end
from mobo.export.request import AnomalyThreshold, ExportRequest, FrontEnd, ImageFrontEnd, WindowFrontEnd

SOURCE, ANOMALY_SOURCE = "model_frontend.c", "model_anomaly.c"
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

_ANOMALY_HEADER = """\
/* {title}: whether an input is anomalous, by how badly the model reconstructs it.
 *
 * {about}
 */
#ifndef MODEL_ANOMALY_H
#define MODEL_ANOMALY_H

#include <stddef.h>

#include "model.h"

#ifdef __cplusplus
extern "C" {{
#endif

/* The largest score of a normal input; define another one before this header where false alarms cost more, or less. */
#ifndef MODEL_ANOMALY_THRESHOLD
#define MODEL_ANOMALY_THRESHOLD UINT64_C({threshold})
#endif
/* The mean squared error that a score of 1 stands for, of standardised inputs. */
#define MODEL_ANOMALY_UNIT {unit:.9e}

/* Returns 1 for an anomalous input, else 0.
 *
 * `input`: what model_predict was given, in memory of your own; `output`: what it returned. `score`: where the squared
 * error goes, or NULL. */
int model_is_anomalous(const int8_t *input, const model_output *output, uint64_t *score);

#ifdef __cplusplus
}}
#endif

#endif
"""

_ANOMALY_SOURCE = """\
/* {title} */
#include "model_anomaly.h"

int model_is_anomalous(const int8_t *input, const model_output *output, uint64_t *score) {{
  const int32_t positions = (int32_t)MODEL_INPUT_HEIGHT * MODEL_INPUT_WIDTH;
  uint64_t sum = 0;
  int32_t channel, position;
  /* Outputs lie channel by channel. */
  for (channel = 0; channel < MODEL_INPUT_CHANNELS; ++channel) {{
    for (position = 0; position < positions; ++position) {{
      const int32_t given = input[position * MODEL_INPUT_CHANNELS + channel] - ({input_zero_point});
      const int32_t made = *output++ - ({output_zero_point});
      const int32_t difference = (given * {input_factor} - made * {output_factor}) >> {dropped};
      sum += (uint64_t)((int64_t)difference * difference);
    }}
  }}
  if (score != NULL) {{
    *score = sum;
  }}
  return sum > MODEL_ANOMALY_THRESHOLD;
}}
"""

_ANOMALY_TEST = """\
/* Scores the test vectors on the host; 0 when every score is the expected one. */
#include <stdio.h>

#include "../model_anomaly.h"
#include "anomaly_vectors.h"
#include "test_vectors.h"

int main(void) {
  int wrong = 0, i;
  for (i = 0; i < TEST_VECTORS; ++i) {
    uint64_t score;
    model_is_anomalous(test_inputs + (size_t)i * MODEL_INPUT_BYTES, test_outputs + (size_t)i * MODEL_OUTPUTS, &score);
    if (score != anomaly_scores[i]) {
      printf("test vector %d: another score than expected\\n", i);
      ++wrong;
    }
  }
  printf("%d of %d scores as expected\\n", TEST_VECTORS - wrong, TEST_VECTORS);
  return wrong != 0;
}
"""

_ANOMALY_README = """\
## Anomalies

```c
#include "model_anomaly.h"

memcpy(input, model_input(), MODEL_INPUT_BYTES); /* the arena is overwritten */
model_predict(NULL, scores);
if (model_is_anomalous(input, scores, NULL)) {{ … }}
```

{about} It computes with integers alone and keeps no variables.
"""

_README = """\
## Front end

`model_frontend.c` turns {samples:,} {dtype} samples into the network's input, without floating point, without a heap:

```c
#include "model_frontend.h"

model_frontend(samples, model_input());
{call}
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


def anomaly_files(request: ExportRequest, title: str) -> dict[str, str]:
    """Return the sources that judge a reconstruction by path; none where nothing is reconstructed."""
    threshold = request.anomaly
    if threshold is None:
        return {}
    score = FixedScore.of(request.network)
    source = _ANOMALY_SOURCE.format(
        title=comment(title),
        input_zero_point=score.zero_points[0],
        output_zero_point=score.zero_points[1],
        input_factor=score.factors[0],
        output_factor=score.factors[1],
        dropped=DROPPED_BITS,
    )
    header = _ANOMALY_HEADER.format(
        title=comment(title), about=threshold_text(threshold), threshold=threshold.score, unit=score.unit
    )
    return {"model_anomaly.h": header, ANOMALY_SOURCE: source}


def anomaly_test(request: ExportRequest) -> dict[str, str]:
    """Return the test of what judges a reconstruction by path; none where nothing is reconstructed."""
    if request.anomaly is None:
        return {}
    scores = FixedScore.of(request.network)(request.test_inputs, request.test_outputs)
    vectors = array("uint64_t anomaly_scores", [f"UINT64_C({score})" for score in scores.tolist()])
    return {
        "test/test_anomaly.c": _ANOMALY_TEST,
        "test/anomaly_vectors.h": f"/* The scores of the test vectors. */\n#include <stdint.h>\n\n{vectors}",
    }


def threshold_text(threshold: AnomalyThreshold) -> str:
    """Return in a sentence what a threshold does to the validation split."""
    return (
        f"Of the validation split {threshold.false_alarms:,} of {threshold.normal:,} normal and "
        f"{threshold.detected:,} of {threshold.anomalous:,} anomalous inputs lie above the threshold."
    )


def frontend_readme(request: ExportRequest) -> str:
    """Return what the project's README says of a front end and a threshold; empty where there is neither."""
    front_end, integers = request.front_end, fixed(request)
    anomaly = "" if request.anomaly is None else _ANOMALY_README.format(about=threshold_text(request.anomaly))
    if front_end is None or integers is None:
        return anomaly
    samples = front_end.form.samples
    return _README.format(
        samples=samples,
        about=" ".join(_about(front_end)),
        call=predict_call(request),
        ram=integers.ram_bytes,
        sample_bytes=front_end.form.sample_bytes,
        dtype=front_end.form.dtype,
        tables=table_bytes(integers),
        distance=distance_text(front_end),
    ) + (f"\n{anomaly}" if anomaly else "")


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
    """Return the project's Makefile, with front end, threshold, labels and their tests where there are some."""
    parts = [("frontend", SOURCE)] if request.front_end is not None else []
    parts += [("anomaly", ANOMALY_SOURCE)] if request.anomaly is not None else []
    parts += [("labels", LABEL_SOURCE)] if request.labels is not None else []
    for name, source in reversed(parts):
        rule = f"\n\nbuild/test_{name}: $(SOURCES) $(HEADERS) test/test_{name}.c $(wildcard test/*.h)\n"
        rule += f"\t@mkdir -p build\n\t$(CC) $(WARNINGS) $(CFLAGS) -Ikernels -o $@ $(SOURCES) test/test_{name}.c"
        text = text.replace("model_quantise_input.c ", f"model_quantise_input.c {source} ")
        text = text.replace("HEADERS := model.h ", f"HEADERS := model.h {source.removesuffix('c')}h ")
        text = text.replace("test: build/test_model", f"test: build/test_model build/test_{name}")
        text = text.replace("\t./build/test_model\n", f"\t./build/test_model\n\t./build/test_{name}\n")
        text = text.replace("$(SOURCES) test/test_model.c", f"$(SOURCES) test/test_model.c{rule}")
    return text


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
        f"Frames of {form.coefficients} MFCC: {form.frame_ms:g} ms Hann windows every {form.step_ms:g} ms, {BANDS} mel "
        f"bands to {form.highest_hz:g} Hz.",
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
