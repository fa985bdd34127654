"""Training a float network: it learns, it is repeatable, and it says when it diverged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from envs.compression.evaluator import answers
from envs.compression.float_network.purpose import Classification
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import StoredInputs, ValuesFile, in_memory
from envs.compression.training.augmentation import Augmentation
from envs.compression.training.recovery import recover
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from mobo.base.errors import ConfigError, MachineError, TrialFailed, TrialStopped
from mobo.space.trial import Trial
from mobo.tinyml import designs
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.training import TrainingSettings, error_rate, train
from tests.mobo.small_study import small_config


def blobs(count: int = 240) -> LabelledSamples:
    """Three classes, each brightest in its own row."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    x = torch.randn(count, 1, 3, 4, generator=generator)
    x[torch.arange(count), 0, y] += 2
    return LabelledSamples(x, y)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(96, 3)
        )


def settings(**changes: float) -> TrainingSettings:
    values = {
        "epochs": 8,
        "learning_rate": 0.01,
        "weight_decay": 1e-3,
        "batch_size": 32,
        "label_smoothing": 0.0,
    } | changes
    return TrainingSettings(**values)  # type: ignore[arg-type]


def test_it_learns_an_easy_task(torch_device: str) -> None:
    module = network()
    before = error_rate(module, blobs(), device=torch_device)
    train(module, blobs(), settings(), seed=1, device=torch_device)
    assert error_rate(module, blobs(), device=torch_device) < 0.05 < before
    assert next(module.parameters()).device.type == "cpu"


def test_it_learns_in_mixed_precision_and_keeps_float32_weights() -> None:
    modules = [network(), network()]
    for module, precision in zip(modules, ("float32", "bfloat16"), strict=True):
        train(module, blobs(), replace(settings(), precision=precision), seed=1, device="cpu")
    assert error_rate(modules[1], blobs()) < 0.05
    assert all(parameter.dtype == torch.float32 for parameter in modules[1].parameters())
    assert not torch.equal(next(modules[0].parameters()), next(modules[1].parameters()))


@pytest.mark.parametrize("schedule", ["one-shot", "agp"])
def test_a_trial_is_the_same_on_every_device(schedule: str, torch_device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(
        "compression.method=fixed", f"compression.schedule={schedule}", "training.augmentation=['shift']"
    )
    setup = load_setup(config)
    outcomes = []
    for device in ("cpu", torch_device):
        monkeypatch.setattr(designs, "torch_device", lambda asked, device=device: device)
        problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
        design = problem.designs.hyperparameters.middles()[0]
        outcomes.append(problem.evaluate(Trial(number=0, design=design, seed=5)).outcome)
    here, there = outcomes
    assert here.keys() == there.keys()
    assert {name: there[name] for name in here if "error" not in name and name != "download_bytes"} == {
        name: value for name, value in here.items() if "error" not in name and name != "download_bytes"
    }
    assert all(abs(float(there[name] or 0) - float(here[name] or 0)) < 0.1 for name in here if "error" in name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_the_machines_fault() -> None:
    assert designs.torch_device("cpu") == designs.torch_device("auto") == "cpu"
    with pytest.raises(MachineError, match=r'compute.device is "cuda", and torch .* sees no GPU here; install'):
        designs.torch_device("cuda")


def test_the_seed_decides_everything() -> None:
    weights = []
    for seed in (1, 1, 2):
        module = network()
        train(module, blobs(), settings(), seed=seed, device="cpu")
        weights.append(torch.cat([p.flatten() for p in module.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(("batch_size", "batches"), [(64, [9]), (9, [9]), (4, [4, 4])])
def test_a_batch_larger_than_the_data_is_one_batch_and_no_batch_is_smaller(batch_size: int, batches: list[int]) -> None:
    module = network()
    before = next(module.parameters()).clone()
    seen: list[int] = []
    module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    train(module, blobs(9), settings(batch_size=batch_size, epochs=1), seed=1, device="cpu")
    assert seen == batches
    assert not torch.equal(before, next(module.parameters()))


def test_a_diverged_loss_fails_the_trial() -> None:
    module = network()
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(TrialFailed, match=r"training loss became nan in epoch 1 of 8 at learning rate 0\.01; lower"):
        train(module, blobs(), settings(), seed=1, device="cpu")


def test_error_rate_counts_wrong_samples() -> None:
    """A network whose output is its input: three of four arg-maxima are the label."""
    x = torch.eye(4).reshape(4, 4, 1, 1)
    samples = LabelledSamples(x, torch.tensor([0, 1, 2, 0]))
    assert error_rate(nn.Flatten(), samples) == 0.25


def test_being_measured_between_epochs_changes_nothing() -> None:
    weights, errors = [], []
    for is_measured in (False, True):
        module = network()

        def measure(done: int, module: nn.Module = module) -> None:
            errors.append((done, error_rate(module, blobs())))

        train(module, blobs(), settings(epochs=3), seed=1, device="cpu", after_epoch=measure if is_measured else None)
        weights.append(torch.cat([value.flatten().float() for value in module.state_dict().values()]))
    assert torch.equal(weights[0], weights[1])
    assert [done for done, _ in errors] == [1, 2], "never after the last"


def test_what_is_raised_between_epochs_ends_the_training() -> None:
    def stop(done: int) -> None:
        raise TrialStopped("enough", {})

    with pytest.raises(TrialStopped, match="enough"):
        train(network(), blobs(), settings(), seed=1, device="cpu", after_epoch=stop)


def problem(*overrides: str) -> TinyMLProblem:
    config = small_config("compression.method=fixed", *overrides)
    setup = load_setup(config)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def test_a_design_carries_its_strength_and_the_weights_of_the_classes() -> None:
    found = problem(
        "training={augmentation=['shift', 'noise'], class_weights='balanced'}",
        "space.augmentation_strength={type='float', low=0.0, high=1.0}",
    )
    assert "augmentation_strength" in found.space.names
    assert "augmentation_strength" in found.work.training_names
    design = found.space.decode(np.full(len(found.space), 0.25))
    samples = found.designs.training_samples(design)
    assert isinstance(samples.augment, Augmentation)
    assert samples.augment.kinds == ("shift", "noise")
    assert samples.augment.strength == design["augmentation_strength"]
    counts = torch.bincount(samples.y)
    weights = torch.tensor(samples.purpose.class_weights)  # type: ignore[attr-defined]
    torch.testing.assert_close(weights * counts, torch.full((10,), len(samples) / 10))
    plain = problem()
    assert plain.designs.training_samples(plain.space.decode(np.full(len(plain.space), 0.5))).augment is None
    assert "augmentation_strength" not in plain.designs.hyperparameters.names


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ("training.augmentation=['shift']", "space.augmentation_strength={type='float', low=0.0, high=2.0}"),
            ConfigError,
            "augmentation_strength reaches up to 2; allowed is up to 1",
        ),
        (("space.augmentation_strength=0.5",), ConfigError, "unknown hyperparameter 'augmentation_strength'"),
        (("training.augmentation=['turn']",), ConfigError, "'shift', 'flip', 'crop'"),
        (("training.augmentation=['rotate']",), EnvError, "'rotate' turns three axes"),
        (
            ("task={name='anomaly', normal=['0'], of={name='digits'}}", "training.class_weights='balanced'"),
            ConfigError,
            "training.class_weights tells classes apart",
        ),
        (
            ("task={name='anomaly', normal=['0'], of={name='digits'}, error='balanced'}",),
            ConfigError,
            "task.error tells classes apart",
        ),
        (
            ("task={name='digits', error='macro_f1'}", "goal.tolerance=0.01"),
            ConfigError,
            "is not a share of samples; drop",
        ),
    ],
)
def test_a_recipe_that_means_nothing_is_refused(
    overrides: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        problem(*overrides)


def test_training_sees_changed_samples_and_the_tasks_own_error() -> None:
    samples = blobs()
    seen: list[float] = []
    module = network()
    module.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].mean())))
    train(
        module,
        replace(samples, augment=lambda x, generator: x + 100),
        settings(epochs=1),
        seed=1,
        device="cpu",
    )
    assert min(seen) > 50
    found = problem("task={name='digits', error='balanced'}")
    assert found.designs.data.validation.purpose == Classification("balanced")


def test_a_training_from_disk_is_that_from_memory(tmp_path: Path) -> None:
    held = blobs()
    values = np.ascontiguousarray(in_memory(held.x).permute(0, 2, 3, 1).numpy())
    values.tofile(tmp_path / "values.bin")
    on_disk = replace(held, x=StoredInputs(ValuesFile(tmp_path / "values.bin", values.dtype, values.shape)))
    networks = [network(), network()]
    for module, samples in zip(networks, (held, on_disk), strict=True):
        train(module, samples, settings(epochs=2), seed=1, device="cpu")
        recover(
            module,
            samples,
            RecoverySettings(steps=3, distillation_weight=0.5),
            seed=2,
            taught=answers(module, samples.x),
        )
    assert all(map(torch.equal, *(module.state_dict().values() for module in networks)))
    assert error_rate(networks[0], held) == error_rate(networks[0], on_disk)
