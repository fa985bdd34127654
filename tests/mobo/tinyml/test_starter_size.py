"""How large a first config lets its networks be."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hw_models.device import load_device
from hw_models.runtime import default_runtime
from mobo.tinyml import starter_size
from mobo.tinyml.config import parse_config
from mobo.tinyml.starter_size import MOST_TRIAL_S, Size, affordable_size

SizeOf = Callable[[int, int], Size]
STUDY = """
name = "study"
seed = 0
trials = 4
[task]
name = "npz"
file = {file!r}
[network]
family = "residual"
[device]
name = "nucleo-l4r5zi"
[[objectives]]
name = "validation_error"
reference = 1.0
[[objectives]]
name = "flash_model_bytes"
unit = "bytes"
reference = 262144
[[constraints]]
name = "ram_bytes"
unit = "bytes"
upper = 327680
"""


@pytest.fixture
def size_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SizeOf:
    """Return the size for so many images of a side."""
    monkeypatch.setattr(starter_size, "_COUNTED_DESIGNS", 6)
    device = load_device("nucleo-l4r5zi")

    def size(samples: int, side: int) -> Size:
        file = tmp_path / f"{samples}-{side}.npz"
        x = np.random.default_rng(0).random((samples, side, side, 3), dtype=np.float32)
        np.savez(file, x_train=x, y_train=np.arange(samples) % 4)
        runtime = default_runtime(device)
        assert runtime is not None
        found = affordable_size(STUDY.format(file=str(file)), device, runtime)
        config = parse_config(STUDY.format(file=str(file)), starter_size._overrides(found.space))
        assert set(config.space) == set(found.space)
        return found

    return size


def test_small_networks_stay_as_they_are_and_few_samples_are_learnt_from_often(size_of: SizeOf) -> None:
    size = size_of(200, 8)
    assert (size.space, size.is_narrowed) == ({"epochs": 100}, False)
    assert 0 < size.seconds <= MOST_TRIAL_S


def test_what_takes_longest_is_left_out_first(size_of: SizeOf) -> None:
    size = size_of(800, 32)
    assert size.is_narrowed
    assert size.space["kernel"] == 3
    assert size.seconds <= MOST_TRIAL_S


def test_where_nothing_is_short_enough_the_shortest_is_told(size_of: SizeOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter_size, "MOST_TRIAL_S", 0.01)
    size = size_of(200, 8)
    assert size.space["stem_stride"] == 2
    assert size.seconds > 0.01


def test_of_several_families_the_first_is_made_narrower_under_its_own_names() -> None:
    sizes = list(starter_size._sizes(("cnn", "mlp"), 1000))
    assert list(sizes[0]) == ["epochs"]
    assert sizes[1]["cnn_width"]["values"][-1] == 24
    assert (sizes[-1]["cnn_kernel"], sizes[-1]["cnn_stem_stride"]) == (3, 2)
    assert not any(name.startswith("mlp") or name in ("width", "kernel") for size in sizes for name in size)
