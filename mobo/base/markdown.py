"""Tables of Markdown pages, and the figures in them."""

import re
from collections.abc import Iterable, Sequence
from html import escape

from mobo.base.plain_text import visible

_MARKUP = re.compile(r"[\\`*_\[\]~!]")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""Return a Markdown table; :func:`cell` says what becomes of a value that is no text.

    Args:
        columns: The heads.
        rows: Cells, as many in every row as there are columns.

    Raises:
        ValueError: A row has another number of cells.

    >>> print(table(["name", "error"], [["a|b", 0.123456], ["c", None]]))
    | name | error |
    | --- | --- |
    | a\|b | 0.1235 |
    | c | - |
    """
    lines = [_line(columns), _line(["---"] * len(columns))]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"row {number} of the table has {len(row)} cells and the head {len(columns)}")
        lines.append(_line([cell(value) for value in row]))
    return "\n".join(lines)


def cell(value: object) -> str:
    r"""Return the text of a cell: numbers to four digits, a dash for what is unknown; nothing in it ends the cell.

    >>> cell(0.123456), cell(None), cell(12), cell("a|b")
    ('0.1235', '-', '12', 'a\\|b')
    """
    if value is None:
        return "-"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.splitlines()).replace("|", "\\|")


def literal(text: str) -> str:
    r"""Return text that a page shows as it is: no markup of Markdown or HTML, no line of its own.

    >>> print(literal("a_b | <i>[x](y)"))
    a\_b &#124; &lt;i&gt;\[x\](y)
    """
    shown = escape(visible(text), quote=False)
    shown = shown.replace("|", "&#124;")
    return _MARKUP.sub(r"\\\g<0>", shown)


def code(text: str) -> str:
    """Return text in the letters of code, as it is but for its own quotation marks.

    >>> code("runs/a_b"), code("a`b")
    ('`runs/a_b`', "`a'b`")
    """
    return f"`{visible(text).replace('`', chr(39))}`"


def interval(value: float, low: float, high: float) -> str:
    """Return a difference with its interval, signed.

    >>> interval(-0.25, -1.0, 0.5)
    '-0.25 [-1.00, +0.50]'
    """
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
