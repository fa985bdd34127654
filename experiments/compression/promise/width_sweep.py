"""The rival at equal flash: the widest networks of the baseline's family that in int8 are no larger than ours."""

from experiments.compression.promise.bench import Bench
from experiments.compression.promise.cell import width_cell
from experiments.compression.promise.config import PromiseConfig, Recipe
from experiments.compression.promise.ladder import mean


def fitting_widths(bench: Bench, config: PromiseConfig, recipe: Recipe, flash_bytes: float) -> tuple[float, ...]:
    """Return the widest values whose int8 network takes at most so much flash, the widest first; nothing is trained.

    Where even the narrowest network is larger, it alone is returned.
    """
    width = config.width
    fitting = [
        value
        for value in sorted(width.values, reverse=True)
        if bench.flash_model_bytes(width_cell(config, value, recipe, 0)) <= flash_bytes
    ]
    return tuple(fitting[: width.trained]) or (min(width.values),)


def best_width(bench: Bench, config: PromiseConfig, recipe: Recipe, flash_bytes: float) -> float:
    """Return the fitting width with the lowest mean validation error in int8 over all seeds."""

    def mean_error(value: float) -> float:
        cells = (width_cell(config, value, recipe, seed) for seed in range(config.seeds))
        return mean([bench.row(cell) for cell in cells], "validation_error")

    return min(fitting_widths(bench, config, recipe, flash_bytes), key=mean_error)
