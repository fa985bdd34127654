import pytest

from experiments.compression.promise import epoch_time
from experiments.compression.promise.epoch_time import STEPS, cpu_s_per_epoch
from mobo.tinyml.tasks import load_task
from tests.experiments.compression.promise.small import small_promise


def test_the_second_few_steps_stand_for_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_promise()
    data = load_task(config.task)
    ticks, sizes = iter([0.0, 10.0, 12.0]), []
    monkeypatch.setattr(epoch_time, "process_time", lambda: next(ticks))
    monkeypatch.setattr(epoch_time, "train", lambda module, samples, *args, **kwargs: sizes.append(len(samples)))
    # The second training lasts from 10 to 12 on this clock.
    assert cpu_s_per_epoch(config, data) == pytest.approx(2.0 * len(data.train) / (STEPS * 64))
    assert sizes == [STEPS * 64] * 2
