import pytest
import torch

from envs.compression.float_network.samples import LabelledSamples
from envs.errors import EnvError


def test_subset_keeps_the_order_asked_for():
    samples = LabelledSamples(torch.arange(4.0).reshape(4, 1, 1, 1), torch.tensor([0, 1, 2, 3]))
    chosen = samples.subset([2, 0])
    assert chosen.x.flatten().tolist() == [2, 0]
    assert chosen.y.tolist() == [2, 0]
    assert len(chosen) == 2


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64), r"shape \(2, 3\); it must be float32, N x C x H x W"),
        (torch.zeros(2, 1, 1, 1, dtype=torch.float64), torch.zeros(2, dtype=torch.int64), "x is torch.float64"),
        (torch.zeros(2, 1, 1, 1), torch.zeros(3, dtype=torch.int64), "one label for each of the 2 samples"),
        (torch.zeros(2, 1, 1, 1), torch.zeros(2), "y is torch.float32"),
        (torch.zeros(0, 1, 1, 1), torch.zeros(0, dtype=torch.int64), "there are no samples"),
        (
            torch.full((1, 1, 1, 1), float("nan")),
            torch.zeros(1, dtype=torch.int64),
            "x holds values that are not finite",
        ),
    ],
)
def test_samples_that_cannot_be_used_say_why(x, y, message):
    with pytest.raises(EnvError, match=message):
        LabelledSamples(x, y)
