from experiments.compression.promise.cell import baseline_cell, candidate_cell, width_cell
from tests.experiments.compression.promise.small import small_promise


def test_a_changed_setting_gives_another_key() -> None:
    configs = [
        small_promise(),
        small_promise("recipes.0.learning_rate=0.004"),
        small_promise("space.kernel=5"),
        small_promise("task.split_seed=1"),
        small_promise("device=nucleo-h743zi2"),
    ]
    for make in (
        lambda config: baseline_cell(config, config.recipes[0], 0),
        lambda config: candidate_cell(config, config.ladder[0], config.recipes[0], 0),
        lambda config: width_cell(config, 4, config.recipes[0], 0),
    ):
        keys = [make(config).key for config in configs]
        assert len(set(keys)) == len(keys)
        assert make(small_promise()).key == keys[0]


def test_the_cells_of_a_candidate_differ_by_seed_teacher_and_compression() -> None:
    config = small_promise()
    cell = candidate_cell(config, config.ladder[0], config.recipes[0], 0)
    assert cell.teachers == (baseline_cell(config, config.recipes[0], 0),)
    slower = small_promise("ladder.0.compression.finetune.steps=3")
    others = [
        candidate_cell(config, config.ladder[0], config.recipes[0], 1),
        candidate_cell(slower, slower.ladder[0], slower.recipes[0], 0),
        candidate_cell(config, config.ladder[0], config.recipes[1], 0),
    ]
    assert len({cell.key, *(other.key for other in others)}) == 4


def test_several_teachers_are_the_first_baselines_for_every_seed() -> None:
    config, recipe = small_promise("teachers=2"), small_promise().recipes[0]
    cells = [candidate_cell(config, config.ladder[0], recipe, seed) for seed in (0, 1)]
    assert all(cell.teachers == tuple(baseline_cell(config, recipe, seed) for seed in (0, 1)) for cell in cells)
    alone = candidate_cell(small_promise(), config.ladder[0], recipe, 0)
    assert len({alone.key, *(cell.key for cell in cells)}) == 3


def test_another_family_does_not_inherit_hyperparameters() -> None:
    config = small_promise('ladder.0.network={family = "residual"}', "ladder.0.space={width = 8}")
    assert candidate_cell(config, config.ladder[0], config.recipes[0], 0).space == {"width": 8}
    inherited = candidate_cell(small_promise(), small_promise().ladder[0], config.recipes[0], 0)
    assert inherited.space == small_promise().space | {"keep": 0.5}
