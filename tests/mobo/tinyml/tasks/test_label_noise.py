"""Labels that a sample's likes contradict."""

from dataclasses import replace

import torch

from envs.compression.float_network.samples import LabelledSamples
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.label_noise import contradicted, label_warnings, surrounded
from mobo.tinyml.tasks.settings import AnomalySettings, DigitsSettings


def two_heaps(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(count) % 2
    x = torch.randn(count, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return x + 100.0 * y[:, None, None, None], y


def test_a_sample_among_those_of_another_class_is_found() -> None:
    x, y = two_heaps()
    assert surrounded(x, y).tolist() == []
    y[3] = 0
    assert surrounded(x, y).tolist() == [3]


def test_few_samples_have_no_neighbours() -> None:
    x, y = two_heaps(10)
    assert surrounded(x, 1 - y.roll(1)).tolist() == []


def test_a_shift_in_time_makes_no_other_signal() -> None:
    wave = torch.sin(torch.arange(64) * torch.tensor([[0.5], [0.7]]))
    x = torch.stack([wave[place % 2].roll(5 * place) for place in range(40)])[:, None, None]
    y = torch.arange(40) % 2
    y[3] = 0
    assert surrounded(x, y).tolist() == [3]


def test_equal_samples_of_two_classes_are_counted() -> None:
    x, y = two_heaps()
    assert contradicted(x, y) == 0
    x[5], x[7] = x[4], x[6]
    y[7] = 0
    assert contradicted(x, y) == 2


def test_what_is_found_is_said_with_counts() -> None:
    data = load_task(DigitsSettings())
    assert label_warnings(data) == ()
    place = int((data.train.y == 0).nonzero()[0])
    twice = LabelledSamples(
        torch.cat([data.train.x, data.train.x[place : place + 1]]), torch.cat([data.train.y, torch.tensor([6])])
    )
    assert label_warnings(replace(data, train=twice)) == (
        "2 of the samples are equal to one of another class",
        "1 of the samples have another label than all of their 10 nearest neighbours, which agree: 6 1; some of these "
        "labels may be wrong",
    )


def test_of_anomalies_nothing_is_said() -> None:
    task = AnomalySettings(name="anomaly", of=DigitsSettings(), normal=("0", "1"))
    assert label_warnings(load_task(task)) == ()
