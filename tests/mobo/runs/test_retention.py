"""Models of trials that are beaten go when a run grows beyond its size; the front and trained weights stay."""

from pathlib import Path

import pytest

from mobo.runs.directory import RunDirectory
from mobo.runs.retention import MIB, ModelRetention
from mobo.space.objectives import Objective
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from mobo.tinyml.model_names import QUANTISED, TRAINED

OBJECTIVES = (Objective(name="error", reference=1.0), Objective(name="flash_bytes", reference=100.0))
SIZE = 1000


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "run", config_toml="")


def finished(run: RunDirectory, number: int, error: float, flash_bytes: float, *, trained: bool = False) -> Trial:
    files = {QUANTISED: b"q" * SIZE} | ({TRAINED: b"t" * SIZE} if trained else {})
    run.save_model(number, files)
    outcome = {"error": error, "flash_bytes": flash_bytes}
    return Trial(number=number, design=Design({}), seed=0, state=TrialState.DONE, outcome=outcome)


def models(run: RunDirectory) -> set[int]:
    return {int(path.parent.name) for path in run.models_path.glob(f"*/{QUANTISED}")}


def retention(run: RunDirectory, sizes: float, trials: tuple[Trial, ...] = ()) -> ModelRetention:
    return ModelRetention(run, OBJECTIVES, (), limit_mib=sizes * SIZE / MIB, trials=trials)


def test_below_the_limit_everything_stays(run: RunDirectory) -> None:
    subject = retention(run, sizes=3)
    for number in range(3):
        subject.after(finished(run, number, 0.5 + 0.1 * number, 50.0))
    assert models(run) == {0, 1, 2}
    assert subject.total_bytes == 3 * SIZE


def test_beyond_it_the_oldest_that_are_beaten_go_and_the_front_never_does(run: RunDirectory) -> None:
    subject = retention(run, sizes=2)
    subject.after(finished(run, 0, 0.5, 50.0))  # beaten by 2
    subject.after(finished(run, 1, 0.6, 60.0))  # beaten by 0 and 2
    subject.after(finished(run, 2, 0.4, 40.0))
    assert models(run) == {1, 2}
    subject.after(finished(run, 3, 0.3, 70.0))
    assert models(run) == {2, 3}
    subject.after(finished(run, 4, 0.2, 90.0))
    # Three on the front take more than the limit, and stay.
    assert models(run) == {2, 3, 4}


def test_trained_weights_stay_for_children(run: RunDirectory) -> None:
    subject = retention(run, sizes=1)
    subject.after(finished(run, 0, 0.5, 50.0, trained=True))
    subject.after(finished(run, 1, 0.4, 40.0))
    assert models(run) == {1}
    assert (run.model_directory(0) / TRAINED).is_file()
    assert subject.total_bytes == 2 * SIZE


def test_a_resumed_run_counts_what_is_there(run: RunDirectory) -> None:
    before = finished(run, 0, 0.5, 50.0)
    subject = retention(run, sizes=1, trials=(before,))
    subject.after(finished(run, 1, 0.4, 40.0))
    assert models(run) == {1}
    assert not run.model_directory(0).exists()
