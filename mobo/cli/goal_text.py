"""What became of a goal, for people and as an object."""

from collections.abc import Mapping
from typing import Any

from mobo.base.markdown import interval
from mobo.cli.output import number, percent, quantity, text_table
from mobo.goal.verdict import Gap, Verdict
from mobo.space.error_scale import UNKNOWN

SHOWN = ("flash_model_bytes", "flash_image_bytes", "ram_bytes", "latency_ms", "energy_uj")


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """Return what ``mobo goal --json`` prints."""
    return verdict.model_dump(mode="json") | {
        "float_ratios": dict(verdict.float_ratios),
        "int8_ratios": dict(verdict.int8_ratios),
    }


def verdict_lines(verdict: Verdict) -> tuple[str, ...]:
    """Return a verdict as text, one block per line of the result."""
    goal, baseline = verdict.goal, verdict.baseline
    lines = [
        f"goal: least {goal.minimise} at an error at most {percent(goal.tolerance)} points above the baseline's, with "
        f"{100 * goal.confidence:g} % confidence: {verdict.verdict}",
        f"baseline: {baseline.family}, {baseline.origin}; validation error {percent(baseline.float_error)} % in float, "
        f"{percent(baseline.int8_error)} % in int8 ({_split(verdict.samples, verdict.groups)})",
    ]
    if verdict.trials_finished < verdict.trials_asked:
        lines.append(f"so far {verdict.trials_finished} of {verdict.trials_asked} trials are finished")
    if verdict.chosen is None:
        return (*lines, _why_none(verdict))
    lines += [
        f"chosen: trial {verdict.chosen.trial}, validation error {percent(verdict.chosen.validation_error)} %, "
        f"{gap_text(verdict.chosen.gap)} points against the float baseline; {len(verdict.judged)} of "
        f"{verdict.feasible} models were judged",
        _cost_table(verdict, verdict.chosen.costs),
    ]
    return (*lines, *_sweep_lines(verdict), _test_line(verdict))


def gap_text(gap: Gap) -> str:
    """Return a difference with its interval in percentage points.

    >>> gap_text(Gap(difference=-0.0025, low=-0.01, high=0.005))
    '-0.25 [-1.00, +0.50]'
    """
    return interval(*(100 * value for value in (gap.difference, gap.low, gap.high)))


def _split(samples: int, groups: int | None) -> str:
    return f"{samples} samples" + ("" if groups is None else f" of {groups} groups")


def _why_none(verdict: Verdict) -> str:
    if not verdict.judged:
        return "no trial is feasible yet, so there is no model to hold against it"
    nearest = min(verdict.judged, key=lambda entry: (entry.high, entry.trial))
    gap = gap_text(Gap(difference=nearest.difference, low=nearest.low, high=nearest.high))
    line = f"no model meets it; the nearest of {verdict.feasible} is trial {nearest.trial}: {gap} points"
    if verdict.verdict != "undecidable":
        return line
    return (
        f"{line}. Half the width of an interval, {percent(nearest.half_width)} points, is more than the tolerance: "
        f"{_split(verdict.samples, verdict.groups)} cannot decide; use a larger validation split or a larger tolerance"
    )


def _cost_table(verdict: Verdict, chosen: Mapping[str, float | None]) -> str:
    baseline = verdict.baseline
    rows = [
        (
            name,
            _cost(name, chosen.get(name)),
            _cost(name, baseline.float_costs.get(name)),
            number(verdict.float_ratios.get(name)),
            _cost(name, baseline.int8_costs.get(name)),
            number(verdict.int8_ratios.get(name)),
        )
        for name in SHOWN
    ]
    return text_table(("cost", "chosen", "float32 baseline", "times", "int8 baseline", "times"), rows)


def _cost(name: str, value: float | None) -> str:
    return UNKNOWN if value is None else quantity(name, value)


def _sweep_lines(verdict: Verdict) -> tuple[str, ...]:
    narrower = verdict.narrower
    if verdict.goal.width_sweep is None:
        return ()
    if narrower is None:
        return ("width sweep: not trained yet; the end of the search does it",)
    size = _cost("flash_model_bytes", narrower.costs.get("flash_model_bytes"))
    fits = "" if narrower.fits else ", larger than the chosen model: none of the sweep is as small"
    return (
        f"width sweep: {narrower.origin} in int8, model flash {size}{fits}; validation error "
        f"{percent(narrower.validation_error)} %, chosen minus it {gap_text(narrower.gap)} points",
    )


def _test_line(verdict: Verdict) -> str:
    test = verdict.test
    if test is None:
        return "test split: not read yet; the end of the search does it"
    narrower = "" if test.narrower_error is None else f", width sweep {percent(test.narrower_error)} %"
    return (
        f"test split ({_split(test.samples, test.groups)}): chosen {percent(test.error)} %, float baseline "
        f"{percent(test.float_error)} %, int8 {percent(test.int8_error)} %{narrower}; chosen minus float "
        f"{gap_text(test.gap)} points"
    )
