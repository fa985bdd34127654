"""A network of the user's own: found, built, and every way it can be unusable."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hw_models.errors import HardwareModelError
from mobo.base.errors import ConfigError, MoboError
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.tinyml.config import parse_config
from mobo.tinyml.networks import load_family
from mobo.tinyml.networks.own_module import OwnModuleFamily
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from tests.mobo.small_study import TEXT, hyperparameters_of, small_config
from tests.mobo.tinyml.networks import own_networks

HERE = "tests.mobo.tinyml.networks.own_networks"


def text(target: str) -> str:
    """Return the small study with the user's network in place of the searched one."""
    study, _ = TEXT.split("[space]")
    return f'{study}[network]\nfamily = "module"\nmodule = "{target}"\n[space]\nepochs = 1\n'


def problem(target: str) -> TinyMLProblem:
    config = parse_config(text(target))
    setup = load_setup(config)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def middle(found: TinyMLProblem) -> Design:
    return found.space.decode(np.full(len(found.space), 0.5))


def network(target: str) -> object:
    found = problem(target)
    return found.designs.network(middle(found), seed=0)


def test_a_study_of_an_own_network_searches_the_recipe_and_the_targets() -> None:
    found = problem(f"{HERE}:build")
    assert set(found.space.names) == {"learning_rate", "flash_target", "ram_target", "latency_target"}
    assert found.check(middle(found)).feasible


def test_an_own_network_goes_the_whole_way() -> None:
    found = problem(f"{HERE}:build")
    outcome = found.evaluate(Trial(number=0, design=middle(found), seed=1)).outcome
    assert 0 <= outcome["validation_error"] <= 1
    assert outcome["flash_model_bytes"] <= 24576


def test_weights_lie_in_torchs_own_order() -> None:
    # Else the weights decide in which order convolutions run, and in one of them a kernel is defective.
    network = load_family("module", f"{HERE}:channels_last").build({}, (8, 8, 3), 10)
    assert network.conv[0].weight.stride() == (27, 9, 3, 1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.at_all:build", r"'nowhere.at_all:build' cannot be imported: No module named 'nowhere'. Looked where"),
        (f"{HERE}:biuld", "unknown function of .* 'biuld'; did you mean 'build'"),
        (f"{HERE}:NOT_A_FUNCTION", "unknown function of .* 'NOT_A_FUNCTION'"),
        (f"{HERE}:no_module", "returned a str; it must return a torch.nn.Module"),
        (f"{HERE}:without_arguments", r"is called with \(input_shape, output_count\), which it does not take"),
        (f"{HERE}:weight_normed", "module 'inner' has a hook or a parametrisation"),
        (f"{HERE}:hooked", "module 'inner' has a hook or a parametrisation"),
        (f"{HERE}:double_precision", r"conv\.0\.weight is torch\.float64 on cpu; build the network in float32"),
        (f"{HERE}:one_class_more", r"output has the shape \(1, 1, 11\); the task needs 10 in a vector"),
    ],
)
def test_an_unusable_function_is_named(target: str, message: str) -> None:
    with pytest.raises(MoboError, match=message):
        network(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("branching", "Branching cannot be traced: .* must not depend on the values or sizes of tensors"),
        ("grouped", "module 'inner' has 4 groups for 16 -> 16 channels"),
        ("shared", "modules '1' and '2' share their weights; give each its own"),
        ("one_layer_twice", "module 'inner' is called twice; give every call its own module"),
        ("one_layer_under_two_names", "module 'inner' is called twice; give every call its own module"),
        ("concatenating", r"own_networks\.py:\d+: module 'head' takes 16 channels, but reads the shape \(1, 1, 32\)"),
        ("flattened_sum", "add layer 'add' reads a flattened feature map; flatten after the addition instead"),
    ],
)
def test_an_unusable_network_is_refused_before_it_is_trained(target: str, message: str) -> None:
    with pytest.raises((HardwareModelError, ValueError), match=message):
        network(f"{HERE}:{target}")


def test_the_current_folder_is_searched_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network_here.py").write_text(f"from {HERE} import build\n")
    (tmp_path / "json.py").write_text("raise SystemExit('the standard library was hidden')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = load_family("module", "own_network_here:build").build({}, (8, 8, 1), 3)
    assert type(module).__name__ == "OwnNetwork"
    assert sys.path[-1] == str(tmp_path)


def test_reading_a_config_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_network_unread.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    parse_config(text("own_network_unread:build"))
    load_family("module", "own_network_unread:build").parameters((8, 8, 1))
    assert "own_network_unread" not in sys.modules


@pytest.mark.parametrize("network", ['family = "module"', 'family = "residual"\nmodule = "a:b"'])
def test_the_module_goes_with_its_family(network: str) -> None:
    with pytest.raises(ConfigError, match="do not go together; a network of your own needs family"):
        parse_config(TEXT.replace("[space]", f"[network]\n{network}\n[space]"))


@pytest.mark.parametrize("target", ["a", "a:b:c", "a b:c", ":c", "a:"])
def test_a_target_has_a_module_and_a_function(target: str) -> None:
    with pytest.raises(ConfigError, match=r"network\.module = "):
        parse_config(text(target))


def saved(network: nn.Module, path: Path) -> Path:
    torch.save(network.state_dict(), path)
    return path


def test_a_state_dict_gives_the_network_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    trained = own_networks.build((8, 8, 1), 10)
    path = saved(trained, tmp_path / "trained.pt")
    family = OwnModuleFamily(f"{HERE}:build", path)
    for name, value in family.build({}, (8, 8, 1), 10).state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_weights_that_are_not_the_networks_are_refused_by_name(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(MoboError) as error:
            OwnModuleFamily(f"{HERE}:build", path).build({}, (8, 8, 1), 10)
        return str(error.value)

    assert "none.pt cannot be read: No such file" in refused(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("no archive", encoding="utf-8")
    assert "cannot be read as a state dict" in refused(tmp_path / "text.pt")
    # A whole module is code, which is not executed.
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    assert "whole modules are code, and are not read" in refused(tmp_path / "module.pt")
    wrong = refused(saved(own_networks.build((8, 8, 1), 7), tmp_path / "other.pt"))
    assert "head.weight has the shape (7, " in wrong
    torch.save({"x": torch.ones(2)}, tmp_path / "names.pt")
    assert "is missing" in refused(tmp_path / "names.pt")


def test_weights_go_with_one_network_of_ones_own() -> None:
    with pytest.raises(ConfigError, match=r"weights = .* are those of one network; they need family"):
        small_config("network={weights = 'x.pt'}")
    config = small_config("space.epochs=0")
    with pytest.raises(ConfigError, match="0 leaves the random weights as they are; give"):
        hyperparameters_of(config, (8, 8, 1))


def test_with_no_epochs_the_network_is_taken_as_it_is_and_all_designs_share_it(tmp_path: Path) -> None:
    torch.manual_seed(5)
    trained = own_networks.build((8, 8, 1), 10)
    path = saved(trained, tmp_path / "trained.pt")
    fixed = text(f"{HERE}:build").replace("epochs = 1", "epochs = 0").replace('"random"', '"fixed"')
    config = parse_config(fixed, [f"network.weights='{path}'"])
    setup = load_setup(config)
    found = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    # Nothing of a training is searched, so that no design is trained anew.
    assert set(found.space.names) == {"keep", "weight_bits"}
    training = found.trainings.of(middle(found), seed=1)
    for name, value in training.network.module.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name
    assert found.trainings.of(middle(found), seed=2).digest == training.digest
