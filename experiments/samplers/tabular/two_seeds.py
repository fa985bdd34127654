"""How much of an error in the table of keyword networks is the luck of one training and one fine-tuning?

    python -m experiments.samplers.tabular.two_seeds

288 designs were made with two seeds. The noise of one measurement is the deviation of the difference over the square
root of two; what a finite split adds is not in it, for both seeds are measured on the same samples. The last columns
say how well one seed tells the order of the other, of all these designs and of those within five points of the best.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from mobo.base import markdown
from mobo.benchmark import keyword_table
from mobo.space.columns import TEST_ERROR, VALIDATION_ERROR

_ERRORS = (VALIDATION_ERROR, TEST_ERROR)
_NEAR = 0.05


def main() -> None:
    """Print the table."""
    table = keyword_table()
    designs = table.designs_of(1)
    rows = []
    for name in _ERRORS:
        first, second = (np.array([table.query(design, seed=seed)[name] for design in designs]) for seed in (0, 1))
        rows.append([name, str(len(designs)), *compared(first, second)])
    heads = (
        "error", "designs", "mean, seed 0 %", "mean, seed 1 %", "noise of one, points", "rank correlation",
        "of the best",
    )  # fmt: skip
    print(markdown.table(heads, rows))


def compared(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[str]:
    """Return the means, the noise of one measurement, and how far one order is that of the other."""
    near = first <= first.min() + _NEAR
    return [
        f"{100 * first.mean():.2f}",
        f"{100 * second.mean():.2f}",
        f"{100 * (first - second).std(ddof=1) / np.sqrt(2):.2f}",
        f"{spearmanr(first, second).statistic:.3f}",
        f"{spearmanr(first[near], second[near]).statistic:.3f} ({near.sum()})",
    ]


if __name__ == "__main__":
    main()
