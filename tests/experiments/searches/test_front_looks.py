"""The comparison of two ways of searching, against numbers worked out by hand."""

import math

import pytest

from experiments.searches.front_looks import Look, against_the_best, comparison, pairs, read_looks, table, write_looks


def looks(*hypervolumes: float, minutes: tuple[int, ...] = (1, 2, 4), models: int = 3) -> list[Look]:
    return [Look(m, 10 * m, m, 0.5, value, models) for m, value in zip(minutes, hypervolumes, strict=False)]


def test_rows_are_read_as_they_were_written(tmp_path) -> None:
    path = tmp_path / "rows.csv"
    write_looks(path, "digits", 0, "a, b", looks(0.1, 0.2))
    write_looks(path, "digits", 1, "a, b", looks(0.3))
    assert read_looks(path) == {("digits", 0, "a, b"): looks(0.1, 0.2), ("digits", 1, "a, b"): looks(0.3)}
    assert read_looks(tmp_path / "none.csv") == {}


def test_a_pair_is_cut_to_the_time_that_both_used() -> None:
    found = {("t", 0, "ours"): looks(0.1, 0.4), ("t", 0, "theirs"): looks(0.1, 0.2, 0.9), ("t", 1, "ours"): looks(1)}
    (pair,) = pairs(found, "ours", "theirs")
    assert (pair.seed, pair.hypervolume, pair.speed, pair.is_reached) == (0, 2.0, 1.0, True)


def test_faster_is_the_others_time_over_the_first_look_with_as_much() -> None:
    found = {("t", 0, "ours"): looks(0.3, 0.5, 0.6), ("t", 0, "theirs"): looks(0.1, 0.2, 0.5)}
    assert pairs(found, "ours", "theirs")[0].speed == 2.0
    assert pairs(found, "theirs", "ours")[0].speed == 1.0
    assert not pairs(found, "theirs", "ours")[0].is_reached


def test_the_best_rival_is_each_tasks_own() -> None:
    found = {
        ("s", 0, "ours"): looks(0.4),
        ("s", 0, "p"): looks(0.2),
        ("s", 0, "q"): looks(0.5),
        ("t", 0, "ours"): looks(0.4),
        ("t", 0, "p"): looks(0.4),
        ("t", 0, "q"): looks(0.1),
    }
    assert [pair.hypervolume for pair in against_the_best(found, "ours", ["p", "q"])] == [0.8, 1.0]


def test_intervals_are_of_logarithms() -> None:
    found = {
        ("t", 0, "ours"): looks(0.2),
        ("t", 0, "theirs"): looks(0.1),
        ("t", 1, "ours"): looks(0.8),
        ("t", 1, "theirs"): looks(0.1),
    }
    # Logarithms ln 2 and ln 8: mean ln 4, and Student's 97.5 % point with one degree of freedom is tan(0.475 pi).
    half = math.tan(0.475 * math.pi) * math.log(4) / math.sqrt(2) / math.sqrt(2)
    (row,) = [line for line in comparison(found, "ours", ["theirs"]).splitlines() if line.startswith("| theirs")]
    assert f"| 4.00 [{math.exp(math.log(4) - half):.2f}, {math.exp(math.log(4) + half):.2f}] |" in row
    assert row.split(" | ")[1:3] == ["1", "2"]


@pytest.mark.parametrize(("lengths", "shown"), [((2, 2), "0.2000"), ((2, 1), "-")])
def test_a_mean_is_of_all_searches_or_not_given(lengths: tuple[int, int], shown: str) -> None:
    found = {("t", seed, "a"): looks(0.1, 0.2)[:length] for seed, length in enumerate(lengths)}
    assert table(found, ["a"]).splitlines()[-1].split(" | ")[7] == shown


def test_a_search_without_a_front_has_no_ratio() -> None:
    found = {("t", 0, "ours"): looks(0.2), ("t", 0, "none"): looks(0.0, models=0), ("t", 0, "some"): looks(0.1)}
    rows = comparison(found, "ours", ["none", "some"]).splitlines()[2:]
    assert [row.split(" | ")[3] for row in rows] == ["-", "2.00", "2.00"]
