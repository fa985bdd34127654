"""The runtime ``mobo-c``: what the C that ``mobo export --format c`` writes costs, from counts of its own kernels.

``experiments/code/count_generated_c.py`` wrote both tables. Instructions, constants and code are fitted on them;
nothing was timed, so the pace (cycles per instruction) is that of CMSIS-NN's kernels on the same core, built by the
same compiler, and every core is marked as borrowed, until one's own measurements say how fast it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from hw_models.calibration.fitting import spreads
from hw_models.calibration.hierarchy import SLOTS, Design, Priors, group_rows, instruction_counts, posterior_mode
from hw_models.calibration.instructions import EMULATED as ALL_EMULATED
from hw_models.calibration.instructions import relative_fit
from hw_models.calibration.tables import FOLDER, CalibrationError, Measured, Row, read_rows
from hw_models.generated_c import GENERATED_C_PACKED_TERMS, GENERATED_C_TERMS
from hw_models.graph.layers import LAYER_TYPES
from hw_models.interval import combined_log_std
from hw_models.kernels import GROUPS, KernelCall, dot, kernel_call
from hw_models.runtime import GENERATED_C_RUNTIME, CoreModel, KernelModel, Release, Runtime, Timing
from hw_models.size_rules import FlashModel, Form, MemoryModel

LAYER_TABLE = "generated_c_layers.csv"
IMAGE_TABLE = "generated_c_images.csv"
MOVE_TABLE = "generated_c_moves.csv"
"""Kernels that move bytes or look them up, counted later and with another compiler than the others."""
STORED_TABLE = "generated_c_stored.csv"
"""Layers that unpack their weights beside the same with plain ones, counted like the kernels that move bytes."""

SAME_UNPACKING = {"cortex-m7": "cortex-m4", "cortex-m33": "cortex-m4"}
"""Cores that are assumed to unpack weights as another one does, which has the same integer instructions."""

EMULATED = {core: emulated for core, emulated in ALL_EMULATED.items() if emulated != "cortex-m55"}
"""Whose counts each core has; the emulator has no core with vector instructions."""

_KINDS = (
    "conv2d", "depthwise_conv2d", "dense", "average_pool2d", "max_pool2d", "add", "activation", "reshape", "softmax",
    "quantize", "pad", "concatenate", "elementwise",
)  # fmt: skip
_STORED = ("weight_bytes", "channel_bytes", "call")
_ELEMENTWISE = frozenset({"elements", "call"})
_INSTRUCTIONS: Mapping[str, frozenset[str]] = {
    kernel: terms - {"weight_bytes", "channel_bytes"} - GENERATED_C_PACKED_TERMS if len(terms) > 1 else _ELEMENTWISE
    for kernel, terms in GENERATED_C_TERMS.items()
}
_ONLY_4_BITS = {"summed_groups", "summed_left"}
# Functions that a linker keeps only for these kernels: a fill of memory; output stages without bounds for int8 and for
# int16; rows with sums of 64 bits; mobo_multiply, which others have inlined; a division, where the core has none.
_SHARED_CODE: Mapping[str, set[str]] = {
    "conv_w8": {"fill", "requantise"}, "conv_w4": {"fill", "requantise"},
    "conv_w8a16": {"fill", "rows_a16", "requantise_a16"},
    "dense_w8": {"requantise"}, "dense_w4": {"requantise"}, "dense_w8a16": {"rows_a16", "requantise_a16"},
    "depthwise_w8": {"requantise"}, "depthwise_w4": {"requantise"}, "depthwise_w8a16": {"requantise_a16"},
    "add": {"multiply"}, "add_a16": {"multiply"}, "activation": {"multiply"}, "softmax": {"multiply"},
    "average_pool": {"divide"}, "average_pool_a16": {"divide"},
}  # fmt: skip
_MOVE_TERMS: Mapping[str, tuple[str, ...]] = {
    "pad": ("call", "rows", "elements"),
    "concatenate": ("call", "rows", "elements"),
    "product": ("call", "elements"),
    "lookup": ("call", "elements"),
}
_MOVE_SHARED: Mapping[str, tuple[str, ...]] = {"pad": ("fill",), "product": ("multiply",)}
_SCRATCH: Mapping[tuple[str, str], dict[str, float]] = {
    ("conv_kxk", "w4"): {"column_by_4": 2.0},
    ("conv_kxk", "w8"): {"column_by_4": 2.0},
    ("conv_kxk", "w8a16"): {"column_by_4": 4.0},
}
# A dense layer unpacks two rows at a time, whose products are those of the loop over pairs of rows.
_PACKED_DENSE_TERMS = ("call", "tiles", "row_pairs", "group_pairs")
# Of the loop in model_predict: the arguments of a call and the call.
_CALL_INSTRUCTIONS = 8.0
_OTHER_MIX_LOG_STD = 0.15
_BASE = "base"
# No group of kernels is tied to the others more closely than this before anybody has measured.
_LEAST_LOG_STD = 0.1
_SOURCE = "instructions and constants of our kernels on an emulated core, gcc 12.2 -O2"
_PACE = "borrowed: instructions of this core at the pace of CMSIS-NN's kernels there, which the same compiler built"
_DIGITS = 4


@dataclass(frozen=True)
class CountedLayer:
    """One layer of the table.

    Attributes:
        call: Its kernel and counts.
        instructions: By emulated core.
        constant_bytes: What its constants take in flash.
    """

    call: KernelCall
    instructions: Mapping[str, float]
    constant_bytes: float


def counted_layers() -> tuple[CountedLayer, ...]:
    """Return the shipped table of layers."""
    return tuple(
        CountedLayer(
            call=counted_call(row),
            instructions={core: float(row[core]) for core in EMULATED.values()},
            constant_bytes=float(row["constant_bytes"]),
        )
        for row in read_rows(FOLDER / LAYER_TABLE, "generated layers")
    )


def counted_call(row: Row) -> KernelCall:
    """Return the kernel of a row of a table of counted layers.

    Raises:
        CalibrationError: The row's kind of layer is none.
    """
    kind = LAYER_TYPES.get(row["kind"])
    if kind is None:
        raise CalibrationError(f"layer kind {row['kind']!r} of {LAYER_TABLE} is unknown; count the table anew")
    source = (int(row["in_h"]), int(row["in_w"]), int(row["in_c"]))
    layer = kind(name="layer", inputs=("input",) * (kind.arity or 1), **_fields(row))
    inputs = [source] * (kind.arity or 1)
    return kernel_call(layer, inputs, layer.output_shape(inputs))


def _fields(row: Row) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if row["k_h"]:
        fields["kernel"] = (int(row["k_h"]), int(row["k_w"]))
        fields["stride"] = (int(row["stride_h"]), int(row["stride_w"]))
        fields["padding"] = row["padding"]
    if row["out_c"]:
        fields["out_channels"] = int(row["out_c"])
    for width in ("weight_bits", "stored_bits"):
        if row.get(width):
            fields[width] = int(row[width])
    fields["output_bits"] = int(row["activation_bits"])
    if row["kind"] == "activation":
        fields["activation"] = "relu"
    return fields


def generated_c_runtime(cmsis_nn: Runtime) -> Runtime:
    """Return the runtime, fitted on the shipped tables.

    Args:
        cmsis_nn: The runtime whose pace is borrowed.

    Raises:
        CalibrationError: A table cannot be read.
    """
    layers, images = counted_layers(), read_rows(FOLDER / IMAGE_TABLE, "generated images")
    cores = {}
    for core, emulated in EMULATED.items():
        code, call_bytes = linked_code([row for row in images if row["core"] == emulated])
        moves = _moves(emulated, call_bytes)
        kernels = {"reshape": {"none": _nothing()}} | _kernels(layers, emulated, call_bytes) | moves
        kernels = _packed_kernels(kernels, emulated)
        code |= {f"{name}_code": size for name, size in _move_code(emulated).items()} | _packed_code(emulated)
        cores[core] = _core(cmsis_nn.core(core), kernels, code)
    return Runtime(
        name=GENERATED_C_RUNTIME,
        description="C generated by `mobo export --format c`, arm-none-eabi-gcc 12.2 -O2",
        weight_bits=(8, 4),
        activation_bits=(8, 16),
        layer_kinds=_KINDS,
        reference_core="cortex-m4",
        release=GENERATED_C_RUNTIME,
        releases={GENERATED_C_RUNTIME: Release(cycles=dict.fromkeys(cores, 1.0), drops_zero_filters=False, rows=0)},
        unmeasured_width_log_std=0.0,
        memory=_memory(),
        flash=_flash(),
        cores=cores,
    )


def _nothing() -> KernelModel:
    source = "assumed: the same bytes under another shape"
    return KernelModel(instructions={}, code=(_BASE,), log_std=0.0, rows=0, source=source)


def _kernels(layers: Sequence[CountedLayer], emulated: str, call_bytes: float) -> dict[str, dict[str, KernelModel]]:
    kernels: dict[str, dict[str, KernelModel]] = {}
    for kernel, width in sorted({(layer.call.kernel, layer.call.width) for layer in layers}):
        rows = [layer for layer in layers if (layer.call.kernel, layer.call.width) == (kernel, width)]
        kernels.setdefault(kernel, {})[width] = _kernel(kernel, width, rows, emulated, call_bytes)
    return kernels


def _moves(emulated: str, call_bytes: float) -> dict[str, dict[str, KernelModel]]:
    """Return the kernels that move bytes or look them up, at the one width they have."""
    rows = [row for row in read_rows(FOLDER / MOVE_TABLE, "generated moves") if row["core"] == emulated]
    return {kernel: {"none": _move(kernel, [row for row in rows if row["kernel"] == kernel], call_bytes)}
            for kernel in _MOVE_TERMS}  # fmt: skip


def _move(kernel: str, rows: Sequence[Row], call_bytes: float) -> KernelModel:
    terms = _MOVE_TERMS[kernel]
    table = np.array([[1.0 if term == "call" else float(row[term]) for term in terms] for row in rows])
    counts = np.array([float(row["instructions"]) for row in rows])
    values, _ = nnls(table / counts[:, None], np.ones(len(rows)))
    form = {term: float(np.round(value, _DIGITS)) for term, value in zip(terms, values, strict=True) if value}
    constants = float(np.mean([float(row["constant_bytes"]) for row in rows]))
    return KernelModel(
        instructions=form,
        flash_bytes={"call": float(np.round(constants + call_bytes, _DIGITS))},
        code=tuple(sorted({_BASE, f"{kernel}_code", *_MOVE_SHARED.get(kernel, ())})),
        log_std=float(np.round(np.std(np.log(table @ values / counts)), _DIGITS)),
        rows=len(rows),
        source=f"instructions and constants of our kernels on an emulated core, {rows[0]['compiler']} -O2, not gcc",
    )


def _packed_kernels(plain: Mapping[str, dict[str, KernelModel]], emulated: str) -> dict[str, dict[str, KernelModel]]:
    """Return the kernels with those beside them that unpack their weights."""
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in _stored_rows(emulated):
        call = counted_call(row)
        rows.setdefault((call.kernel, f"w{call.weight_bits}"), []).append(row)
    kernels = {kernel: dict(widths) for kernel, widths in plain.items()}
    for (kernel, width), some in rows.items():
        kernels[kernel][f"{width}p"] = _packed(plain[kernel][width], some)
    return kernels


def _stored_rows(emulated: str) -> list[Row]:
    counted = SAME_UNPACKING.get(emulated, emulated)
    return [row for row in read_rows(FOLDER / STORED_TABLE, "stored widths") if row["core"] == counted]


def _packed(plain: KernelModel, rows: Sequence[Row]) -> KernelModel:
    """Return a kernel that unpacks its weights, from that for plain ones and the layers counted with both."""
    call = counted_call(rows[0])
    is_dense = call.kernel == "dense"
    form, log_std = (_packed_dense if is_dense else _packed_convolution)(plain.instructions, rows)
    own = f"{'conv' if call.kernel.startswith('conv') else call.kernel}_w{call.weight_bits}"
    return KernelModel(
        instructions=form,
        scratch_bytes={**plain.scratch_bytes, "unpack_bytes": 1.0},
        flash_bytes=plain.flash_bytes,
        # Dense layers have a kernel of their own for packed weights, the others one for both.
        code=tuple(sorted({*plain.code, f"{own}_packed"} - ({own} if is_dense else set()))),
        log_std=log_std,
        rows=len(rows),
        source=f"what unpacks weights: our kernels on an emulated {rows[0]['core']}, {rows[0]['compiler']}, not gcc",
    )


def _unpacking(rows: Sequence[Row]) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Return the instructions of a block at every stored width, and those of all blocks of every layer."""
    blocks = {f"blocks_{row['stored_bits']}": float(row["block_instructions"]) for row in rows}
    return blocks, np.array([dot(blocks, counted_call(row).terms) for row in rows])


def _packed_convolution(plain: Form, rows: Sequence[Row]) -> tuple[dict[str, float], float]:
    """Return the form and its spread: what a part of the channels does anew is priced as for plain weights."""
    blocks, unpacking = _unpacking(rows)
    calls = [counted_call(row) for row in rows]
    again = [
        dot(plain, call.terms) - dot(plain, counted_call({**row, "stored_bits": ""}).terms)
        for call, row in zip(calls, rows, strict=True)
    ]
    counts = np.array([float(row["instructions"]) for row in rows])
    known = np.array([float(row["plain_instructions"]) for row in rows]) + again + unpacking
    tiles = np.array([call.terms["tiles"] for call in calls])
    per_tile = max(0.0, float(np.sum((counts - known) * tiles / counts**2) / np.sum(np.square(tiles / counts))))
    log_std = np.std(np.log((known + per_tile * tiles) / counts))
    return {**plain, "tiles": float(np.round(per_tile, _DIGITS)), **blocks}, float(np.round(log_std, _DIGITS))


def _packed_dense(plain: Form, rows: Sequence[Row]) -> tuple[dict[str, float], float]:
    """Return the form of a kernel of its own and its spread."""
    del plain
    blocks, unpacking = _unpacking(rows)
    calls = [counted_call(row) for row in rows]
    counts = np.array([float(row["instructions"]) for row in rows])
    terms = [*_PACKED_DENSE_TERMS, *(["summed_groups"] if calls[0].weight_bits == 4 else [])]
    form = relative_fit(calls, terms, (counts - unpacking).tolist()) | blocks
    errors = [np.log(dot(form, call.terms) / count) for call, count in zip(calls, counts, strict=True)]
    return form, float(np.round(np.std(errors), _DIGITS))


def _packed_code(emulated: str) -> dict[str, float]:
    """Return the code that unpacks each width, and what a kernel takes that calls it."""
    kinds = {"conv2d": "conv", "depthwise_conv2d": "depthwise", "dense": "dense"}
    code = {}
    for row in _stored_rows(emulated):
        code[f"unpack_w{row['weight_bits']}s{row['stored_bits']}"] = float(row["unpack_code_bytes"])
        code[f"{kinds[row['kind']]}_w{row['weight_bits']}_packed"] = float(row["kernel_code_bytes"])
    return code


def _move_code(emulated: str) -> dict[str, float]:
    """Return the code of every such kernel."""
    rows = [row for row in read_rows(FOLDER / MOVE_TABLE, "generated moves") if row["core"] == emulated]
    return {row["kernel"]: float(row["code_bytes"]) for row in rows}


def _kernel(kernel: str, width: str, rows: Sequence[CountedLayer], emulated: str, call_bytes: float) -> KernelModel:
    counts = [row.instructions[emulated] for row in rows]
    terms = _INSTRUCTIONS[kernel] if width == "w4" else _INSTRUCTIONS[kernel] - _ONLY_4_BITS
    form = relative_fit([row.call for row in rows], sorted(terms), counts)
    errors = [np.log(dot(form, row.call.terms) / count) for row, count in zip(rows, counts, strict=True)]
    stored = [term for term in _STORED if term in GENERATED_C_TERMS[kernel]]
    flash = relative_fit([row.call for row in rows], stored, [row.constant_bytes for row in rows])
    return KernelModel(
        instructions=form,
        scratch_bytes=_SCRATCH.get((kernel, width), {}),
        flash_bytes={**flash, "call": float(np.round(flash.get("call", 0.0) + call_bytes, _DIGITS))},
        code=tuple(sorted(_code(f"{kernel}.{width}"))),
        log_std=float(np.round(np.std(errors), _DIGITS)),
        rows=len(rows),
        source=_SOURCE,
    )


def _code(kernel: str) -> set[str]:
    """Return the names of the code that a kernel, ``"<name>.<width>"``, links: its own and what it shares."""
    name, width = kernel.split(".")
    if name == "reshape":
        return {_BASE}
    # Convolutions of every window are one kernel.
    name = "conv" if name.startswith("conv_") else name
    own = name if width == "none" else f"{name}_{width}"
    return {_BASE, own} | _SHARED_CODE.get(own, set())


def _core(pace: CoreModel, kernels: dict[str, dict[str, KernelModel]], code: dict[str, float]) -> CoreModel:
    return pace.model_copy(
        update={
            "borrowed": True,
            "cycles_log_std": float(np.round(combined_log_std((pace.cycles_log_std, _OTHER_MIX_LOG_STD)), _DIGITS)),
            "cycles_rows": 0,
            "cycles_source": _PACE,
            "operator_instructions": _CALL_INSTRUCTIONS,
            "operator_source": "assumed: four arguments and a call",
            "timings": {group: timing.model_copy(update={"rows": 0}) for group, timing in pace.timings.items()},
            "kernels": kernels,
            "code_bytes": code,
        }
    )


def linked_code(images: Sequence[Row]) -> tuple[dict[str, float], float]:
    """Return what every piece of code takes in the linked images of one core, and what the call of a layer takes.

    The piece ``base`` is in all images: start-up, the function around the calls, copying and filling of memory.
    """
    used = [{name for kernel in row["kernels"].split() for name in _code(kernel)} for row in images]
    names = sorted(set().union(*used))
    matrix = [[*(name in some for name in names), int(row["layers"])] for some, row in zip(used, images, strict=True)]
    sizes = [int(row["flash_bytes"]) - int(row["constant_bytes"]) for row in images]
    (*code, call_bytes), _ = nnls(np.array(matrix, dtype=float), np.array(sizes, dtype=float))
    return {name: float(np.round(value, 1)) for name, value in zip(names, code, strict=True)}, float(call_bytes)


def _memory() -> MemoryModel:
    return MemoryModel(
        alignment_bytes=4, base_bytes=0.0, operator_bytes=0.0, tensor_bytes=0.0, channel_bytes=0.0,
        source="the plan that the exporter writes into the code; checked against the linked image by `mobo verify`",
        planner="static",
    )  # fmt: skip


def _flash() -> FlashModel:
    return FlashModel(
        engine_bytes=0,
        engine_source="none: start-up code and kernels are linked as a model needs them (code_bytes)",
        base_bytes=0.0, operator_bytes=0.0, channel_bytes=0.0,
        source="constants and code of linked images, arm-none-eabi-gcc 12.2 -O2",
        per_kernel=True, log_std=0.01, engine_log_std=0.03,
    )  # fmt: skip


def refitted_runtime(runtime: Runtime, rows: Sequence[Measured]) -> Runtime:
    """Return the runtime with the pace of every measured core fitted on one's own rows.

    The borrowed paces are the prior: a core's cycles per instruction move with a factor that all kernels share, one for
    each group of kernels, and one for what is outside the inner loops; several boards differ by a factor each.

    Args:
        runtime: The runtime with borrowed paces.
        rows: One's own measurements.

    Raises:
        RuntimeModelError: A row is of a core, or has a kernel, that the runtime does not cover.
    """
    cores = dict(runtime.cores)
    for core in dict.fromkeys(row.core for row in rows):
        cores[core] = _refitted_core(runtime, core, [row for row in rows if row.core == core])
    release = runtime.releases[runtime.release].model_copy(update={"rows": len(rows)})
    return runtime.model_copy(update={"cores": cores, "releases": {runtime.release: release}})


def _refitted_core(runtime: Runtime, core: str, rows: Sequence[Measured]) -> CoreModel:
    model, priors = runtime.core(core), Priors()
    boards = sorted({row.board for row in rows})
    effects = _pace_effects(model, priors)
    paces = np.array([_pace(model, group, outer) for group, outer in SLOTS])
    counts = np.array([instruction_counts(row.calls, core, runtime) for row in rows]) * paces
    entries = [
        (row, slot, effect) for row in range(len(rows)) for effect, (slots, _) in enumerate(effects) for slot in slots
    ]
    widths = [width for _, width in effects]
    if len(boards) > 1:
        entries += [
            (number, slot, len(effects) + boards.index(row.board))
            for number, row in enumerate(rows)
            for slot in range(len(SLOTS))
        ]
        widths += [priors.own_board] * len(boards)
    errors = np.full(len(rows), 1 / priors.network_residual**2)
    logs = np.log([row.cycles for row in rows])
    found, covariance = posterior_mode(Design(entries, len(rows)), counts, logs, errors, 1 / np.square(widths))
    known = len(effects)
    gradient = np.array([[float(slot in slots) for slots, _ in effects] for slot in range(len(SLOTS))])
    slot_covariance = gradient @ covariance[:known, :known] @ gradient.T
    if len(boards) > 1:
        slot_covariance = slot_covariance + priors.own_board**2
    shared, own = spreads(slot_covariance, priors.network_residual)
    return _paced(model, paces * np.exp(gradient @ found[:known]), (shared, own), rows, group_rows(counts))


def _pace_effects(model: CoreModel, priors: Priors) -> list[tuple[frozenset[int], float]]:
    """Return which slots each effect moves, and how far it may: all, those of a group, what is around inner loops."""
    groups = [
        (frozenset({2 * index, 2 * index + 1}), max(model.timings[group].log_std, _LEAST_LOG_STD))
        for index, group in enumerate(GROUPS)
    ]
    outer = frozenset(range(1, len(SLOTS), 2))
    return [(frozenset(range(len(SLOTS))), model.cycles_log_std), *groups, (outer, priors.engine_outer)]


def _pace(model: CoreModel, group: str, outer: bool) -> float:
    timing = model.timings[group]
    return model.cycles_per_instruction * (timing.outer if outer else timing.inner)


def _paced(
    model: CoreModel,
    paces: NDArray[np.float64],
    log_stds: tuple[float, NDArray[np.float64]],
    rows: Sequence[Measured],
    seen: Sequence[int],
) -> CoreModel:
    shared, own = log_stds
    base = float(np.round(paces[SLOTS.index(("conv_1x1", False))], _DIGITS))
    timings = {
        group: Timing(
            inner=float(np.round(paces[2 * index] / base, _DIGITS)),
            outer=float(np.round(paces[2 * index + 1] / base, _DIGITS)),
            log_std=float(np.round(own[index], _DIGITS)),
            rows=seen[index],
        )
        for index, group in enumerate(GROUPS)
    }
    boards = ", ".join(sorted({row.board for row in rows}))
    return model.model_copy(
        update={
            "borrowed": False,
            "cycles_per_instruction": base,
            "cycles_log_std": float(np.round(shared, _DIGITS)),
            "cycles_rows": len(rows),
            "cycles_source": f"{len(rows)} measured networks on {boards}, from the borrowed pace on",
            "timings": timings,
        }
    )
