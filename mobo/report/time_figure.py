"""Where the time went: one stacked bar per trial."""

import plotly.graph_objects as go

from mobo.report.theme import (
    BLUE,
    BROWN,
    GREEN,
    GREY,
    INK,
    NAVY,
    OLIVE,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    SKY,
    styled,
)
from mobo.runs.record import RunRecord
from mobo.runs.time_split import time_split

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BROWN, PINK, OLIVE, GREY, INK, NAVY)
"""One for each of the stages that a trial can have."""


def time_figure(record: RunRecord) -> go.Figure:
    """Return the seconds of every trial, stage upon stage, the longest stage at the bottom."""
    figure = go.Figure()
    for index, entry in enumerate(time_split(record.trials)):
        figure.add_trace(
            go.Bar(
                x=[trial.number for trial in record.trials],
                y=[trial.times_s.get(entry.stage, 0.0) for trial in record.trials],
                name=entry.stage,
                marker_color=COLOURS[index % len(COLOURS)],
                hovertemplate="trial %{x}, " + entry.stage + ": %{y:.3f} s<extra></extra>",
            )
        )
    figure.update_layout(barmode="stack", bargap=0.15)
    figure.update_xaxes(title_text="trial")
    figure.update_yaxes(title_text="seconds", rangemode="tozero")
    return styled(figure, height=320)
