"""What became of several goals, as one Markdown table: one row a study."""

from collections.abc import Sequence

from mobo.base.markdown import interval, table
from mobo.goal.verdict import Gap, Verdict

COLUMNS = (
    "study",
    "goal",
    "baseline, float error %",
    "chosen",
    "its validation error %",
    "chosen - float, points",
    "on the test split, points",
    "model flash: float32, int8, chosen",
    "times smaller than float32, int8",
    "times less latency, RAM than int8",
    "width sweep: flash, chosen - it, points",
)

POINTS = 100


def goal_table(verdicts: Sequence[Verdict]) -> str:
    """Return the table; what a goal has no network for is a dash."""
    return table(COLUMNS, [_row(verdict) for verdict in verdicts])


def _row(verdict: Verdict) -> list[object]:
    baseline, chosen = verdict.baseline, verdict.chosen
    head: list[object] = [
        verdict.study,
        f"{verdict.verdict} (at most {POINTS * verdict.goal.tolerance:g} points, "
        f"{POINTS * verdict.goal.confidence:g} % confidence)",
        f"{baseline.family}, {POINTS * baseline.float_error:.2f}",
    ]
    if chosen is None:
        return [*head, *[None] * (len(COLUMNS) - len(head))]
    flash = "flash_model_bytes"
    sizes = (baseline.float_costs.get(flash), baseline.int8_costs.get(flash), chosen.costs.get(flash))
    narrower = verdict.narrower
    return [
        *head,
        f"trial {chosen.trial}",
        f"{POINTS * chosen.validation_error:.2f}",
        _points(chosen.gap),
        None if verdict.test is None else _points(verdict.test.gap),
        ", ".join(_whole(size) for size in sizes),
        f"{_times(verdict.float_ratios.get(flash))}, {_times(verdict.int8_ratios.get(flash))}",
        f"{_times(verdict.int8_ratios.get('latency_ms'))}, {_times(verdict.int8_ratios.get('ram_bytes'))}",
        None
        if narrower is None
        else f"{_whole(narrower.costs.get(flash))} ({narrower.origin}), {_points(narrower.gap)}",
    ]


def _points(gap: Gap) -> str:
    return interval(*(POINTS * value for value in (gap.difference, gap.low, gap.high)))


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}"
