"""The memory timeline of the picked model: what is alive in the arena at every layer, and which layer sets the peak."""

from html import escape

import plotly.graph_objects as go

from mobo.report.saved_model import SavedModel
from mobo.report.theme import BLUE, GREY, INK, ORANGE, styled

KIB = 1024


def memory_figure(model: SavedModel) -> go.Figure:
    """Return one bar per layer, in running order: what always stays below, what lives then on top, the peak marked."""
    layers = [moment.layer for moment in model.timeline]
    figure = go.Figure()
    figure.add_trace(
        go.Bar(
            x=layers,
            y=[model.persistent_bytes / KIB] * len(layers),
            name="always there (interpreter, per-channel scales)",
            marker_color=GREY,
            hovertemplate="%{y:.2f} KiB<extra></extra>",
        )
    )
    figure.add_trace(
        go.Bar(
            x=layers,
            y=[moment.live_bytes / KIB for moment in model.timeline],
            name="tensors and scratch buffers",
            marker_color=[ORANGE if moment.layer == model.peak_layer else BLUE for moment in model.timeline],
            text=[" + ".join(escape(name) for name in moment.live) for moment in model.timeline],
            textposition="none",
            hovertemplate="%{x}: %{y:.2f} KiB<br>%{text}<extra></extra>",
        )
    )
    figure.add_hline(
        y=model.arena_bytes / KIB,
        line={"color": INK, "width": 1.5, "dash": "dot"},
        annotation_text=f"arena {model.arena_bytes / KIB:.2f} KiB",
        annotation_position="top right",
    )
    figure.update_layout(barmode="stack", bargap=0.15)
    styled(figure, height=400)
    figure.update_xaxes(automargin=True, tickangle=-35, categoryorder="array", categoryarray=layers)
    # A line does not widen an axis by itself, and the arena may be larger than the highest bar.
    figure.update_yaxes(title_text="arena (KiB)", range=[0, 1.15 * model.arena_bytes / KIB])
    return figure
