"""Anomalies in another task's data: what is trained on, how networks are judged, what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.settings import AnomalySettings, DigitsSettings, NpzSettings
from tests.mobo.small_study import TEXT

DIGITS = {"name": "anomaly", "of": {"name": "digits"}, "normal": ["0"]}


def test_only_normal_samples_are_trained_on() -> None:
    data = load_task(AnomalySettings.model_validate(DIGITS))
    assert set(data.train.y.tolist()) == {0}
    assert data.class_names == ("normal", "anomalous")
    assert data.output_count(data.input_shape) == 64
    # Validation keeps its share of all ten digits; one of them is normal.
    assert float(data.validation.y.double().mean()) == pytest.approx(0.9, abs=0.02)
    others = load_task(DigitsSettings())
    assert len(data.validation) == len(others.validation)
    assert len(data.train) == int((others.train.y == 0).sum())


def test_groups_stay_together(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    speaker = np.repeat(np.arange(60), 5)
    x = generator.normal(size=(300, 8))
    x[:, 0] = speaker
    np.savez(tmp_path / "a.npz", x_train=x, y_train=np.arange(300) % 3, speaker=speaker)
    inner = NpzSettings(name="npz", file=tmp_path / "a.npz", group_key="speaker")
    data = load_task(AnomalySettings(name="anomaly", of=inner, normal=("0", "2"), standardise="none"))
    splits = (data.train, data.reward, data.validation, data.load_test())
    groups = [set(samples.x[:, 0, 0, 0].tolist()) for samples in splits]
    assert sum(len(part) for part in groups) == len(set().union(*groups))


def test_a_class_that_does_not_exist_is_named() -> None:
    with pytest.raises(TaskError, match=r"task\.normal: unknown class 'zero'"):
        load_task(AnomalySettings.model_validate(DIGITS | {"normal": ["zero"]}))
    with pytest.raises(TaskError, match=r"names all classes of digits; at least one must be anomalous"):
        load_task(AnomalySettings.model_validate(DIGITS | {"normal": [str(digit) for digit in range(10)]}))


def study(*overrides: str) -> StudyConfig:
    head, _ = TEXT.split("[space]")
    text = f"""{head}
[task]
name = "anomaly"
normal = ["0"]
[task.of]
name = "digits"
[network]
family = "autoencoder"
[space]
width = {{type = "ordinal", values = [32, 48]}}
layers = 1
bottleneck = 8
epochs = 60
batch_size = 32
"""
    return parse_config(text, overrides)


def test_an_autoencoder_goes_the_whole_way() -> None:
    config = study("compression.recovery.steps=20", "compression.finetune.steps=60")
    setup = load_setup(config)
    saved: dict[str, bytes] = {}
    problem = TinyMLProblem(
        config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: saved.update(files)
    )
    design = problem.space.decode(np.full(len(problem.space), 0.5))
    outcome = problem.evaluate(Trial(number=0, design=design, seed=1)).outcome
    # Zeros differ so much from the other digits that even a compressed network ranks nearly all pairs right.
    assert outcome["validation_error"] < 0.1
    assert outcome["float_validation_error"] < 0.1
    assert outcome["flash_model_bytes"] <= 24576
    assert "quantised.npz" in saved


def test_the_config_survives_being_written() -> None:
    config = study()
    assert parse_config(config.to_toml()) == config


def test_any_family_may_reconstruct() -> None:
    config = study("network.family=residual", "space={width = 8}")
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    network = problem.designs.network(problem.space.decode(np.zeros(len(problem.space))), seed=0)
    assert network.module(torch.zeros(2, 1, 8, 8)).shape == (2, 64)
