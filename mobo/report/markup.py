"""Pieces of HTML; every text that comes from outside is escaped here."""

from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go


def paragraph(text: str) -> str:
    """Return a paragraph; what stands between backticks is a command."""
    parts = escape(text).split("`")
    return f"<p>{''.join(f'<code>{part}</code>' if place % 2 else part for place, part in enumerate(parts))}</p>"


def bullets(items: Sequence[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def preformatted(text: str) -> str:
    """Return text as it is, in a box."""
    return f"<pre>{escape(text)}</pre>"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, marked: int | None = None) -> str:
    """Return a table.

    Args:
        headers: One per column.
        rows: Cells as text.
        marked: Index of the row to highlight.
    """
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(_row(row, marked=index == marked) for index, row in enumerate(rows))
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _row(cells: Sequence[str], *, marked: bool) -> str:
    start = '<tr class="picked">' if marked else "<tr>"
    return start + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def facts(entries: Sequence[tuple[str, str]]) -> str:
    """Return a row of big numbers, each with what it is below."""
    boxes = "".join(
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for value, label in entries
    )
    return f'<div class="facts">{boxes}</div>'


def section(title: str, *parts: str) -> str:
    """Return a titled part of the page; the parts are HTML already."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def figure_div(figure: go.Figure, name: str, *, least_px: int = 0) -> str:
    """Return a figure as HTML that needs the plotly script in the page's head.

    Args:
        figure: The figure.
        name: Unique in the page; fixed, so that the same run gives the same page.
        least_px: Width below which it is no longer made narrower, but moved sideways under its frame as tables are.
    """
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        default_height=f"{figure.layout.height}px",
        config={"displayModeBar": False, "responsive": True},
    )
    return f'<div class="scroll"><div style="min-width:{least_px}px">{html}</div></div>' if least_px else html
