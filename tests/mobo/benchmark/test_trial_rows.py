import numpy as np
import pytest

from mobo.benchmark.problems.toy_network import SPACE
from mobo.benchmark.trial_rows import read_trials, trials_csv
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import MIXED_SPACE


def trials_of(space, count: int = 12) -> list[Trial]:  # type: ignore[no-untyped-def]
    generator = np.random.default_rng(0)
    trials = [
        Trial(
            number=number,
            design=space.decode(generator.random(len(space))),
            seed=number + 7,
            state=TrialState.DONE,
            outcome={"error": float(generator.random()) / 3, "time_h": 2.0},
            times_s={"suggest": 0.125, "evaluate": 2.0},
        )
        for number in range(count)
    ]
    failed = Trial(
        number=count, design=trials[0].design, seed=1, state=TrialState.FAILED, message='two\nlines, a comma and a "'
    )
    return [*trials, failed]


@pytest.mark.parametrize("space", [MIXED_SPACE, SPACE], ids=["mixed", "conditional"])
def test_what_is_written_reads_back_digit_for_digit(space) -> None:  # type: ignore[no-untyped-def]
    trials = trials_of(space)
    assert len({tuple(trial.design) for trial in trials}) > 1 or space is MIXED_SPACE
    again = read_trials(trials_csv(trials), space)
    assert again == trials
    assert [trial.times_s for trial in again] == [trial.times_s for trial in trials]
    assert all(
        type(one) is type(two)
        for a, b in zip(again, trials, strict=True)
        for one, two in zip(a.design.values(), b.design.values(), strict=True)
    )


def test_without_a_space_everything_but_the_designs_comes_back() -> None:
    trials = trials_of(MIXED_SPACE)
    again = read_trials(trials_csv(trials))
    assert all(trial.design == Design({}) for trial in again)
    assert [trial.outcome for trial in again] == [trial.outcome for trial in trials]


def test_columns_say_what_they_hold() -> None:
    header = trials_csv(trials_of(SPACE)).splitlines()[0].split(",")
    assert header[:5] == ["trial", "state", "seed", "outcome_error", "outcome_time_h"]
    assert {"design_width", "time_suggest_s", "message"} <= set(header)


def test_a_foreign_value_is_named() -> None:
    text = trials_csv(trials_of(SPACE)).replace("depthwise", "winograd")
    with pytest.raises(ValueError, match="'convolution' has the value 'winograd'"):
        read_trials(text, SPACE)
