"""``model.h`` and ``model.c`` of the C project: constants of every layer, the arena, the calls in order."""

from collections.abc import Mapping
from math import prod

import numpy as np

from envs.compression.integer.network import QuantisedNetwork
from hw_models.graph.layer_graph import INPUT, Layer
from hw_models.graph.patches import rows_above, rows_read
from mobo.export.c.layers import CLayer, outside_arrays
from mobo.export.c.memory import ArenaPlan
from mobo.export.c.text import array, comment, identifier

_HEADER = """\
/* {title}
 *
 * Input: {height} x {width} x {channels} int8, channels last. Output: {outputs} int{output_bits}.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_INPUT_HEIGHT {height}
#define MODEL_INPUT_WIDTH {width}
#define MODEL_INPUT_CHANNELS {channels}
#define MODEL_INPUT_BYTES {input_bytes}
#define MODEL_OUTPUTS {outputs}
/* real = scale * (integer - zero point) */
#define MODEL_INPUT_SCALE {input_scale}f
#define MODEL_INPUT_ZERO_POINT ({input_zero_point})
#define MODEL_OUTPUT_SCALE {output_scale}f
#define MODEL_OUTPUT_ZERO_POINT ({output_zero_point})
{arena}
typedef int{output_bits}_t model_output;

/* Runs the network and returns the index of the largest output, the first of equal ones: the class, of a classifier.
 *
 * `input`: MODEL_INPUT_BYTES values, or NULL when they have been written to model_input(), which saves the copy.
 * `output`: room for MODEL_OUTPUTS values, or NULL. Not re-entrant: there is one arena. */
int model_predict(const int8_t *input, model_output *output);

/* Where the next input may be written; a call of model_predict overwrites it. */
int8_t *model_input(void);

/* Turns real numbers (standardised as in training) into int8; `input` may be model_input(). */
void model_quantise_input(const float *values, int8_t *input);
{calls}
#ifdef __cplusplus
}}
#endif

#endif
"""

_SOURCE = """\
/* {title} */
#include "model.h"

#include <string.h>

{includes}

{constants}
/* One arena; every offset is fixed, those of int16 tensors are even. */
static union {{
  uint32_t alignment;
  int16_t halves[MODEL_ARENA_BYTES / 2];
  int8_t bytes[MODEL_ARENA_BYTES];
}} arena;
#define AT8(offset) (arena.bytes + (offset))
#define AT16(offset) (arena.halves + (offset) / 2)

int8_t *model_input(void) {{ return {input}; }}

int model_predict(const int8_t *input, model_output *output) {{
  const model_output *const result = {output};
  int best = 0, i;
  if (input != NULL && input != {input}) {{
    memcpy({input}, input, MODEL_INPUT_BYTES);
  }}
{calls}
  for (i = 1; i < MODEL_OUTPUTS; ++i) {{
    if (result[i] > result[best]) {{
      best = i;
    }}
  }}
  if (output != NULL) {{
    memcpy(output, result, sizeof(model_output) * MODEL_OUTPUTS);
  }}
  return best;
}}
"""

_PATCHES = """\
/* The first layers run once per patch, {rows} rows of the last of them at a time. Of every patch and layer: rows that
 * it reads, rows that it makes, rows of padding above these, and rows of every input that it leaves out at the top. */
enum {{ READ, MADE, ABOVE, LEFT_OUT }};
"""

_PATCHED_CALL = """\
    {{
      const uint16_t *const rows = {table} + i * {columns};
      {structure} part = {constant};
{parts}
      {kernel}({arguments});
    }}"""

QUANTISE_SOURCE = """\
#include "model.h"

void model_quantise_input(const float *values, int8_t *input) {
  int i;
  for (i = 0; i < MODEL_INPUT_BYTES; ++i) {
    const float scaled = values[i] / MODEL_INPUT_SCALE;
    /* Clamped before the conversion, which is undefined beyond an int; a value that is no number becomes the least. */
    const float bounded = scaled > -512.0f ? (scaled < 512.0f ? scaled : 512.0f) : -512.0f;
    const int rounded = (int)(bounded + (bounded < 0.0f ? -0.5f : 0.5f)) + MODEL_INPUT_ZERO_POINT;
    input[i] = (int8_t)(rounded < -128 ? -128 : rounded > 127 ? 127 : rounded);
  }
}
"""


def float_literal(value: float) -> str:
    """Return a float32 so that C reads the same number, without its suffix.

    >>> float_literal(1.0), float_literal(0.1)
    ('1.0', '0.1')
    """
    return str(np.float32(value)) if "e" not in str(np.float32(value)) else f"{np.float32(value):.9e}"


def static_arena(plan: ArenaPlan) -> str:
    """Return what ``model.h`` says of an arena that is planned when the code is written."""
    return f"/* All RAM the model uses, the stack apart. */\n#define MODEL_ARENA_BYTES {plan.bytes}\n"


def header(network: QuantisedNetwork, arena: str, title: str, *, calls: str = "") -> str:
    """Return ``model.h``.

    Args:
        network: The network.
        arena: What it says of the arena.
        title: What the model is.
        calls: Further declarations.
    """
    graph, tensors = network.graph, network.tensors
    height, width, channels = graph.input_shape
    return _HEADER.format(
        title=comment(title),
        height=height,
        width=width,
        channels=channels,
        input_bytes=height * width * channels,
        outputs=prod(graph.shapes[graph.output]),
        output_bits=graph.bits[graph.output],
        input_scale=float_literal(tensors[INPUT].scale),
        input_zero_point=tensors[INPUT].zero_point,
        output_scale=float_literal(tensors[graph.output].scale),
        output_zero_point=tensors[graph.output].zero_point,
        arena=arena,
        calls=calls,
    )


def source(network: QuantisedNetwork, plan: ArenaPlan, layers: tuple[CLayer, ...], title: str) -> str:
    """Return ``model.c``."""
    headers = sorted({layer.header for layer in layers if layer.header})
    constants = outside_arrays(network) + "".join(
        f"/* {comment(layer.name)} */\n{layer.constants}\n" for layer in layers if layer.constants
    )
    return _SOURCE.format(
        title=comment(title),
        includes="\n".join(f'#include "{name}"' for name in headers),
        constants=constants + _patch_tables(network),
        input=_place(network, plan, INPUT),
        output=_place(network, plan, network.graph.output),
        calls="\n".join(
            [
                *_patch_calls(network, plan, layers),
                *(_call(network, plan, layer) for layer in layers[network.graph.patched_count :] if layer.kernel),
            ]
        ),
    )


def _place(network: QuantisedNetwork, plan: ArenaPlan, tensor: str) -> str:
    return f"AT{network.graph.bits[tensor]}({plan.offsets[tensor]})"


def _call(network: QuantisedNetwork, plan: ArenaPlan, layer: CLayer) -> str:
    inputs = [_place(network, plan, name) for name in network.graph.layer(layer.name).inputs]
    output, scratch = _place(network, plan, layer.name), _scratch(network, plan, layer)
    return f"  {layer.kernel}({layer.arguments.format(*inputs, output=output, scratch=scratch)});"


def _scratch(network: QuantisedNetwork, plan: ArenaPlan, layer: CLayer) -> str:
    return f"AT{network.graph.bits[layer.name]}({plan.scratch.get(layer.name, 0)})"


def _patch_tables(network: QuantisedNetwork) -> str:
    """Return what every patch is of every layer that runs patch by patch; nothing where none does."""
    graph = network.graph
    if graph.patches is None:
        return ""
    tables = [_PATCHES.format(rows=graph.patches.rows)]
    for index, layer in enumerate(graph.layers[: graph.patched_count]):
        numbers = [number for rows in graph.patch_rows for number in _patch(network, layer, rows)]
        tables.append(array(f"uint16_t {identifier(index, layer.name)}_patches", map(str, numbers)))
    return "".join(tables) + "\n"


def _patch(network: QuantisedNetwork, layer: Layer, needed: Mapping[str, range]) -> tuple[int, ...]:
    shapes, made = network.graph.shapes, needed[layer.name]
    read = [rows_read(layer, made, shapes[name], shapes[layer.name]) for name in layer.inputs]
    above = rows_above(layer, made, shapes[layer.inputs[0]], shapes[layer.name])
    # The input is there whole, of all other tensors the rows that the patch needs.
    kept = [0 if name == INPUT else needed[name].start for name in layer.inputs]
    left_out = (rows.start - first for rows, first in zip(read, kept, strict=True))
    return len(read[0]), len(made), above, *left_out


def _patch_calls(network: QuantisedNetwork, plan: ArenaPlan, layers: tuple[CLayer, ...]) -> list[str]:
    graph = network.graph
    if graph.patches is None:
        return []
    calls = [_patched_call(network, plan, layers[index], index) for index in range(graph.patched_count)]
    return [f"  for (i = 0; i < {len(graph.patch_rows)}; ++i) {{", *calls, "  }"]


def _patched_call(network: QuantisedNetwork, plan: ArenaPlan, layer: CLayer, index: int) -> str:
    graph, constant = network.graph, identifier(index, layer.name)
    inputs = [
        f"{_place(network, plan, name)} + rows[LEFT_OUT + {number}] * {prod(graph.shapes[name][1:])}"
        for number, name in enumerate(graph.layer(layer.name).inputs)
    ]
    output = _place(network, plan, layer.name)
    if graph.patches is not None and layer.name == graph.patches.cut:
        output += f" + i * {graph.patches.rows * prod(graph.shapes[layer.name][1:])}"
    arguments = layer.arguments.format(*inputs, output=output, scratch=_scratch(network, plan, layer))
    return _PATCHED_CALL.format(
        table=f"{constant}_patches",
        columns=3 + len(inputs),
        structure=layer.structure,
        constant=constant,
        parts="\n".join(f"      part.{name} = {value};" for name, value in layer.parts.items()),
        kernel=layer.kernel,
        arguments=f"&part{arguments.removeprefix(f'&{constant}')}",
    )
