"""A network of the user's own as a file: found out by its content, and every way it can be unusable."""

from pathlib import Path

import pytest
import torch
from torch import nn

from mobo.base.errors import ConfigError, MoboError
from mobo.tinyml.networks import load_family
from mobo.tinyml.networks.own_file import OwnFileFamily
from tests.mobo.small_study import small_config
from tests.mobo.tinyml.networks.files.test_from_tflite import Written


def written(path: Path, shape: tuple[int, ...], outputs: int) -> Path:
    """Write a tflite file that flattens its input and has one dense layer."""
    file, inputs = Written((1, *shape)), shape[0] * shape[1] * shape[2]
    x = file.add("RESHAPE", [0, file.integers(1, inputs)], (1, inputs), 17)
    file.add("FULLY_CONNECTED", [x, file.constant(outputs, inputs)], (1, outputs), 8)
    path.write_bytes(file.data())
    return path


def test_the_content_says_what_a_file_is(tmp_path: Path) -> None:
    # A cluster's machine knows it by the key alone.
    path = written(tmp_path / "network.weights", (2, 2, 3), 4)
    family = load_family("module", None, path)
    assert not family.parameters((2, 2, 3))
    network = family.build({}, (2, 2, 3), 4)
    assert network(torch.zeros(5, 3, 2, 2)).shape == (5, 4)


def test_what_is_no_whole_network_is_told(tmp_path: Path) -> None:
    def refused(path: Path, shape: tuple[int, int, int] = (2, 2, 3), outputs: int = 4) -> str:
        with pytest.raises(MoboError) as error:
            OwnFileFamily(path).build({}, shape, outputs)
        return str(error.value)

    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "own.pt")
    assert "is a state dict, which says nothing of the layers; add [network] module" in refused(tmp_path / "own.pt")
    assert "none.tflite cannot be read: No such file" in refused(tmp_path / "none.tflite")
    # Its outputs would be compared with inputs in another order.
    path = written(tmp_path / "autoencoder.tflite", (2, 2, 3), 12)
    assert "reconstructs maps of 3 channels with the channels last" in refused(path, outputs=12)


def test_a_config_names_a_module_or_a_file() -> None:
    config = small_config("network={family = 'module', weights = 'x.tflite'}")
    assert config.network.module is None
    with pytest.raises(ConfigError, match=r'or weights = "trained.tflite"'):
        small_config("network={family = 'module'}")
