"""What `mobo validate` tells held against what trials take: the table, and what is counted."""

from pathlib import Path

from experiments.benchmarks import told_times
from tests.mobo.small_study import small_config


def test_what_is_outside_the_factor_is_named() -> None:
    rows = [
        dict(zip(told_times.COLUMNS, values, strict=True))
        for values in (("near", "5", "10", "12", "9", "15", "1"), ("far", "4", "10", "16", "15", "17", "3"))
    ]
    text = told_times.page(rows, command="asked")
    assert "`asked` (needs `MOBO_DATA_DIR`): 1 of 2 within a factor of 1.5, outside: far." in text
    assert "| near | 5 | 10.0 | 12.0 | 9.0 to 15.0 | 0.83 | 1.0 |" in text


def test_so_many_trials_that_train_are_counted() -> None:
    taken_s = told_times._taken(small_config("trials=9", "sampler.name=random"), 2)
    assert len(taken_s) == 2
    assert min(taken_s) > 0


def test_the_studies_are_those_of_the_repository() -> None:
    assert all(Path(words[0]).is_file() for words in told_times.STUDIES.values())
