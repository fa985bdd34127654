"""Checks of the C project: on this machine, under sanitizers, on emulated cores, and in QEMU."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch

from envs.compression.integer.interpreter import IntegerInterpreter
from hw_models.device import Device
from mobo.export.c.frontend import distance_text, fixed, threshold_text
from mobo.export.c.labels import label_values
from mobo.export.c.memory import plan_arena
from mobo.export.errors import ExportError, MissingToolError
from mobo.export.exported_model import ExportedModel
from mobo.export.firmware.emulator import load_unicorn
from mobo.export.firmware.host import (
    SANITIZERS,
    run_anomaly_on_host,
    run_front_end_on_host,
    run_labels_on_host,
    run_on_host,
)
from mobo.export.firmware.image import (
    build_anomaly,
    build_firmware,
    build_front_end,
    build_labels,
    run_anomaly_emulated,
    run_emulated,
    run_front_end_emulated,
    run_labels_emulated,
)
from mobo.export.firmware.line import check_identity, parse_line, wrong_outputs
from mobo.export.firmware.machines import emulated_lines, machine_for
from mobo.export.firmware.qemu import CORE, build_for_qemu, find_qemu, run_in_qemu
from mobo.export.firmware.toolchain import Compiler, arm_compiler, host_compiler
from mobo.export.fixed_front_end import FixedScore, table_bytes
from mobo.export.formats import FIRMWARE
from mobo.export.request import Integers, Raw
from mobo.export.verify.c_costs import cost_rows, emulated_core
from mobo.export.verify.findings import Row, at_most, equal, information
from mobo.export.verify.model_checks import differing, error_row

FORMAT = "c"
EMULATED_CORES = ("cortex-m0", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")
_RANDOM_INPUTS, _EMULATED_INPUTS, _EMULATED_RAW_INPUTS = 64, 4, 2


def check_host(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the project with this machine's compiler: every sample, then random inputs under sanitizers."""
    del device
    samples, (inputs, expected) = model.samples, random_inputs(model)
    with _project(model) as project:
        outputs, classes = run_on_host(project, samples.inputs)
        random_outputs, _ = run_on_host(project, inputs, flags=("-O1", *SANITIZERS))
        front_end = (
            *_front_end_on_host(model, project),
            *_anomaly_on_host(model, project),
            *_labels_on_host(model, project),
        )
    return (
        equal("samples whose output differs", 0, differing(outputs, samples.outputs), host_compiler().name),
        equal("samples whose class differs", 0, int(np.count_nonzero(classes != np.argmax(samples.outputs, axis=1)))),
        error_row(model, outputs),
        equal(
            "random inputs whose output differs",
            0,
            differing(random_outputs, expected),
            f"{len(inputs)} inputs under AddressSanitizer and UBSan, which found nothing",
        ),
        *front_end,
    )


def check_emulated(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the project for bare-metal cores and run it on emulated ones."""
    # Both are asked for first, so that a missing one is named before anything is built.
    load_unicorn()
    compiler = arm_compiler()
    samples, graph, rows = model.samples, model.network.graph, []
    what = f"first {_EMULATED_INPUTS} samples, {compiler.name}"
    some, expected = samples.inputs[:_EMULATED_INPUTS], samples.outputs[:_EMULATED_INPUTS]
    for core in EMULATED_CORES:
        with _project(model) as project:
            image = build_firmware(project, core, compiler=compiler)
            front_end = (
                *_front_end_emulated(model, project, core, compiler),
                *_anomaly_emulated(model, project, core, compiler),
                *_labels_emulated(model, project, core, compiler),
            )
        found = run_emulated(image, core, some, expected.shape[1])
        rows += [
            equal(f"samples whose output differs, {core}", 0, differing(found.outputs, expected), what),
            *cost_rows(model.network, core, image, found, is_calibrated=not compiler.is_zig),
            information(f"instructions_per_mac, {core}", float(found.instructions.mean() / graph.macs)),
            information(f"stack_bytes, {core}", found.stack_bytes, "deepest, from the stack's top"),
            *front_end,
        ]
        if core == emulated_core(device.core):
            rows += [
                at_most("flash_bytes", device.flash_bytes, found.flash_bytes, f"flash of {device.name}"),
                at_most("ram_bytes", device.sram_bytes, found.ram_bytes + found.stack_bytes, f"SRAM of {device.name}"),
            ]
    return tuple(rows)


def check_qemu(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the project for the core that only QEMU emulates and run it there."""
    del device
    # Asked for first, so that a missing one is named before anything is built.
    find_qemu()
    compiler, samples = arm_compiler(), model.samples
    some, expected = samples.inputs[:_EMULATED_INPUTS], samples.outputs[:_EMULATED_INPUTS]
    with _project(model) as project:
        image = build_for_qemu(project, compiler=compiler)
    found = run_in_qemu(image, some, expected.shape[1])
    what, count = f"first {_EMULATED_INPUTS} samples, {compiler.name}", int(found.instructions.max())
    return (
        equal(f"samples whose output differs, {CORE}", 0, differing(found.outputs, expected), what),
        information(
            f"instructions, {CORE}",
            count,
            "of one inference, the longest; no promise, mobo-c was not fitted on this core",
        ),
        information(f"instructions_per_mac, {CORE}", float(found.instructions.mean() / model.network.graph.macs)),
    )


def check_firmware(model: ExportedModel, device: Device) -> tuple[Row, ...]:
    """Build the measuring firmware for the emulated machine with its board's core and read the line that it prints."""
    del device
    board, files = model.manifest.board, model.written(FIRMWARE)
    if board is None:
        raise ExportError(f"{model.path} has a firmware but names no board; export the model again")
    if model.manifest.engine != "mobo-c":
        raise MissingToolError(
            "a build of TFLM for an emulated board",
            install="Zephyr or Arduino build its firmware; ask the board itself with `mobo measure`",
        )
    machine = machine_for(board.core)
    if machine is None or machine.core == CORE:
        raise MissingToolError(
            f"an emulator with a {board.core}",
            install="no package has one yet; ask the board itself with `mobo measure`",
        )
    load_unicorn()
    compiler = arm_compiler()
    report = parse_line(next(emulated_lines(files, board, compiler=compiler)))
    check_identity(model, report)
    what = f"{machine.name}, {compiler.name}"
    return (
        equal("test vectors whose output differs", 0, wrong_outputs(model, report), what),
        equal("arena_bytes", plan_arena(model.network.graph).bytes, report.arena_bytes),
        information("instructions", report.median, "of one inference, counted by the firmware itself; no cycles"),
        information("stack_bytes", report.stack_bytes, "deepest, as the firmware found it"),
    )


def _front_end_on_host(model: ExportedModel, project: Path) -> tuple[Row, ...]:
    """Build the front end with this machine's compiler: the raw inputs of the export, then random ones."""
    front_end, request = model.manifest.front_end, model.request
    integers = fixed(request)
    if front_end is None or integers is None or request.raw_inputs is None:
        return ()
    raw, some = request.raw_inputs, _random_raw(request.raw_inputs)
    found = run_front_end_on_host(project, raw)
    random_found = run_front_end_on_host(project, some, flags=("-O1", *SANITIZERS))
    return (
        equal("raw inputs of another network input", 0, differing(found, integers(raw).reshape(len(raw), -1))),
        equal(
            "random raw inputs of another network input",
            0,
            differing(random_found, integers(some).reshape(len(some), -1)),
            f"{len(some)} inputs under AddressSanitizer and UBSan, which found nothing",
        ),
        information(
            "share of the front end's values that equal training's",
            front_end.distance.equal / front_end.distance.values,
            distance_text(front_end),
        ),
    )


def _anomaly_on_host(model: ExportedModel, project: Path) -> tuple[Row, ...]:
    """Build what judges a reconstruction with this machine's compiler, under sanitizers: every sample."""
    threshold, samples = model.manifest.anomaly, model.samples
    if threshold is None:
        return ()
    expected = FixedScore.of(model.network)(samples.inputs, samples.outputs)
    found = run_anomaly_on_host(project, samples.inputs, samples.outputs, flags=("-O1", *SANITIZERS))
    wrong = (found[:, 0] != expected) | (found[:, 1] != (expected > threshold.score))
    note = f"under AddressSanitizer and UBSan, which found nothing. {threshold_text(threshold)}"
    return (equal("samples whose anomaly score or verdict differs", 0, int(np.count_nonzero(wrong)), note),)


def _labels_on_host(model: ExportedModel, project: Path) -> tuple[Row, ...]:
    """Build what turns outputs into labels with this machine's compiler, under sanitizers: every sample."""
    labels, outputs = model.manifest.labels, model.samples.outputs
    if labels is None:
        return ()
    found = run_labels_on_host(project, outputs, flags=("-O1", *SANITIZERS))
    wrong = (found != label_values(model.network, labels, outputs)).any(axis=1)
    note = f"under AddressSanitizer and UBSan, which found nothing. {', '.join(labels.names)} in {labels.unit}"
    return (equal("samples whose label in C differs", 0, int(np.count_nonzero(wrong)), note),)


def _labels_emulated(model: ExportedModel, project: Path, core: str, compiler: Compiler) -> tuple[Row, ...]:
    """Build what turns outputs into labels alone for a bare-metal core and run it on the emulated one."""
    labels, some = model.manifest.labels, model.samples.outputs[:_EMULATED_INPUTS]
    if labels is None:
        return ()
    found = run_labels_emulated(build_labels(project, core, compiler=compiler), core, some)
    wrong = (found != label_values(model.network, labels, some)).any(axis=1)
    return (equal(f"samples whose label in C differs, {core}", 0, int(np.count_nonzero(wrong))),)


def _random_raw(raw: Raw) -> Raw:
    """Return random raw inputs of a form: over the whole range, near silence, silent, the extremes."""
    random, kind = np.random.default_rng(0), np.iinfo(raw.dtype)
    length = raw.shape[1]
    rows = [random.integers(kind.min, kind.max, length, endpoint=True) for _ in range(4)]
    rows.append(random.integers(0, 2, length))
    extremes = np.repeat(np.array([[0], [kind.min], [kind.max]]), length, axis=1)
    return np.concatenate([np.stack(rows), extremes]).astype(raw.dtype)


def _front_end_emulated(model: ExportedModel, project: Path, core: str, compiler: Compiler) -> tuple[Row, ...]:
    """Build the front end alone for a bare-metal core and run it on the emulated one."""
    request, integers = model.request, fixed(model.request)
    if integers is None or request.raw_inputs is None:
        return ()
    raw = request.raw_inputs[:_EMULATED_RAW_INPUTS]
    image = build_front_end(project, core, compiler=compiler)
    found, instructions, stack_bytes = run_front_end_emulated(image, core, raw)
    tables = sum(image.sizes.get(f"frontend_{name}", 0) for name in (*integers.tables, "stages"))
    return (
        equal(f"raw inputs of another network input, {core}", 0, differing(found, integers(raw).reshape(len(raw), -1))),
        equal(
            f"frontend_ram_bytes, {core}",
            integers.ram_bytes,
            image.sizes.get("frontend_state", 0),
            f"variables, beside {raw[0].nbytes:,} bytes of samples, the caller's",
        ),
        equal(f"frontend_table_bytes, {core}", table_bytes(integers), tables, "constant tables"),
        information(f"frontend_flash_bytes, {core}", image.flash_bytes, "tables, code and start-up; no promise"),
        information(f"frontend_instructions, {core}", instructions, "of one input, the longest; no promise"),
        information(f"frontend_stack_bytes, {core}", stack_bytes, "deepest, from the stack's top"),
    )


def _anomaly_emulated(model: ExportedModel, project: Path, core: str, compiler: Compiler) -> tuple[Row, ...]:
    """Build what judges a reconstruction alone for a bare-metal core and run it on the emulated one."""
    threshold, samples = model.manifest.anomaly, model.samples
    if threshold is None:
        return ()
    some, made = samples.inputs[:_EMULATED_INPUTS], samples.outputs[:_EMULATED_INPUTS]
    scores = FixedScore.of(model.network)(some, made)
    found, instructions = run_anomaly_emulated(build_anomaly(project, core, compiler=compiler), core, some, made)
    wrong = (found != np.stack([scores, scores > threshold.score], axis=1)).any(axis=1)
    return (
        equal(f"samples whose anomaly score or verdict differs, {core}", 0, int(np.count_nonzero(wrong))),
        information(f"anomaly_instructions, {core}", instructions, "of one verdict; no promise"),
    )


def random_inputs(model: ExportedModel) -> tuple[npt.NDArray[np.int8], Integers]:
    """Return random inputs, among them the two extremes, and the integer interpreter's outputs for them."""
    graph = model.network.graph
    random = np.random.default_rng(0)
    inputs = random.integers(-128, 128, (_RANDOM_INPUTS, *graph.input_shape), dtype=np.int8)
    inputs[0], inputs[1] = -128, 127
    tensor = torch.from_numpy(inputs).permute(0, 3, 1, 2).contiguous()
    return inputs, IntegerInterpreter(model.network).run(tensor)[graph.output].flatten(1).numpy()


@contextmanager
def _project(model: ExportedModel) -> Iterator[Path]:
    """Write the project anew: whatever lies in the exported folder, nothing is compiled but what was written here."""
    with TemporaryDirectory() as folder:
        for name, data in model.written(FORMAT).items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        yield Path(folder)
