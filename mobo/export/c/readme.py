"""The README of the C project."""

from collections.abc import Sequence

from hw_models.generated_c import packing
from hw_models.graph.layer_graph import LayerGraph, WeightLayer
from mobo.base.markdown import code, literal, table
from mobo.export.c.frontend import frontend_readme
from mobo.export.c.labels import labels_readme, predict_call
from mobo.export.c.memory import ArenaPlan
from mobo.export.request import ExportRequest

_TEXT = """\
# {name}

Trial {trial} of {run} as C99: an integer network with {macs:,} multiply-accumulates per inference. It needs no other
library than `memcpy`, `memset` and the compiler's own, no heap and no file.

```c
#include "model.h"

model_output scores[MODEL_OUTPUTS];
/* {height} x {width} x {channels} real numbers, channels last, standardised as below */
model_quantise_input(values, model_input());
{call}
```

Inputs are standardised before quantisation: `(raw - mean) / deviation` with {standardisation}.
{meaning}

{sizes}
{patches}
`make test` runs {vectors} test vectors on this machine, `make firmware CPU=cortex-m4` builds for a bare-metal core (set
the memory sizes in `bare_metal/cortex_m.ld`). For your own build take `model.c`, `model_quantise_input.c` and
`kernels/*.c`, with `-O2` and `kernels` as an include folder.

{front_end}## Predicted costs

From the run, for its board under its own runtime, not for this project:

{costs}

## Layers

{layers}

## Kernels

{kernels}

With the DSP extension (Cortex-M4, M7, M33, M55) they multiply two pairs at once; on other cores they are plain C.
Cores are little-endian.
"""


def readme(request: ExportRequest, plan: ArenaPlan, kernels: Sequence[str]) -> str:
    """Return the text of ``README.md``."""
    graph = request.network.graph
    height, width, channels = graph.input_shape
    return _TEXT.format(
        name=literal(request.name),
        trial=request.trial,
        run=code(request.run),
        macs=graph.macs,
        height=height,
        width=width,
        channels=channels,
        standardisation=_standardisation(request),
        call=predict_call(request),
        meaning=_meaning(request),
        front_end="".join(f"{text}\n" for text in (frontend_readme(request), labels_readme(request)) if text),
        sizes=table(
            ("", "bytes"), [("RAM: the arena, input and output in it; the stack comes on top", f"{plan.bytes:,}")]
        ),
        patches=_patches(graph),
        vectors=len(request.test_inputs),
        costs=_costs(request),
        layers=_layers(request),
        kernels=", ".join(f"`{path}`" for path in sorted(kernels)),
    )


def _patches(graph: LayerGraph) -> str:
    if graph.patches is None:
        return ""
    return (
        f"\nThe first {graph.patched_count} layers run {len(graph.patch_rows)} times, each time for "
        f"{graph.patches.rows} rows of {literal(graph.patches.cut)}, which takes less RAM and more time.\n"
    )


def _meaning(request: ExportRequest) -> str:
    """Return what the outputs say."""
    if request.purpose == "reconstruction":
        return (
            "The scores, as `MODEL_OUTPUT_SCALE * (score - MODEL_OUTPUT_ZERO_POINT)`, reconstruct the standardised\n"
            "inputs (channels first): the larger the mean square of the difference, the more anomalous the input.\n"
            "The class that `model_predict` returns means nothing."
        )
    if request.labels is not None:
        names = ", ".join(f"{index} {literal(name)}" for index, name in enumerate(request.labels.names))
        return f"Outputs, one per label: {names}; see Labels."
    return f"Classes: {', '.join(f'{index} {literal(name)}' for index, name in enumerate(request.class_names))}."


def _standardisation(request: ExportRequest) -> str:
    if request.mean.size == 1:
        return (
            f"mean {float(request.mean.reshape(-1)[0]):.9g} and deviation {float(request.deviation.reshape(-1)[0]):.9g}"
        )
    return "the training data's mean and deviation per element"


def _costs(request: ExportRequest) -> str:
    costs = request.costs
    rows = [
        ("flash of the model", _quantity(costs.get("flash_model_bytes"), 0, "bytes")),
        ("RAM", _quantity(costs.get("ram_bytes"), 0, "bytes")),
        ("latency", _quantity(costs.get("latency_ms"), 3, "ms")),
    ]
    return table(("cost", "value"), rows)


def _quantity(value: float | None, digits: int, unit: str) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f} {unit}"


def _widths(graph: LayerGraph, layer: WeightLayer) -> str:
    packed = packing(layer, graph.input_shapes(layer), graph.shapes[layer.name])
    return f"{layer.weight_bits} bits" + ("" if packed is None else f", stored with {packed.bits}")


def _layers(request: ExportRequest) -> str:
    graph = request.network.graph
    weights = {layer.name: _widths(graph, layer) for layer in graph.weight_layers}
    shapes = {name: " x ".join(map(str, shape)) for name, shape in graph.shapes.items()}
    rows = [
        (literal(layer.name), layer.kind, shapes[layer.name], f"{layer.output_bits} bits", weights.get(layer.name, "-"))
        for layer in graph.layers
    ]
    return table(("layer", "kind", "output", "activations", "weights"), rows)
