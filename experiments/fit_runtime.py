"""Fit the coefficients of a runtime file: ``python -m experiments.fit_runtime --measurements DIR [--out FILE]``.

Reads tables of instruction counts (emulator) and of measured cycles, arenas and file sizes, fits every coefficient of
``hw_models/runtimes/tflm-cmsis-nn.toml``, writes the file and prints how far each fit is from what it was fitted on
and from whole networks it was not fitted on. ``hw_models/README.md`` explains the equations.

Columns it needs are those of ``qemu_cmsis_nn_instructions.csv``, ``qemu_tflm_networks.csv``, ``cortex_m_layers.csv``,
``model_ops.csv`` and ``model_layers.csv``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from experiments.fit_kernels import EMULATED, Report, counted_kernels, fit_kernels
from experiments.reference_networks import REFERENCE_NETWORKS
from experiments.runtime_toml import write_runtime
from hw_models.graph import Conv2D, LayerGraph, Shape
from hw_models.kernels import dot, kernel_call
from hw_models.memory import layer_persistent_bytes, plan_memory
from hw_models.runtime import CoreModel, FlashModel, KernelModel, MemoryModel, Runtime

REFERENCE_CORE = "cortex-m4"
ALIGNMENT_BYTES = 16
CHANNEL_ARENA_BYTES = 8.0  # an int32 multiplier and an int32 shift per output channel
CYCLES_SOURCE = (
    "log-median over measured int8 convolutions, TFLM profiler, nRF52832 (64 MHz) and STM32F446RE (180 MHz), "
    "tk-king/MicroNas look-up records"
)
ENGINE_BYTES = 117_520
ENGINE_SOURCE = "text of a TFLM + CMSIS-NN firmware without the model, Cortex-M4, arm-none-eabi-gcc 12.2, newlib"


def main() -> None:
    """Fit, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=Path, required=True, help="folder with the measurement tables")
    parser.add_argument("--out", type=Path, help="runtime file to write; without it the fit is only printed")
    arguments = parser.parse_args()
    report = Report()
    runtime = fit(arguments.measurements, report)
    if arguments.out is not None:
        write_runtime(runtime, arguments.out)
        report.section(f"written to {arguments.out}")
    print("\n".join(report.lines).lstrip())


def fit(measurements: Path, report: Report) -> Runtime:
    """Return the fitted runtime and describe the fits."""
    counted = counted_kernels(pd.read_csv(measurements / "qemu_cmsis_nn_instructions.csv"))
    networks = pd.read_csv(measurements / "qemu_tflm_networks.csv")
    layers = pd.read_csv(measurements / "cortex_m_layers.csv")
    layers = layers[layers["runtime"] == "tflm+cmsis-nn"]
    kernels = {core: fit_kernels(counted[emulated], report, core) for core, emulated in EMULATED.items()}
    factor, spread, rows = _fit_cycles(layers, kernels[REFERENCE_CORE], report)
    overhead = _fit_overhead(networks, kernels[REFERENCE_CORE])
    cores = {
        core: CoreModel(
            borrowed=core != REFERENCE_CORE,
            cycles_per_instruction=factor,
            cycles_log_std=spread,
            cycles_rows=rows,
            cycles_source=CYCLES_SOURCE + ("" if core == REFERENCE_CORE else f"; borrowed from {REFERENCE_CORE}"),
            operator_instructions=overhead,
            operator_source="emulated whole network ad01_int8 on Cortex-M4 less its kernels, per operator",
            kernels=kernels[core],
        )
        for core in EMULATED
    }
    flash = _fit_flash(layers, pd.read_csv(measurements / "model_ops.csv"), measurements, report)
    runtime = Runtime(
        name="tflm-cmsis-nn",
        description="TensorFlow Lite Micro 90b983c2b3f1 with CMSIS-NN 99f736a63036, gcc 12.2 -O3, int8 activations",
        weight_bits=(8, 4),
        activation_bits=(8,),
        reference_core=REFERENCE_CORE,
        memory=MemoryModel(
            alignment_bytes=ALIGNMENT_BYTES, base_bytes=0, operator_bytes=0, tensor_bytes=0,
            channel_bytes=CHANNEL_ARENA_BYTES, source="",
        ),
        flash=flash,
        cores=cores,
    )  # fmt: skip
    runtime = runtime.model_copy(update={"memory": _fit_memory(networks, runtime)})
    _report_networks(networks, runtime, report)
    return runtime


def _size(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x"))


def _shape(text: str) -> Shape:
    height, width, channels = _size(text)
    return height, width, channels


def _fit_cycles(
    layers: pd.DataFrame, kernels: Mapping[str, Mapping[str, KernelModel]], report: Report
) -> tuple[float, float, int]:
    """Return cycles per instruction (log-median over the convolutions), the spread around it, and the rows."""
    convolutions = layers[layers["op"] == "CONV_2D"]
    ratios, groups = [], []
    for row in convolutions.to_dict("records"):
        call = kernel_call(_convolution(row), [_shape(row["input_shape"])], _shape(row["output_shape"]))
        ratios.append(np.log(row["cycles"] / dot(kernels[call.kernel]["w8"].instructions, call.terms)))
        groups.append((row["mcu"], call.kernel, _alignment(row)))
    logs = np.array(ratios)
    factor = float(np.round(np.exp(np.median(logs)), 4))
    report.section(f"cycles of measured convolutions, {factor} cycles per instruction: predicted against measured")
    table = pd.DataFrame(groups, columns=["mcu", "kernel", "alignment"]).assign(error=np.log(factor) - logs)
    for key, group in [*table.groupby(["mcu", "kernel", "alignment"]), (("all",), table)]:
        absolute = np.abs(np.expm1(group["error"]))
        text = f"mean |error| {100 * absolute.mean():4.1f} %  median {100 * absolute.median():4.1f} %  "
        report.row(f"{' '.join(key)} ({len(group)} rows)", f"{text}worst {100 * absolute.max():5.1f} %")
    _report_other_layers(layers, kernels, factor, report)
    return factor, float(np.round(np.std(np.log(factor) - logs), 4)), len(logs)


def _convolution(row: Mapping[str, Any]) -> Conv2D:
    kernel, stride = _size(row["kernel"]), _size(row["stride"])
    return Conv2D(
        name="conv", inputs=("input",), out_channels=_size(row["output_shape"])[2],
        kernel=(kernel[0], kernel[1]), stride=(stride[0], stride[1]),
    )  # fmt: skip


def _alignment(row: Mapping[str, Any]) -> str:
    inputs, outputs = _size(row["input_shape"])[2], _size(row["output_shape"])[2]
    if inputs == 1:
        return "one input channel"
    return "aligned by 4" if inputs % 4 == 0 and outputs % 4 == 0 else "not aligned"


def _report_other_layers(
    layers: pd.DataFrame, kernels: Mapping[str, Mapping[str, KernelModel]], factor: float, report: Report
) -> None:
    """Compare the additions, which the factor was not fitted on."""
    additions = layers[layers["op"] == "ADD"]
    for mcu, group in additions.groupby("mcu"):
        elements = np.array([np.prod(_size(shape)) for shape in group["output_shape"]])
        predicted = kernels["add"]["none"].instructions["elements"] * elements * factor
        errors = predicted / group["cycles"].to_numpy() - 1
        report.row(f"{mcu} add, not fitted ({len(group)} rows)", f"mean error {100 * errors.mean():+5.1f} %")


def _kernel_instructions(graph: LayerGraph, kernels: Mapping[str, Mapping[str, KernelModel]]) -> float:
    total = 0.0
    for layer in graph.layers:
        call = kernel_call(layer, graph.input_shapes(layer), graph.shapes[layer.name])
        width = "none" if call.weight_bits is None else f"w{call.weight_bits}"
        total += dot(kernels[call.kernel][width].instructions, call.terms)
    return total


def _fit_overhead(networks: pd.DataFrame, kernels: Mapping[str, Mapping[str, KernelModel]]) -> float:
    """Return the interpreter's instructions per operator.

    Only the autoencoder can tell: its kernels are few and their fit is exact; in the others the errors of the kernel
    fits are larger than the overhead.
    """
    graph = REFERENCE_NETWORKS["ad01_int8"]()
    counted = _network(networks, REFERENCE_CORE, "ad01_int8")["instructions_per_invoke"]
    return float(max(0.0, np.round((counted - _kernel_instructions(graph, kernels)) / len(graph.layers), 1)))


def _network(networks: pd.DataFrame, core: str, model: str) -> dict[str, Any]:
    rows = networks[(networks["core"] == core) & (networks["model"] == model)].to_dict("records")
    if len(rows) != 1:
        raise ValueError(f"the network table has {len(rows)} rows for {model} on {core}; it needs exactly one")
    return {str(key): value for key, value in rows[0].items()}


def _fit_memory(networks: pd.DataFrame, runtime: Runtime) -> MemoryModel:
    """Return the arena's structures, fitted on whole networks: what is left after planned buffers and channel data."""
    counts, left = [], []
    for model, build in REFERENCE_NETWORKS.items():
        graph = build()
        plan = plan_memory(graph, runtime)
        counts.append(_structure_counts(graph))
        left.append(_network(networks, REFERENCE_CORE, model)["tflm_arena_bytes_on_target"] - plan.arena_bytes)
    (base, operator, tensor), _ = nnls(np.array(counts, dtype=float), np.array(left, dtype=float))
    return runtime.memory.model_copy(
        update={
            "base_bytes": float(np.round(base, 1)),
            "operator_bytes": float(np.round(operator, 1)),
            "tensor_bytes": float(np.round(tensor, 1)),
            "source": "fitted on the recorded arenas of the four MLPerf Tiny int8 networks on an emulated Cortex-M4 "
            "target; channel_bytes: an int32 multiplier and an int32 shift per output channel",
        }
    )


def _structure_counts(graph: LayerGraph) -> tuple[int, int, int]:
    """Return 1, operators and tensors: unit costs in turn show how often the model counts each."""
    tensors = MemoryModel(
        alignment_bytes=ALIGNMENT_BYTES, base_bytes=0, operator_bytes=0, tensor_bytes=1, channel_bytes=0, source=""
    )
    total = 1 + sum(layer_persistent_bytes(layer, graph.shapes[layer.name], tensors) for layer in graph.layers)
    return 1, len(graph.layers), total


def _fit_flash(layers: pd.DataFrame, models: pd.DataFrame, measurements: Path, report: Report) -> FlashModel:
    """Return the model file's structure: channels from single-layer files, operators from the autoencoder's."""
    convolutions = layers[(layers["op"] == "CONV_2D") & layers["tflite_bytes"].notna()]
    outputs = np.array([_size(shape)[2] for shape in convolutions["output_shape"]])
    columns = [np.prod(_size(row.kernel)) * _size(row.input_shape)[2] for row in convolutions.itertuples()]
    rest = convolutions["tflite_bytes"].to_numpy(dtype=float) - outputs * np.array(columns) - 4 * outputs
    (channel, single), _ = nnls(np.stack([outputs, np.ones(len(outputs))], axis=1).astype(float), rest)
    dense = models[models["model_key"] == "ad01_int8"].to_dict("records")[0]
    operator = (dense["tflite_file_bytes"] - dense["const_bytes"] - single) / (dense["n_ops"] - 1)
    flash = FlashModel(
        engine_bytes=ENGINE_BYTES,
        engine_source=ENGINE_SOURCE,
        base_bytes=float(np.round(single - operator, 1)),
        operator_bytes=float(np.round(operator, 1)),
        channel_bytes=float(np.round(channel, 2)),
        source=f"sizes of {len(convolutions)} single-convolution tflite files and of ad01_int8; converters differ: the "
        "MLPerf Tiny convolution files take more per channel",
    )
    report.section("model files: predicted against tflite file")
    fitted = channel * outputs + single
    report.row(
        f"single convolutions ({len(outputs)} files)",
        f"worst |error| {np.max(np.abs(fitted - rest)):.0f} bytes, {channel:.1f} bytes per channel",
    )
    _report_files(flash, models, pd.read_csv(measurements / "model_layers.csv"), report)
    return flash


def _report_files(flash: FlashModel, models: pd.DataFrame, layers: pd.DataFrame, report: Report) -> None:
    """Compare whole int8 model files, none of which but ad01_int8 was fitted on."""
    errors = []
    for model in models[(models["dtype"] == "int8") & models["tflite_file_bytes"].notna()].to_dict("records"):
        own = layers[layers["model_key"] == model["model_key"]]
        channels = own[own["op"].isin(["CONV_2D", "DEPTHWISE_CONV_2D"])]["cout"].sum()
        size = model["const_bytes"] + flash.base_bytes + flash.operator_bytes * model["n_ops"]
        error = (size + flash.channel_bytes * channels) / model["tflite_file_bytes"] - 1
        errors.append(error)
        if model["model_key"] in REFERENCE_NETWORKS:
            report.row(model["model_key"], f"error {100 * error:+5.1f} %")
    text = f"mean |error| {100 * np.mean(np.abs(errors)):4.1f} %  worst {100 * np.max(np.abs(errors)):4.1f} %"
    report.row(f"all int8 files ({len(errors)})", text)


def _report_networks(networks: pd.DataFrame, runtime: Runtime, report: Report) -> None:
    """Compare whole networks: arenas (fitted on M4) and instructions (overhead fitted on one of them)."""
    report.section("whole networks: predicted against emulated target")
    for core, emulated in EMULATED.items():
        for model, build in REFERENCE_NETWORKS.items():
            if not ((networks["core"] == emulated) & (networks["model"] == model)).any():
                continue
            graph, row = build(), _network(networks, emulated, model)
            arena = plan_memory(graph, runtime, core=core).arena_bytes
            covered = runtime.core(core)
            overhead = len(graph.layers) * covered.operator_instructions
            instructions = _kernel_instructions(graph, covered.kernels) + overhead
            report.row(
                f"{core} {model}",
                f"instructions {100 * (instructions / row['instructions_per_invoke'] - 1):+5.1f} %  "
                f"arena {arena} against {row['tflm_arena_bytes_on_target']} "
                f"({100 * (arena / row['tflm_arena_bytes_on_target'] - 1):+4.1f} %)",
            )


if __name__ == "__main__":
    main()
