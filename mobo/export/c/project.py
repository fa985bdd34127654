"""The C99 project of a quantised network: sources, kernels that it needs, Makefile, test vector, README.

``c/README.md`` describes the project and its kernels.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from envs.compression.integer.network import QuantisedNetwork
from hw_models.graph.layer_graph import Layer, LayerGraph, Quantize, Softmax, WeightLayer
from mobo.export.c import model as c_model
from mobo.export.c.frontend import anomaly_files, anomaly_test, frontend_sources, frontend_test, makefile
from mobo.export.c.labels import label_files, label_test
from mobo.export.c.layers import CLayer, c_layer
from mobo.export.c.memory import ArenaPlan, plan_arena
from mobo.export.c.readme import readme
from mobo.export.c.text import array, package_text
from mobo.export.errors import ExportError
from mobo.export.request import ExportRequest, Integers

FIRMWARE = ("bare_metal/startup.c", "bare_metal/main.c", "bare_metal/cortex_m.ld")
"""What makes the project a firmware for a bare-metal core."""

# Bit widths of weights and activations.
_WIDTHS = ((8, 8), (4, 8), (8, 16))
_COPIED = ("Makefile", "test/test_model.c", *FIRMWARE)


def export_c(request: ExportRequest) -> Mapping[str, bytes]:
    """Return the files of the C project by path.

    Raises:
        ExportError: A layer, a bit width or a size that the C kernels cannot execute.
    """
    network, title = request.network, f"{request.name}: trial {request.trial} of {request.run}"
    layers, plan = c_layers(network), plan_arena(network.graph)
    texts = project_sources(network, layers, plan, title)
    texts |= frontend_sources(request, title) | frontend_test(request)
    texts |= anomaly_files(request, title) | anomaly_test(request)
    texts |= label_files(request, title) | label_test(request)
    texts |= {path: package_text(path) for path in _COPIED}
    texts["Makefile"] = makefile(texts["Makefile"], request)
    texts["test/test_vectors.h"] = _test_vectors(request.test_inputs, request.test_outputs)
    texts["README.md"] = readme(request, plan, [path for path in texts if path.startswith("kernels/")])
    return {path: text.encode() for path, text in sorted(texts.items())}


def c_layers(network: QuantisedNetwork) -> tuple[CLayer, ...]:
    """Return all layers as C."""
    _check_bits(network.graph)
    return tuple(c_layer(network, index) for index in range(len(network.graph.layers)))


def _check_bits(graph: LayerGraph) -> None:
    if graph.input_bits != 8:
        raise ExportError(f"the input has {graph.input_bits} bits; the C project takes an int8 input")
    for name, bits in graph.bits.items():
        if bits not in (8, 16):
            raise ExportError(f"tensor {name!r} has {bits} bits; the C kernels compute with 8 or 16")
    for layer in graph.layers:
        _check_layer(graph, layer)


def _check_layer(graph: LayerGraph, layer: Layer) -> None:
    read = {graph.bits[name] for name in layer.inputs}
    if read != {layer.output_bits} and not isinstance(layer, Quantize):
        raise ExportError(
            f"layer {layer.name!r} reads {' and '.join(map(str, sorted(read)))} bits and writes {layer.output_bits}; "
            "the C kernels compute at one width: put a quantisation between them"
        )
    if layer.output_bits == 16 and isinstance(layer, Softmax):
        raise ExportError(f"softmax {layer.name!r} writes 16 bits; the C kernel computes 8")
    if isinstance(layer, WeightLayer) and (layer.weight_bits, layer.output_bits) not in _WIDTHS:
        raise ExportError(
            f"layer {layer.name!r} has {layer.weight_bits}-bit weights and {layer.output_bits}-bit activations; the C "
            "kernels take weights of 8 bits, or 4 beside 8-bit activations"
        )


def project_sources(
    network: QuantisedNetwork, layers: tuple[CLayer, ...], plan: ArenaPlan, title: str
) -> dict[str, str]:
    """Return the sources without tests and build files: the model and the kernels it calls."""
    kernels = {"mobo_arithmetic.c", "mobo_arithmetic.h"}
    for layer in layers:
        kernels |= {*layer.sources, layer.header} - {""}
    packed = {layer.sources[0] for layer in layers if layer.packed}
    texts = {
        f"kernels/{name}": ("#define MOBO_PACKED\n" if name in packed else "") + package_text(name) for name in kernels
    }
    taps = max((layer.taps for layer in layers), default=0)
    if taps:
        texts["kernels/mobo_config.h"] = (
            "/* The largest window of this model's depthwise convolutions, in taps. */\n"
            f"#ifndef MOBO_CONFIG_H\n#define MOBO_CONFIG_H\n\n#define MOBO_MOST_TAPS {taps}\n\n#endif\n"
        )
    texts["model.h"] = c_model.header(network, c_model.static_arena(plan), title)
    texts["model.c"] = c_model.source(network, plan, layers, title)
    texts["model_quantise_input.c"] = c_model.QUANTISE_SOURCE
    return texts


def _test_vectors(inputs: npt.NDArray[np.int8], outputs: Integers) -> str:
    return (
        "/* Inputs and the outputs of the integer network for them. */\n"
        f"#include <stdint.h>\n\n#define TEST_VECTORS {len(inputs)}\n\n"
        + array("int8_t test_inputs", inputs)
        + array(f"{outputs.dtype}_t test_outputs", outputs)
    )
