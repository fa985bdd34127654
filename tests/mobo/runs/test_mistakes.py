"""What a model takes for what, and the signs of trainings that were too short."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw_models.files import FileError
from mobo.report.mistakes_section import mistakes_section
from mobo.report.saved_model import SavedModelError
from mobo.runs.directory import RunDirectory
from mobo.runs.mistakes import Mistakes, mistakes_of, read_mistakes
from mobo.runs.training_hints import training_hints
from mobo.space.search_space import Design
from mobo.space.trial import TrainingReference, Trial, TrialState
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_names import MISTAKES
from tests.mobo.small_study import small_config


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from("ab")), min_size=1))
def test_every_answer_is_counted_once(rows: list[tuple[int, int, str]]) -> None:
    answers, labels = (np.array([row[place] for row in rows]) for place in (0, 1))
    groups = np.array([row[2] for row in rows])
    found = mistakes_of(answers, labels, ("x", "y", "z"), groups)
    for label in range(3):
        for answer in range(3):
            assert found.confusion[label][answer] == sum(row[:2] == (answer, label) for row in rows)
    for group in found.groups:
        assert group.samples == sum(row[2] == group.name for row in rows)
        assert group.wrong == sum(row[2] == group.name and row[0] != row[1] for row in rows)
    assert [group.error for group in found.groups] == sorted((group.error for group in found.groups), reverse=True)
    assert sum(count for _, _, count, _ in found.confused(9)) == sum(row[0] != row[1] for row in rows)


def test_it_is_read_as_it_was_written_and_refused_where_it_was_changed(tmp_path: Path) -> None:
    found = mistakes_of(np.array([0, 1]), np.array([0, 0]), ("<b>", "y"))
    assert read_mistakes(tmp_path) is None
    found.write(tmp_path)
    assert read_mistakes(tmp_path) == found
    (tmp_path / MISTAKES).write_text("[]")
    with pytest.raises(FileError):
        read_mistakes(tmp_path)


def test_the_report_shows_classes_and_groups(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    assert mistakes_section(run, 3) == ""
    folder = run.model_directory(3)
    folder.mkdir(parents=True)
    groups = np.array([f"speaker-{number}" for number in range(20)])
    mistakes_of(np.arange(20) % 2, np.zeros(20, np.int64), ("<b>", "y"), groups).write(folder)
    page = mistakes_section(run, 3)
    assert "The 15 of 20 with the highest error." in page
    assert "speaker-1</td>" in page
    assert "<b></td>" not in page
    (folder / MISTAKES).write_text("{}")
    with pytest.raises(SavedModelError, match="resume the search to score the front again"):
        mistakes_section(run, 3)


def test_the_commonest_mistakes_come_first() -> None:
    found = Mistakes(class_names=("a", "b"), confusion=((5, 1), (4, 0)))
    assert found.confused(1) == [("b", "a", 4, 4)]


@dataclass
class Record:
    trials: tuple[Trial, ...]
    config: StudyConfig

    @property
    def front(self) -> tuple[Trial, ...]:
        return self.trials


def trained(*errors: tuple[float, float], child: bool = False, config: StudyConfig | None = None) -> Any:
    return Record(
        tuple(
            Trial(
                number=number,
                design=Design({"x": number}),
                seed=0,
                state=TrialState.DONE,
                outcome={"float_validation_error": before, "validation_error": after},
                training=TrainingReference(trial=99, digest="", seed=0) if child else None,
            )
            for number, (before, after) in enumerate(errors)
        ),
        config or small_config(),
    )


def test_high_errors_and_gains_by_compression_are_signs_of_short_trainings() -> None:
    (high,) = training_hints(trained((0.5, 0.5), (0.6, 0.6), (0.1, 0.1), (0.1, 0.2)))
    assert high.startswith("2 of 4 trained networks have an error above 40 %")
    (gain,) = training_hints(trained((0.3, 0.25), (0.3, 0.24), (0.3, 0.27), (0.3, 0.2)))
    assert gain.startswith("the median model of the front is better by 5.5 points")
    assert training_hints(trained((0.1, 0.11), (0.1, 0.09), (0.5, 0.5), (0.1, 0.1))) == ()
    assert training_hints(trained((0.9, 0.9))) == training_hints(trained()) == ()
    # Children share a training, which counts once.
    assert training_hints(trained((0.5, 0.5), (0.6, 0.6), (0.5, 0.5), (0.6, 0.6), child=True)) == ()


def test_what_is_high_for_a_regression_is_what_a_constant_says() -> None:
    config = small_config("task={name='npz', file='a.npz', error='rmse', unit='kg'}", "objectives.0.reference=50")
    (high,) = training_hints(trained((46.0, 46.0), (60.0, 60.0), (20.0, 20.0), (20.0, 20.0), config=config))
    assert high.startswith("2 of 4 trained networks have an RMSE above 45.00 kg before any compression")
    (gain,) = training_hints(trained((20.0, 18.0), (20.0, 18.0), (20.0, 18.0), (20.0, 18.0), config=config))
    assert gain.startswith("the median model of the front is better by 2.00 kg")
    assert training_hints(trained((44.0, 44.0), (20.0, 19.5), (20.0, 19.5), (20.0, 19.5), config=config)) == ()
