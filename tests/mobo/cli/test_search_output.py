"""What the progress bar says while trials run, several at a time."""

import numpy as np
import pytest

from mobo.cli.search_output import SearchOutput
from mobo.search import SearchEvent
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import SMALL_SPACE


def event(kind: str, number: int, state: TrialState = TrialState.DONE) -> SearchEvent:
    design = SMALL_SPACE.decode(np.full(3, 0.5))
    return SearchEvent(kind, Trial(number=number, design=design, seed=0, state=state), 5)  # type: ignore[arg-type]


def test_the_bar_names_the_trials_that_run_and_counts_those_that_are_finished(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines: list[str] = []
    seen: list[tuple[str, float]] = []
    with SearchOutput(lines.append, finished_before=1, trial_count=5) as output:
        for shown in (
            event("started", 1),
            event("started", 2),
            event("finished", 3, TrialState.INFEASIBLE),
            event("started", 4),
            event("finished", 2),
            event("finished", 1),
            event("finished", 4),
            event("scoring", 2),
        ):
            output.show(shown)
            (task,) = output._progress.tasks
            seen.append((task.description, task.completed))
    assert seen == [
        ("trial 1", 1),
        ("trials 1, 2", 1),
        ("trials 1, 2", 2),
        ("trials 1, 2, 4", 2),
        ("trials 1, 4", 3),
        ("trial 4", 4),
        ("choosing the next trial", 5),
        ("trial 2: test split", 5),
    ]
    assert [line[:9] for line in lines] == ["trial   3", "trial   2", "trial   1", "trial   4"]
    assert capsys.readouterr().out.splitlines() == lines
