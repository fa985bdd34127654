"""Checking a study before it runs."""

import time

import pytest

from envs.compression.training.adam import Adam
from mobo.validation import validate
from tests.mobo.small_study import small_config


def test_validation_tells_what_will_happen_without_training() -> None:
    report = validate(small_config())
    text = "\n".join(report.lines)
    assert "smallest design at full compression: flash_model_bytes" in text
    splits = [line for line in report.lines if ", 10 classes (0 " in line]
    assert [line.partition(" samples")[0] for line in splits] == [
        "train: 933", "reward: 216", "validation: 288", "test: 360",
    ]  # fmt: skip
    assert 0 < report.seconds_per_trial_estimate < report.total_seconds_estimate


def test_the_timed_steps_have_an_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a small network it takes as long as all the rest.
    taken = []
    monkeypatch.setattr(Adam, "step", lambda self, loss, *, learning_rate: taken.append(learning_rate))
    validate(small_config())
    assert taken == [0.0, 0.0, 0.0]


def test_the_estimate_leaves_out_what_else_the_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that waits for its turn, as on a busy machine: its 25 steps would come to more than five seconds.
    monkeypatch.setattr(Adam, "step", lambda self, loss, *, learning_rate: time.sleep(0.25))
    assert validate(small_config()).seconds_per_trial_estimate < 4
