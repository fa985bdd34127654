"""The lines that end a search: the front, the picked model, where the time went."""

from collections import Counter

from mobo.cli.output import duration, errors_text, front_text, number, quantity, text_table
from mobo.runs.pick import Pick
from mobo.runs.pick_for_device import pick_for_device
from mobo.runs.record import RunRecord
from mobo.runs.time_split import time_split
from mobo.space.error_scale import ErrorScale


def summary_lines(record: RunRecord) -> tuple[str, ...]:
    """Return the end of a search as text, one block per line of the result."""
    states = Counter(trial.state.value for trial in record.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    lines = ["", f"{len(record.trials)} trials: {counts}; hypervolume {record.front.hypervolume:.4f}"]
    if len(record.front):
        objects = record.front_objects()
        lines += [
            "",
            f"front ({len(objects)} models):",
            front_text(objects, record.config.error_scale),
            "",
            *_picked(record),
        ]
    else:
        lines.append(
            "the front is empty: no trial is feasible; loosen a constraint, widen the space or try more designs"
        )
    jobs = record.config.compute.jobs
    together = f", {jobs} workers together" if jobs > 1 else ""
    return (*lines, "", f"where the time went{together}:", time_text(record), "")


def _picked(record: RunRecord) -> tuple[str, ...]:
    answer = pick_for_device(record, record.config.device.name, ())
    if not answer.picks:
        return (f"no model of the front fits the flash and SRAM of {answer.device}",)
    return (f"picked: {picked_text(answer.picks[0], record.config.error_scale)}", f"rule: {answer.rule}")


def picked_text(pick: Pick, scale: ErrorScale) -> str:
    """Return a pick as one line."""
    candidate, binding = pick.candidate, pick.binding
    test = "not read" if candidate.test_error is None else scale.text(candidate.test_error)
    costs = ", ".join(
        f"{label} {quantity(name, value)}"
        for label, name in (("model flash", "flash_model_bytes"), ("RAM", "ram_bytes"), ("latency", "latency_ms"))
        if (value := candidate.costs[name]) is not None
    )
    return (
        f"trial {candidate.trial}, {errors_text(candidate, scale)}, {scale.called('test')} {test}, "
        f"{costs}; {binding.limit.cost} binds first ({number(100 * binding.relative)} % left)"
    )


def time_text(record: RunRecord) -> str:
    """Return where the time went as a text table."""
    rows = [
        (entry.stage, f"{entry.median_s:.3f}", duration(entry.total_s), number(100 * entry.share))
        for entry in time_split(record.trials)
    ]
    return text_table(("stage", "median s per trial", "total", "%"), rows)
