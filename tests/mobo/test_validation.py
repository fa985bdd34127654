"""Checking a study before it runs."""

import time

import pytest

from envs.compression.training.adam import Adam
from hw_models.runtime import load_runtime
from mobo import validation
from mobo.tinyml.counted_work import CHILD_S
from mobo.validation import _stored_lines, validate
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


@pytest.mark.parametrize(("runtime", "is_told"), [("tflm-cmsis-nn", True), ("tflm-decode", False), ("mobo-c", False)])
def test_stored_widths_that_save_nothing_are_told(runtime: str, is_told: bool) -> None:
    study = small_config("compression.method=fixed", f"device.runtime={runtime}")
    assert _stored_lines(study, load_runtime(runtime)) == ()
    asked = small_config("compression.method=fixed", f"device.runtime={runtime}", "space.stored_bits=3")
    lines = _stored_lines(asked, load_runtime(runtime))
    assert [line.partition(" stores")[0] for line in lines] == is_told * [
        "warning: space.stored_bits changes no cost on the chip under 'tflm-cmsis-nn', which"
    ]


def test_the_timed_steps_have_an_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a small network it takes as long as all the rest.
    taken = []
    monkeypatch.setattr(Adam, "step", lambda self, loss, *, learning_rate: taken.append(learning_rate))
    validate(small_config())
    assert len(taken) >= 3
    assert set(taken) == {0.0}


def test_the_first_steps_of_a_process_do_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    # They may take many times as long as those of a training.
    taken_s: list[float] = []
    monkeypatch.setattr(Adam, "step", lambda self, loss, *, learning_rate: taken_s.append(last_s(taken_s)))
    monkeypatch.setattr(validation, "_clock", lambda device: lambda: sum(taken_s))

    def last_s(before: list[float]) -> float:
        return 0.05 if len(before) < 3 else 0.001

    looks = 2
    assert validate(small_config()).seconds_per_trial_estimate - looks * CHILD_S < 0.2
    assert len(taken_s) > 6


def test_a_fine_tuning_is_told_by_batches_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its thousand steps of 32 samples are less work than a thousand of the whole split.
    step_s = 0.1
    monkeypatch.setattr(validation, "_step_seconds", lambda *what: step_s)
    told = [
        validate(small_config("space.batch_size=933", f"space.finetune_steps={steps}")).seconds_per_trial_estimate
        for steps in (1, 1001)
    ]
    assert 0.1 * 1000 * step_s < told[1] - told[0] < 0.9 * 1000 * step_s


def test_the_estimate_leaves_out_what_else_the_machine_does(monkeypatch: pytest.MonkeyPatch) -> None:
    # A process that waits for its turn, as on a busy machine: its 25 steps would come to more than five seconds.
    monkeypatch.setattr(Adam, "step", lambda self, loss, *, learning_rate: time.sleep(0.25))
    assert validate(small_config()).seconds_per_trial_estimate < 4
