"""What pages of results are made of."""

from collections.abc import Iterable, Sequence

from experiments.compression.promise.bootstrap import Difference


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def interval(difference: Difference) -> str:
    """Return a difference with its interval.

    >>> interval(Difference(-0.25, -1.0, 0.5))
    '-0.25 [-1.00, +0.50]'
    """
    return f"{difference.points:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
