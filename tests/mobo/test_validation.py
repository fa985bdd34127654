"""Checking a study before it runs."""

from mobo.validation import validate
from tests.mobo.small_study import small_config


def test_validation_tells_what_will_happen_without_training() -> None:
    report = validate(small_config())
    text = "\n".join(report.lines)
    assert "smallest design at full compression: flash_model_bytes" in text
    assert "933 train, 216 reward, 288 validation samples" in text
    assert 0 < report.seconds_per_trial_estimate < report.total_seconds_estimate
