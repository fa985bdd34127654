import pytest

from mobo.runs.time_split import time_split, trial_seconds
from mobo.space.search_space import Design
from mobo.space.trial import Trial


def trial(number: int, times_s: dict[str, float]) -> Trial:
    return Trial(number=number, design=Design({}), seed=0, times_s=times_s)


def test_stages_are_summed_and_sorted_and_the_median_ignores_trials_without_them() -> None:
    split = time_split(
        [trial(0, {"suggest": 1.0, "train": 4.0}), trial(1, {"suggest": 2.0, "train": 2.0}), trial(2, {"suggest": 1.0})]
    )
    assert [(entry.stage, entry.median_s, entry.total_s) for entry in split] == [
        ("train", 3.0, 6.0),
        ("suggest", 1.0, 4.0),
    ]
    assert [entry.share for entry in split] == pytest.approx([0.6, 0.4])


def test_no_times_give_no_stages_and_zero_seconds_no_division() -> None:
    assert time_split([trial(0, {})]) == ()
    assert time_split([trial(0, {"store": 0.0})])[0].share == 0.0


def test_a_trials_seconds_are_the_sum_of_its_stages() -> None:
    assert trial_seconds(trial(0, {"suggest": 1.5, "train": 2.0})) == 3.5
