"""What every task must offer, run over all of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobo.tasks import describe_task, load_task, task_names
from mobo.tasks.data import TaskData
from mobo.tasks.settings import TASKS, DigitsSettings, NpzSettings


def digits(folder: Path) -> TaskData:
    return load_task(DigitsSettings())


def npz(folder: Path) -> TaskData:
    generator = np.random.default_rng(0)
    y = np.arange(400) % 4
    np.savez(folder / "arrays.npz", x_train=generator.normal(size=(400, 6, 5, 2)) + y[:, None, None, None], y_train=y)
    return load_task(NpzSettings(name="npz", file=folder / "arrays.npz"))


FACTORIES: dict[str, Callable[[Path], TaskData]] = {"digits": digits, "npz": npz}


def test_every_task_is_on_the_list() -> None:
    assert set(FACTORIES) == set(task_names()) == set(TASKS)


@pytest.mark.parametrize("name", FACTORIES)
class TestTask:
    def test_splits_have_the_shape_and_all_classes(self, name: str, tmp_path: Path) -> None:
        data = FACTORIES[name](tmp_path)
        height, width, channels = data.input_shape
        for samples in (data.train, data.reward, data.validation, data.load_test()):
            assert samples.x.shape[1:] == (channels, height, width)
            assert set(samples.y.tolist()) == set(range(len(data.class_names)))

    def test_no_sample_is_in_two_splits(self, name: str, tmp_path: Path) -> None:
        data = FACTORIES[name](tmp_path)
        splits = [data.train, data.reward, data.validation, data.load_test()]
        rows = [{sample.numpy().tobytes() for sample in samples.x} for samples in splits]
        assert sum(len(part) for part in rows) == len(set().union(*rows))

    def test_loading_twice_gives_the_same(self, name: str, tmp_path: Path) -> None:
        first, second = FACTORIES[name](tmp_path), FACTORIES[name](tmp_path)
        assert torch.equal(first.reward.x, second.reward.x)
        assert torch.equal(first.load_test().y, second.load_test().y)

    def test_train_split_is_standardised(self, name: str, tmp_path: Path) -> None:
        x = FACTORIES[name](tmp_path).train.x
        assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (x.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2

    def test_description_is_one_sentence(self, name: str, tmp_path: Path) -> None:
        assert describe_task(name).endswith(".")


def test_an_unknown_task_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown task 'digit'; did you mean 'digits'"):
        describe_task("digit")
