"""Which candidate is taken, with rows that nobody trained."""

import pytest

from experiments.compression.promise.bench import Bench
from experiments.compression.promise.cell import Cell
from experiments.compression.promise.ladder import choose
from experiments.compression.promise.rows import Row
from tests.experiments.compression.promise.small import small_promise

BASELINE_ERROR = 0.10


class Told(Bench):
    """A bench that knows the errors of all candidates, seed by seed."""

    def __init__(self, errors: dict[str, list[float | None]]) -> None:
        self._errors = errors
        self.asked: list[tuple[str, int]] = []

    def row(self, cell: Cell) -> Row:
        if cell.step == "baseline":
            return {"float_validation_error": str(BASELINE_ERROR)}
        self.asked.append((cell.label, cell.seed))
        error = self._errors[cell.label][cell.seed]
        return {"message": "it diverged"} if error is None else {"message": "", "validation_error": str(error)}


def choice(errors: dict[str, list[float | None]], *, tolerance_points: float = 0.0) -> tuple[str | None, Told]:
    config = small_promise("selection_seeds=2", f"tolerance_points={tolerance_points}")
    candidate = config.ladder[0]
    ladder = tuple(candidate.model_copy(update={"name": name}) for name in errors)
    bench = Told(errors)
    found = choose(bench, config.model_copy(update={"ladder": ladder}), config.recipes[0])
    return None if found is None else found.name, bench


def test_the_first_that_is_no_worse_is_taken_and_the_rest_is_not_trained() -> None:
    name, bench = choice({"tiny": [0.105, 0.105], "small": [0.08, 0.12], "large": [0.05, 0.05]})
    assert name == "small"
    assert bench.asked == [("tiny", 0), ("tiny", 1), ("small", 0), ("small", 1)]


def test_the_hopeless_and_the_failed_get_no_second_seed() -> None:
    name, bench = choice({"tiny": [0.3, 0.0], "diverged": [None, 0.0], "large": [0.1, 0.1]})
    assert name == "large"
    assert bench.asked == [("tiny", 0), ("diverged", 0), ("large", 0), ("large", 1)]


@pytest.mark.parametrize(("points", "name"), [(0.0, None), (0.9, None), (1.1, "tiny")])
def test_the_tolerance_is_in_percentage_points(points: float, name: str | None) -> None:
    assert choice({"tiny": [0.11, 0.11]}, tolerance_points=points)[0] == name
