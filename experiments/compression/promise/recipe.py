"""The recipe of the float baseline: the best of a small grid on the validation split."""

from experiments.compression.promise.bench import Bench
from experiments.compression.promise.cell import baseline_cell
from experiments.compression.promise.config import PromiseConfig, Recipe

ERROR = "float_validation_error"


def best_recipe(bench: Bench, config: PromiseConfig) -> Recipe:
    """Return the recipe whose float networks have the lowest mean validation error; the first of equal ones."""

    def mean_error(recipe: Recipe) -> float:
        rows = [bench.row(baseline_cell(config, recipe, seed)) for seed in range(config.recipe_seeds)]
        # A recipe that diverges is out.
        return sum(float(row.get(ERROR) or "inf") for row in rows) / len(rows)

    return min(config.recipes, key=mean_error)
