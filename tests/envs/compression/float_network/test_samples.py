from pickle import dumps, loads

import numpy as np
import pytest
import torch

from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import StoredInputs, ValuesFile, in_memory, joined
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


def stored(tmp_path):
    """Return some inputs twice: on disk, and in memory as a task lays them out."""
    values = np.random.default_rng(0).integers(0, 256, (40, 5, 4, 3), dtype=np.uint8)
    values.tofile(tmp_path / "values.bin")
    mean, deviation = (np.array([[numbers]], np.float32) for numbers in ([100.3, 120.1, 90.7], [60.3, 71.9, 80.2]))
    held = torch.from_numpy((values.astype(np.float32) - mean) / deviation).permute(0, 3, 1, 2)
    file = ValuesFile(tmp_path / "values.bin", values.dtype, values.shape)
    return StoredInputs(file).standardised(mean, deviation), held


def test_stored_inputs_are_those_in_memory(tmp_path):
    on_disk, held = stored(tmp_path)
    chosen = torch.tensor([7, 8, 9, 3, 39, 0])
    for found, expected in (
        (on_disk[chosen], held[chosen]),
        (on_disk[3:17], held[3:17]),
        (in_memory(on_disk), held),
        (torch.cat(list(on_disk.split(7))), held),
        (on_disk.at(np.array([5, 1, 30]))[:], held[[5, 1, 30]]),
        (in_memory(joined((on_disk.at(np.arange(3)), on_disk.at(np.arange(8, 9))))), held[[0, 1, 2, 8]]),
        (in_memory(loads(dumps(on_disk.at(np.array([4, 2]))))), held[[4, 2]]),  # noqa: S301 - its own
    ):
        assert torch.equal(found, expected)
        assert found.stride() == expected.contiguous(memory_format=torch.channels_last).stride()


def test_moments_of_stored_inputs_are_those_of_the_values(tmp_path):
    on_disk, _ = stored(tmp_path)
    values = np.fromfile(tmp_path / "values.bin", np.uint8).reshape(40, 5, 4, 3).astype(np.float32)
    for axes in ((0, 1, 2), (0, 1)):
        mean, deviation = on_disk.moments(axes)
        np.testing.assert_array_equal(mean, values.mean(axis=axes, keepdims=True, dtype=np.float64))
        np.testing.assert_allclose(deviation, values.std(axis=axes, keepdims=True, dtype=np.float64), rtol=1e-12)


def test_a_digest_of_stored_inputs_tells_values_and_standardisation(tmp_path):
    on_disk, _ = stored(tmp_path)
    some = np.arange(6)
    other = on_disk.at(some).standardised(np.ones((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
    assert on_disk.at(some).digest() == loads(dumps(on_disk.at(some))).digest()  # noqa: S301 - its own
    assert len({on_disk.at(some).digest(), on_disk.at(some[::-1]).digest(), other.digest()}) == 3


def test_a_file_of_another_size_is_refused(tmp_path):
    stored(tmp_path)
    with pytest.raises(ValueError, match="is no file of 41 samples of 60 bytes"):
        ValuesFile(tmp_path / "values.bin", np.dtype(np.uint8), (41, 5, 4, 3))


def test_splits_that_lie_partly_on_disk_are_joined_in_memory() -> None:
    values = np.arange(24, dtype=np.float32).reshape(6, 2, 2, 1)
    stored, held = StoredInputs(values), StoredInputs(values)[:]
    assert isinstance(joined((stored, stored)), StoredInputs)
    for parts in ((stored, held), (held, stored)):
        together = joined(parts)
        assert isinstance(together, torch.Tensor)
        torch.testing.assert_close(together, torch.cat([held, held]))
