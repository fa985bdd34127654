"""The picked model layer by layer: where its time and its flash go, and what the agent decided for each layer."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mobo.report.saved_model import LayerRow, SavedModel
from mobo.report.theme import BLUE, GREEN, GREY, ORANGE, styled

BITS_COLOUR = {4: ORANGE, 8: BLUE}
ROW_PX = 26


def layers_figure(model: SavedModel) -> go.Figure:
    """Return three panels of horizontal bars that share the layers: latency, flash, keep ratio.

    Flash bars are coloured by the weight bits; a keep ratio stands at the layer that names its pruning group.
    """
    names = [row.name for row in model.layers]
    figure = make_subplots(
        rows=1,
        cols=3,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        column_widths=[0.38, 0.38, 0.24],
        subplot_titles=("latency (ms)", "flash (KiB)", "channels kept"),
    )
    figure.add_trace(_latency_bar(model), row=1, col=1)
    for label, colour, rows in _by_bits(model):
        figure.add_trace(_flash_bar(label, colour, rows), row=1, col=2)
    figure.add_trace(_keep_bar(model), row=1, col=3)
    figure.update_layout(barmode="overlay", bargap=0.3)
    styled(figure, height=170 + ROW_PX * len(names))
    # The legend at the very bottom: above the panels stand their titles.
    figure.update_layout(margin={"l": 160, "t": 40, "b": 80}, legend={"yref": "container", "y": 0, "x": 0.3})
    # The first layer on top, in the order in which they run.
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], automargin=True)
    figure.update_xaxes(range=[0, 1.25], tickformat=".0%", tickvals=[0, 0.5, 1], row=1, col=3)
    return figure


def _latency_bar(model: SavedModel) -> go.Bar:
    return go.Bar(
        y=[row.name for row in model.layers],
        x=[row.latency_ms for row in model.layers],
        orientation="h",
        marker_color=GREEN,
        showlegend=False,
        customdata=[(row.kind, row.macs) for row in model.layers],
        hovertemplate="%{y} (%{customdata[0]}): %{x:.4f} ms, %{customdata[1]:,} MACs<extra></extra>",
    )


def _keep_bar(model: SavedModel) -> go.Bar:
    names = {row.name for row in model.layers}
    ratios = {name: ratio for name, ratio in model.policy.keep_ratios.items() if name in names}
    return go.Bar(
        y=list(ratios),
        x=list(ratios.values()),
        orientation="h",
        marker_color=BLUE,
        showlegend=False,
        text=[f"{100 * ratio:.0f} %" for ratio in ratios.values()],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="group %{y}: %{text} kept<extra></extra>",
    )


def _by_bits(model: SavedModel) -> list[tuple[str, str, list[LayerRow]]]:
    """Return legend text, colour and layers for every kind of flash bar; layers without weights are their own kind."""
    weighted = {"conv2d", "depthwise_conv2d", "dense"}
    result = []
    for bits, colour in BITS_COLOUR.items():
        rows = [row for row in model.layers if row.kind in weighted and model.policy.bits(row.name) == bits]
        result.append((f"{bits}-bit weights", colour, rows))
    result.append(("no weights", GREY, [row for row in model.layers if row.kind not in weighted]))
    return [entry for entry in result if entry[2]]


def _flash_bar(label: str, colour: str, rows: list[LayerRow]) -> go.Bar:
    return go.Bar(
        y=[row.name for row in rows],
        x=[row.flash_bytes / 1024 for row in rows],
        orientation="h",
        marker_color=colour,
        name=label,
        customdata=[row.flash_bytes for row in rows],
        hovertemplate="%{y}: %{customdata:,} bytes<extra>" + label + "</extra>",
    )
