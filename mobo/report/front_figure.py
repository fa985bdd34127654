"""The front: validation error against every cost that the study minimises or bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mobo.report.quantities import COSTS, Quantity, quantities
from mobo.report.theme import BLUE, GREY, INK, ORANGE, RED, styled
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.space.trial import Trial, TrialState

FAR_FACTOR = 2.5
"""A limit farther out than this times the largest cost is not drawn to scale."""


@dataclass(frozen=True)
class Group:
    """Trials that look alike in the figure.

    Attributes:
        label: Text of the legend.
        trials: The trials; all have an error.
        marker: Plotly marker.
    """

    label: str
    trials: tuple[Trial, ...]
    marker: dict[str, object]


def shown_costs(record: RunRecord) -> tuple[str, ...]:
    """Return the costs that the config minimises or bounds, in the order of the tables."""
    named = {item.name for item in record.config.objectives} | {item.name for item in record.config.constraints}
    return tuple(name for name in (*columns.COSTS, columns.DOWNLOAD_BYTES) if name in named) or ("flash_model_bytes",)


def groups(record: RunRecord, picked: int | None) -> tuple[Group, ...]:
    """Return the done trials by what they are; the last group is drawn on top."""
    done = [trial for trial in record.trials if trial.state is TrialState.DONE]
    front = {trial.number for trial in record.front}
    feasible = {trial.number for trial in done if trial.is_feasible(record.front.constraints)}
    outside = tuple(trial for trial in done if trial.number not in feasible)
    beaten = tuple(trial for trial in done if trial.number in feasible - front)
    chosen = tuple(trial for trial in done if trial.number == picked)
    return (
        Group("breaks a limit", outside, {"symbol": "x-thin-open", "size": 8, "color": RED, "line": {"width": 2}}),
        Group("beaten by another", beaten, {"symbol": "circle", "size": 8, "color": GREY}),
        Group("front", tuple(record.front), {"symbol": "circle", "size": 11, "color": BLUE}),
        Group("picked", chosen, {"symbol": "star", "size": 18, "color": ORANGE, "line": {"color": INK, "width": 1}}),
    )


def front_figure(record: RunRecord, picked: int | None) -> go.Figure:
    """Return one panel per cost; vertical lines are limits, ticks at the top are designs ruled out before training.

    Args:
        record: The run.
        picked: Number of the trial to mark, None for none.
    """
    costs = shown_costs(record)
    figure = make_subplots(rows=1, cols=len(costs), shared_yaxes=True, horizontal_spacing=0.04)
    all_groups, known = groups(record, picked), quantities(record.config.error_scale)
    ruled_out = [trial for trial in record.trials if trial.state is TrialState.INFEASIBLE]
    top = _top_error(record)
    for column, name in enumerate(costs, start=1):
        for group in all_groups:
            if group.trials:
                figure.add_trace(_points(group, name, known, legend=column == 1), row=1, col=column)
        costed = [trial for trial in ruled_out if trial.outcome.get(name) is not None]
        if costed:
            figure.add_trace(_ticks(costed, name, top, legend=column == 1), row=1, col=column)
        _add_limits(figure, record, name, column)
        figure.update_xaxes(title_text=COSTS[name].title, rangemode="tozero", row=1, col=column)
    figure.update_yaxes(title_text=known[columns.VALIDATION_ERROR].title, rangemode="tozero", row=1, col=1)
    return styled(figure, height=430)


def _points(group: Group, name: str, known: Mapping[str, Quantity], *, legend: bool) -> go.Scatter:
    quantity, error = known[name], known[columns.VALIDATION_ERROR]
    trials = [trial for trial in group.trials if trial.outcome.get(name) is not None]
    return go.Scatter(
        x=[quantity.shown(trial.outcome[name] or 0.0) for trial in trials],
        y=[error.shown(trial.outcome[columns.VALIDATION_ERROR] or 0.0) for trial in trials],
        mode="markers",
        marker=group.marker,
        error_x=_bars(trials, name, quantity) if group.label == "front" else None,
        name=group.label,
        legendgroup=group.label,
        showlegend=legend,
        text=[_hover(trial, known) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )


def _bars(trials: Sequence[Trial], name: str, quantity: Quantity) -> dict[str, object]:
    """Return the 80 % bars of a cost; runs of older versions have none."""
    values = [quantity.shown(trial.outcome[name] or 0.0) for trial in trials]
    ends = [[trial.outcome.get(end(name)) for trial in trials] for end in (columns.low_of, columns.high_of)]
    shown = [
        [value if end is None else quantity.shown(end) for value, end in zip(values, row, strict=True)] for row in ends
    ]
    return {
        "type": "data",
        "symmetric": False,
        "arrayminus": [value - low for value, low in zip(values, shown[0], strict=True)],
        "array": [high - value for value, high in zip(values, shown[1], strict=True)],
        "thickness": 1,
        "width": 2,
        "color": GREY,
    }


def _ticks(trials: Sequence[Trial], name: str, top: float, *, legend: bool) -> go.Scatter:
    """Designs without an error: marks along the upper edge, at the least the cost could have been."""
    return go.Scatter(
        x=[COSTS[name].shown(trial.outcome[name] or 0.0) for trial in trials],
        y=[top] * len(trials),
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 12, "color": RED},
        name="cannot fit, not trained (lower bound)",
        legendgroup="infeasible",
        showlegend=legend,
        text=[f"trial {trial.number}: {escape(trial.message)}" for trial in trials],
        hovertemplate="%{text}<extra></extra>",
    )


def _top_error(record: RunRecord) -> float:
    """Return a height just above every error, so that the marks there do not squeeze the points below."""
    factor = record.config.error_scale.factor
    errors = [trial.outcome.get(columns.VALIDATION_ERROR) for trial in record.trials]
    return 1.08 * max((factor * error for error in errors if error is not None), default=factor)


def _add_limits(figure: go.Figure, record: RunRecord, name: str, column: int) -> None:
    """Draw the config's limit on a cost; one far beyond every point is named only, lest it squeeze the points."""
    quantity = COSTS[name]
    costs = [trial.outcome.get(name) for trial in record.trials if trial.state is TrialState.DONE]
    largest = max((quantity.shown(cost) for cost in costs if cost is not None), default=0.0)
    for constraint in record.config.constraints:
        if constraint.name != name:
            continue
        limit = quantity.shown(constraint.upper)
        if limit > FAR_FACTOR * largest > 0:
            far = {"text": f"limit {quantity.text(constraint.upper)} {quantity.unit} →", "showarrow": False}
            place = {"x": 1, "y": 1, "xanchor": "right", "yanchor": "top", "font": {"color": RED}}
            figure.add_annotation(far | place, xref="x domain", yref="y domain", row=1, col=column)
        else:
            figure.add_vline(x=limit, line={"color": RED, "width": 1.5, "dash": "dash"}, row=1, col=column)
            figure.update_xaxes(range=[0, 1.06 * max(limit, largest)], row=1, col=column)


def _hover(trial: Trial, known: Mapping[str, Quantity]) -> str:
    lines = [f"<b>trial {trial.number}</b>"]
    for name, quantity in known.items():
        if trial.outcome.get(name) is not None:
            lines.append(f"{quantity.label} {quantity.text(trial.outcome[name])} {quantity.unit}")
    lines += [f"{escape(str(name))} = {escape(_value(value))}" for name, value in trial.design.items()]
    return "<br>".join(lines)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
