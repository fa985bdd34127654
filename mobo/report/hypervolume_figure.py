"""Hypervolume over trials: how the front grew."""

import plotly.graph_objects as go

from mobo.report.theme import BLUE, styled
from mobo.runs.record import RunRecord
from mobo.space.pareto import hypervolume_history


def hypervolume_figure(record: RunRecord) -> go.Figure:
    """Return the hypervolume after each finished trial, as steps."""
    trials = record.finished
    history = hypervolume_history(trials, record.config.objectives, record.front.constraints)
    figure = go.Figure(
        go.Scatter(
            x=[trial.number for trial in trials],
            y=list(history),
            mode="lines+markers",
            line={"shape": "hv", "color": BLUE, "width": 2.5},
            marker={"size": 5},
            hovertemplate="trial %{x}: %{y:.4f}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="trial")
    figure.update_yaxes(title_text="hypervolume", rangemode="tozero")
    return styled(figure, height=300)
