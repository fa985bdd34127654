"""Checks of a ``.tflite`` file in the two interpreters that exist for it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network import QuantisedNetwork
from hw_models.device import Device
from hw_models.graph.from_tflite import graph_of
from hw_models.graph.layer_graph import Layer, LayerGraph
from hw_models.graph.tflite_tables import parse
from hw_models.memory.arena_plan import plan_interpreter
from hw_models.memory.arena_structures import load_structures
from hw_models.runtime import DECODE_RUNTIME, DEFAULT_RUNTIME
from mobo.export.exported_model import ExportedModel
from mobo.export.request import Integers
from mobo.export.tflite.runnable import RunnableTflite, read_runnable
from mobo.export.tflite.writer import MODEL
from mobo.export.verify.checks import predicted_cost
from mobo.export.verify.findings import Row, equal, information
from mobo.export.verify.litert import KNOWN_DIFFERENCES, litert_module, run_litert
from mobo.export.verify.model_checks import differing, error_row
from mobo.export.verify.tflm import Arena, run_tflm, tflm_module, tflm_tensors

INTERPRETER_STRUCTURES = "tflm-reference-64bit"
_LAYERWISE_SAMPLES = 32


def check_litert(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Run the file in LiteRT on every sample, and on some of them layer by layer.

    Every layer is compared on LiteRT's own inputs to it, so that a known rounding does not hide what comes after.
    """
    del device
    litert_module()
    samples, graph, file = model.samples, model.network.graph, _file(model)
    some = samples.inputs[:_LAYERWISE_SAMPLES]
    differences = layer_differences(model.network, run_litert(file, some))
    known = {name: found for name, found in differences.items() if _is_known(graph.layer(name), found)}
    unknown = sum(int((found > 0).sum()) for name, found in differences.items() if name not in known)
    notes = [f"first {len(some)} samples", *(_note(graph.layer(name), found) for name, found in known.items())]
    outputs = run_litert(file, samples.inputs, names=[graph.output])[graph.output].reshape(len(samples), -1)
    differ = differing(outputs, samples.outputs)
    return (
        equal("values of any layer that differ", 0, unknown, "; ".join(filter(None, notes))),
        Row("samples whose output differs", 0, differ, None if known else differ == 0),
        error_row(model, outputs, unsure=differ if known else 0),
    )


def check_tflm(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Run the file in the TFLM interpreter on every sample: outputs bit for bit, error, arena, size of the file."""
    tflm_module()
    samples, file = model.samples, _file(model)
    outputs, arena = run_tflm(file, samples.inputs)
    some = samples.inputs[:_LAYERWISE_SAMPLES]
    differences = layer_differences(model.network, tflm_tensors(file, some))
    values = sum(int((found > 0).sum()) for found in differences.values())
    # A run for files that are decoded predicts another file than this one.
    plain = DEFAULT_RUNTIME if model.manifest.runtime == DECODE_RUNTIME else None
    cost = predicted_cost(model, device, runtime_name=plain)
    before = 0 if cost.front_end is None else cost.front_end.flash_bytes
    return (
        equal("samples whose output differs", 0, differing(outputs, samples.outputs)),
        equal("values of any layer that differ", 0, values, f"first {len(some)} samples"),
        error_row(model, outputs),
        *arena_rows(graph_of(parse(file.data)), arena),
        Row("flash_model_bytes", cost.flash_model_bytes - before, len(file.data), None, "size of the file"),
    )


def check_decode(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Run the file with packed weights in the TFLM interpreter on every sample; LiteRT has no DECODE."""
    tflm_module()
    file = read_runnable(model.written("tflite-decode")[MODEL])
    outputs, arena = run_tflm(file, model.samples.inputs)
    cost = predicted_cost(model, device, runtime_name=DECODE_RUNTIME)
    before = 0 if cost.front_end is None else cost.front_end.flash_bytes
    return (
        equal("samples whose output differs", 0, differing(outputs, model.samples.outputs)),
        error_row(model, outputs),
        information("layers with decoded weights", file.operators.count("CUSTOM")),
        *arena_rows(model.network.graph, arena, decodes=True),
        Row("flash_model_bytes", cost.flash_model_bytes - before, len(file.data), None, "size of the file"),
    )


def layer_differences(
    network: QuantisedNetwork, tensors: Mapping[str, Integers]
) -> Mapping[str, npt.NDArray[np.int64]]:
    """Return by how much each layer's output differs from the integer interpreter's on the same inputs to the layer.

    Args:
        network: The network.
        tensors: Every tensor an interpreter computed, N x H x W x C or N x C.
    """
    channels_first = {name: _channels_first(values) for name, values in tensors.items()}
    differences = {}
    for layer in network.graph.layers:
        ours = IntegerInterpreter(network).run_layer(layer.name, *(channels_first[name] for name in layer.inputs))
        difference = ours.to(torch.int64) - channels_first[layer.name].to(torch.int64)
        differences[layer.name] = np.abs(difference.numpy())
    return differences


def arena_rows(graph: LayerGraph, arena: Arena, *, decodes: bool = False) -> tuple[Row, ...]:
    """Return the rows that compare the arena with its prediction for this interpreter, structure by structure.

    Args:
        graph: The layers as the file gives them.
        arena: What the interpreter took.
        decodes: Whether the file has weights with a stored width for DECODE.
    """
    predicted = plan_interpreter(graph, load_structures(INTERPRETER_STRUCTURES), decodes=decodes)
    return (
        equal("planned_arena_bytes", predicted.planned_bytes, arena.planned_bytes, "tensors and scratch"),
        equal(
            "persistent_arena_bytes",
            predicted.persistent_bytes,
            arena.persistent_bytes,
            "structures of the 64-bit interpreter; a board's are smaller",
        ),
    )


def _is_known(layer: Layer, found: npt.NDArray[np.int64]) -> bool:
    return layer.kind in KNOWN_DIFFERENCES and int(found.max(initial=0)) <= 1


def _note(layer: Layer, found: npt.NDArray[np.int64]) -> str:
    count = int((found > 0).sum())
    reason = KNOWN_DIFFERENCES[layer.kind]
    return f"{count} of {found.size} values of {layer.name} differ by 1: {reason}" if count else ""


def _channels_first(values: Integers) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor[:, :, None, None] if tensor.ndim == 2 else tensor.permute(0, 3, 1, 2).contiguous()


def _file(model: ExportedModel) -> RunnableTflite:
    return read_runnable(model.written("tflite")[MODEL])
