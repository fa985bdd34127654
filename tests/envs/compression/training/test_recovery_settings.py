"""How long a network may recover: what is refused, and how the steps are shared."""

import pytest

from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": -1}, "recovery steps is -1; it must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"distillation_weight": 1.5}, "distillation_weight is 1.5; it must be from 0 to 1"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be a positive number"),
        ({"quantisation_aware": "emma"}, "unknown quantisation_aware 'emma'; did you mean 'ema'"),
        ({"quantisation_aware_share": 0.0}, "quantisation_aware_share is 0.0; it must be above 0"),
        ({"batch_size": 1}, "batch_size is 1; it must be at least 2"),
        ({"batch_norm_samples": 1}, "batch_norm_samples is 1; it must be at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(EnvError, match=message):
        RecoverySettings(**values)


def test_the_steps_are_shared_between_float_and_quantised():
    settings = RecoverySettings(steps=50, quantisation_aware="ema", quantisation_aware_share=0.3)
    assert (settings.quantised_steps, settings.float_part.steps) == (15, 35)
    assert settings.float_part.quantised_steps == 0
    assert RecoverySettings(steps=50, quantisation_aware_share=0.3).quantised_steps == 0
