"""The look of the page and its figures: one palette (safe for the colour-blind), one type face, one style sheet."""

from typing import Any

import plotly.graph_objects as go

BLUE, ORANGE, GREEN, RED, GREY, LIGHT, INK = "#2563a8", "#d97b1c", "#3d8f6d", "#b5403a", "#a3acb6", "#e6eaee", "#1d2733"
PURPLE, SKY, BROWN, PINK, OLIVE, NAVY = "#7b5ea7", "#56b4e9", "#8c6d46", "#cc79a7", "#b5a300", "#1b3a6b"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

STYLE = f"""
:root {{ color-scheme: light; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; background: #f5f7f9; color: {INK}; font: 16px/1.55 {FONT}; }}
main {{ max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }}
h1 {{ font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }}
h2 {{ font-size: 1.2rem; margin: 0 0 .4rem; }}
h2:not(:first-child) {{ margin-top: 1.5rem; }}
p {{ max-width: 46rem; margin: .4rem 0; overflow-wrap: anywhere; }}
code {{ font-size: .9em; background: #f5f7f9; border-radius: 4px; padding: .1em .3em; }}
.lead {{ color: #52606d; }}
section, .fact {{ background: #fff; border: 1px solid {LIGHT}; border-radius: 10px; }}
section {{ padding: 1.3rem 1.5rem; margin-top: 1.2rem; }}
.facts {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); gap: .8rem; }}
.facts {{ margin-top: 1.1rem; }}
.fact {{ padding: .7rem 1rem; }}
.fact b {{ display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; }}
.fact span, .note {{ color: #52606d; font-size: .86rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .6rem 0; }}
th, td {{ padding: .32rem .7rem; border-bottom: 1px solid {LIGHT}; text-align: right; white-space: nowrap; }}
th {{ font-weight: 600; color: #52606d; border-bottom-color: {GREY}; }}
th:first-child, td:first-child {{ text-align: left; }}
tr.picked td {{ background: #fdf3e6; font-weight: 600; }}
pre {{ background: #f5f7f9; border-radius: 6px; padding: .9rem 1rem; overflow-x: auto; }}
pre {{ font-size: .84rem; line-height: 1.45; }}
li {{ max-width: 46rem; margin: .3rem 0; overflow-wrap: anywhere; }}
@media (max-width: 36rem) {{ main {{ padding: 1.2rem .7rem 2rem; }} section {{ padding: 1rem .9rem; }} }}
@media (max-width: 36rem) {{ ul {{ padding-left: 1.2rem; }} }}
"""


def styled(figure: go.Figure, *, height: int) -> go.Figure:
    """Give a figure the page's look."""
    axis: dict[str, Any] = {
        "gridcolor": LIGHT,
        "zeroline": False,
        "linecolor": GREY,
        "ticks": "outside",
        "tickcolor": GREY,
    }
    figure.update_layout(
        height=height,
        template="none",
        paper_bgcolor="white",
        plot_bgcolor="white",
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 64, "r": 20, "t": 40, "b": 56},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0.0},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure
