"""What ``mobo cost`` prints for people: totals with their intervals, rows per layer, the memory timeline."""

from collections.abc import Sequence

from hw_models.patch_choice import PatchedCost
from hw_models.training_step import TrainingStep
from mobo.base.plain_text import visible
from mobo.cli.cost_report import TOTALS, CostReport
from mobo.cli.output import kib, number, quantity, text_table
from mobo.space.error_scale import UNKNOWN

_NAME_WIDTH = 32
_BAR_WIDTH = 24


def report_text(report: CostReport) -> str:
    """Return everything about a network on one board."""
    parts = [_head(report), _totals(report), _layers(report), _timeline(report)]
    return "\n\n".join(parts if report.step is None else [*parts, _step(report.step)])


def _step(step: TrainingStep) -> str:
    """Return what training the last layers takes; the assumptions are those of :mod:`hw_models.training_step`."""
    rows = [
        (
            _short(layer.name), layer.kind, f"{layer.parameters:,}", kib(layer.kept_bytes), f"{layer.forward_macs:,}",
            f"{layer.backward_macs:,}",
        )
        for layer in step.layers
    ]  # fmt: skip
    headers = ("trained layer", "kind", "parameters", "kept KiB", "MACs forward", "MACs backward")
    value, low, high = step.latency_ms
    return "\n".join(
        [
            text_table(headers, rows),
            f"one training step: {quantity('latency_ms', value)} ({quantity('latency_ms', low)} .. "
            f"{quantity('latency_ms', high)}), {number(step.backward_ms, 2)} ms of it on the way back",
            f"RAM at most {kib(step.ram_bytes)} KiB: arena {kib(step.arena_bytes)}, kept {kib(step.kept_bytes)}, "
            f"weights {kib(step.weights_bytes)}, sums of gradients {kib(step.sums_bytes)}, errors "
            f"{kib(step.errors_bytes)}",
            "an estimate from assumptions (hw_models/training_step.py): nobody measured it, and nothing here trains on "
            "a chip; the code of a trainer is not counted",
        ]
    )


def comparison_text(reports: Sequence[CostReport]) -> str:
    """Return one line per board, values with their intervals."""
    headers = ("device", "runtime", "MHz", *(name for name in TOTALS), "fits")
    rows = [
        (
            report.device.name,
            report.runtime.title,
            f"{report.cost.clock_mhz:g}",
            *(_with_interval(report, name) for name in TOTALS),
            _percent(report.fit_probability()),
        )
        for report in reports
    ]
    steps = [
        f"{report.device.name}: a training step of {quantity('latency_ms', report.step.latency_ms.value)}, RAM at most "
        f"{kib(report.step.ram_bytes)} KiB, by assumption"
        for report in reports
        if report.step is not None
    ]
    return "\n".join([text_table(headers, rows), *steps, *_notes(reports), *_reasons(reports)])


def _notes(reports: Sequence[CostReport]) -> list[str]:
    """Return every board's warnings and powers as notes, each said once with the boards it is about."""
    boards: dict[str, list[str]] = {}
    for report in reports:
        for text in (*report.warnings, _model_flash(report)):
            boards.setdefault(text, []).append(report.device.name)
    powers = [f"note: {report.device.name}: energy of {report.cost.power.described}" for report in reports]
    return [f"note: {', '.join(names)}: {text}" for text, names in boards.items()] + powers


def _model_flash(report: CostReport) -> str:
    return f"flash_model_bytes is {report.runtime.flash.model_holds}"


def _head(report: CostReport) -> str:
    cost = report.cost
    lines = [f"{report.device.name} ({report.device.core}) at {cost.clock_mhz:g} MHz, {report.runtime.title}"]
    lines += report.warnings
    lines.append(f"energy is of {cost.power.described}")
    lines.append(f"{report.macs:,} multiply-accumulates")
    if cost.front_end is not None:
        before = cost.front_end
        lines.append(
            f"of the totals the front end ({before.kind}): {number(before.latency_ms, 3)} ms, "
            f"{before.instructions:,.0f} instructions, RAM {kib(before.ram_bytes)} KiB with its samples, flash "
            f"{kib(before.flash_bytes)} KiB"
        )
    if report.patched is not None:
        lines.append(_patches(report.patched, is_used=report.uses_patches))
    if report.file_bytes is not None and report.constant_bytes is not None:
        lines.append(f"file {report.file_bytes:,} bytes, {report.constant_bytes:,} of them constants")
    lines.append(_model_flash(report))
    return "\n".join(lines)


def _patches(patched: PatchedCost, *, is_used: bool) -> str:
    shape = f"{patched.count} patches of {patched.patches.rows} rows up to {patched.patches.cut}"
    if is_used:
        return f"the first layers run in {shape}"
    return (
        f"fits the RAM in {shape}: {kib(patched.ram_bytes)} KiB, {number(patched.latency_ms, 3)} ms "
        "(mobo export makes such C; the figures below are of all at once)"
    )


def _totals(report: CostReport) -> str:
    rows = []
    for name in TOTALS:
        limit = report.limits.get(name)
        if name in report.unknown:
            cells = [UNKNOWN] * 3
            chance = UNKNOWN
        else:
            cells = [quantity(name, part) for part in report.cost.interval(name)]
            cells[0] += _unless_it_fits(report, name)
            chance = UNKNOWN if limit is None else _percent(report.cost.fits({name: limit}))
        rows.append((name, *cells, UNKNOWN if limit is None else quantity(name, limit), chance))
    table = text_table(("total", "value", "low", "high", "limit", "fits"), rows)
    fits = f"fits all limits: {_percent(report.fit_probability())} (low and high hold 80 % of the cases)"
    return "\n".join([table, fits, *_reasons([report])])


def _layers(report: CostReport) -> str:
    rows = [
        (
            _short(row.name),
            row.kind,
            f"{row.macs:,}",
            kib(row.flash_bytes),
            number(row.latency_ms, 3),
            number(row.energy_uj),
            kib(row.output_bytes),
            kib(row.scratch_bytes),
        )
        for row in report.cost.rows
    ]
    headers = ("layer", "kind", "MACs", "flash KiB", "latency ms", "energy uJ", "output KiB", "scratch KiB")
    return text_table(headers, rows)


def _timeline(report: CostReport) -> str:
    memory = report.cost.memory
    if memory is None:
        return "no memory timeline: the edges of the network are unknown"
    moments = memory.timeline()
    most = max(moment.live_bytes for moment in moments)
    rows = [
        (
            _short(moment.layer) + (" <- peak" if moment.layer == memory.peak_layer else ""),
            kib(moment.live_bytes),
            ("#" * round(_BAR_WIDTH * moment.live_bytes / most)).ljust(_BAR_WIDTH),
        )
        for moment in moments
    ]
    peak = next(moment for moment in moments if moment.layer == memory.peak_layer)
    alive = ", ".join(_short(name) for name in peak.live)
    total = (
        f"arena {memory.arena_bytes:,} bytes: {memory.planned_bytes:,} planned, {memory.persistent_bytes:,} for good; "
        f"alive at the peak: {alive}"
    )
    return "\n".join([text_table(("memory while running", "live KiB", "".ljust(_BAR_WIDTH)), rows), total])


def _with_interval(report: CostReport, name: str) -> str:
    if name in report.unknown:
        return UNKNOWN
    value, low, high = report.cost.interval(name)
    interval = f"{quantity(name, value)} ({quantity(name, low)} .. {quantity(name, high)})"
    return interval + _unless_it_fits(report, name)


def _unless_it_fits(report: CostReport, name: str) -> str:
    """Return the remark beside the latency and energy of a network that the board's memories cannot hold."""
    return " does not fit" if name in ("latency_ms", "energy_uj") and report.too_large else ""


def _percent(probability: float | None) -> str:
    return UNKNOWN if probability is None else f"{100 * probability:.0f} %"


def _reasons(reports: Sequence[CostReport]) -> list[str]:
    return list(dict.fromkeys(f"note: {reason}" for report in reports for reason in report.unknown.values()))


def _short(name: str) -> str:
    """Return a name cut to the table's width; tflite names are long and differ at the end."""
    name = visible(name)
    return name if len(name) <= _NAME_WIDTH else "..." + name[-(_NAME_WIDTH - 3) :]
