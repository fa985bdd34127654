"""Arms of the question about noise, compared on invented rows."""

from experiments.samplers.noisy_fronts import COLUMNS, comparison


def row(seed: int, arm: str, told: float, true: float) -> dict[str, str]:
    return dict(zip(COLUMNS, map(str, ("branin_currin", 0.03, seed, arm, told, true)), strict=True))


OURS = [row(0, "ours", 0.6, 0.5), row(1, "ours", 0.6, 0.5)]


def cells(arm: str, table: str) -> list[str]:
    return next(
        found for line in table.splitlines() if (found := [cell.strip() for cell in line.split("|")[1:-1]])[2] == arm
    )


def test_how_far_a_front_is_overstated_and_what_it_is_worth_beside_ours() -> None:
    table = comparison([*OURS, row(0, "told", 0.5, 0.5), row(1, "told", 0.5, 0.5)])
    assert cells("ours", table)[3:] == ["2", "0.6000", "0.5000", "1.200", ""]
    assert cells("told", table)[3:] == ["2", "0.5000", "0.5000", "1.000", "1.000 [1.000, 1.000]"]


def test_a_search_may_find_nothing_within_the_references() -> None:
    table = comparison([*OURS, row(0, "morbo", 0.5, 0.5), row(1, "morbo", 0.0, 0.0)])
    assert cells("morbo", table)[-1] == "0.500 [-5.853, 6.853]"


def test_only_seeds_of_both_arms_are_compared() -> None:
    table = comparison([*OURS, row(0, "told", 0.5, 0.5), row(7, "told", 0.9, 0.9)])
    assert "told" not in table
