"""Losses and errors against their definitions, and the whole way of a small autoencoder."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, recall_score
from torch import nn

from envs.compression import CompressionRecipe, PolicyEvaluator, RecoverySettings, pruning_groups, quantise
from envs.compression.float_network.purpose import (
    CLASSIFICATION,
    RECONSTRUCTION,
    Classification,
    Regression,
    standard_error,
)
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from hw_models.graph.from_torch import trace


def test_the_error_of_classes_is_the_share_of_wrong_ones() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 3.0]])
    # The third sample's outputs are equal: the first class counts.
    assert CLASSIFICATION.error(outputs, torch.zeros(4, 1, 1, 1), torch.tensor([0, 0, 0, 1])) == 0.25


@pytest.mark.parametrize("missing", [None, 2])
def test_errors_that_weigh_classes_alike_are_those_of_scikit_learn(missing: int | None) -> None:
    generator = np.random.default_rng(0)
    y = generator.choice(4, size=300, p=[0.7, 0.2, 0.07, 0.03])
    y = y[y != missing]
    outputs = generator.normal(size=(len(y), 4))
    outputs[np.arange(len(y)), y] += 1
    found = outputs.argmax(axis=1)
    expected = {
        "share": 1 - accuracy_score(y, found),
        "balanced": 1 - recall_score(y, found, labels=np.unique(y), average="macro"),
        "macro_f1": 1 - f1_score(y, found, average="macro"),
    }
    for kind, error in expected.items():
        purpose = Classification(kind)  # type: ignore[arg-type]
        measured = purpose.error(torch.from_numpy(outputs), torch.zeros(1), torch.from_numpy(y))
        assert measured == pytest.approx(error)


def test_a_weighed_loss_counts_every_class_as_its_weight() -> None:
    outputs, y = torch.tensor([[0.0, 1.0], [0.5, 0.0], [0.2, 0.1]]), torch.tensor([0, 1, 1])
    each = [float(CLASSIFICATION.loss(outputs[i : i + 1], outputs, y[i : i + 1])) for i in range(3)]
    weighed = float(Classification(class_weights=(2.0, 0.5)).loss(outputs, outputs, y))
    assert weighed == pytest.approx((2 * each[0] + 0.5 * each[1] + 0.5 * each[2]) / 3)


def test_the_loss_of_classes_is_the_cross_entropy() -> None:
    outputs, y = torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([1])
    assert float(CLASSIFICATION.loss(outputs, torch.zeros(1, 1, 1, 1), y)) == pytest.approx(math.log(4 / 3))


def test_the_loss_of_a_reconstruction_is_the_squared_error() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(2, 1, 1, 2)
    outputs = torch.tensor([[1.0, 0.0], [3.0, 5.0]])
    # Sample 1 is off by 0 and 2, sample 2 by 0 and 1.
    assert float(RECONSTRUCTION.loss(outputs, x, torch.zeros(2))) == pytest.approx((4 / 2 + 1 / 2) / 2)
    assert float(RECONSTRUCTION.loss(outputs, x, torch.zeros(2), reduction="sum")) == pytest.approx(2.5)


def test_the_error_of_a_reconstruction_counts_pairs_in_the_wrong_order() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.zeros(40, 1, 1, 3), torch.arange(40) % 2
    outputs = torch.randn(40, 3, generator=generator) * (1 + 0.5 * y[:, None])
    scores = outputs.square().mean(dim=1)
    pairs = [(float(n), float(a)) for n in scores[y == 0] for a in scores[y == 1]]
    wrong = sum(1.0 if normal > anomalous else 0.5 if normal == anomalous else 0.0 for normal, anomalous in pairs)
    assert 0 < wrong < len(pairs)
    assert RECONSTRUCTION.error(outputs, x, y) == pytest.approx(wrong / len(pairs))


def test_the_area_under_the_curve_rests_on_the_smaller_class() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((12, 1, 1, 1), generator=generator)
    y = torch.tensor([0] * 9 + [1] * 3)
    assert RECONSTRUCTION.measured(x.flatten(1) + 1, x, y).samples == 3
    found = CLASSIFICATION.measured(torch.eye(2)[torch.zeros(12).long()], x, y)
    assert found == (0.25, standard_error(0.25, 12), 12)
    # The bound itself: the variance of the area over many draws of 40 and 10 scores.
    normal, anomalous = torch.randn((2000, 40), generator=generator), 1 + torch.randn((2000, 10), generator=generator)
    areas = (anomalous[:, :, None] > normal[:, None, :]).float().mean(dim=(1, 2))
    assert float(areas.var()) < float(areas.mean() * (1 - areas.mean())) / 10


# Outputs 0, 1, -1, 2 stand for 10, 12, 8, 14; the differences are 1, -2, 3, 0.
ESTIMATES, TRUTH = torch.tensor([[0.0], [1.0], [-1.0], [2.0]]), torch.tensor([[9.0], [14.0], [5.0], [14.0]])
NOTHING = torch.zeros(4, 1, 1, 1)


def test_errors_of_a_regression_and_their_noise_by_hand() -> None:
    mae, rmse = (Regression(kind, (10.0,), 2.0, 5.0) for kind in ("mae", "rmse"))
    # |differences| 1, 2, 3, 0: mean 1.5, variance 5/3. Squares 1, 4, 9, 0: mean 3.5, variance 49/3.
    assert mae.measured(ESTIMATES, NOTHING, TRUTH) == pytest.approx((1.5, math.sqrt(5 / 12), round(2.25 * 12 / 5)))
    root = math.sqrt(3.5)
    error, noise, samples = rmse.measured(ESTIMATES, NOTHING, TRUTH)
    assert (error, noise) == pytest.approx((root, math.sqrt(49 / 12) / (2 * root)))
    assert samples == round((error / noise) ** 2)
    assert [kind.error(ESTIMATES, NOTHING, TRUTH) for kind in (mae, rmse)] == pytest.approx([1.5, root])
    assert mae.measured(ESTIMATES[:1], NOTHING[:1], TRUTH[:1]) == (1.0, None, 1)
    assert rmse.measured(ESTIMATES[3:].repeat(2, 1), NOTHING, TRUTH[3:].repeat(2, 1)) == (0.0, 0.0, 2)
    # Of two labels the errors are averaged: 1 and 3, -2 and 0.
    both = Regression("mae", (10.0, 10.0), 2.0, 5.0)
    assert both.error(ESTIMATES.view(2, 2), NOTHING, TRUTH.view(2, 2)) == pytest.approx(1.5)


def test_the_noise_of_a_regression_is_what_new_samples_bring() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn((3000, 60, 1), generator=generator)
    for kind in ("mae", "rmse"):
        purpose = Regression(kind, (3.0,), 2.0, 2.0)  # type: ignore[arg-type]
        found = [purpose.measured(one, NOTHING, torch.full((60, 1), 3.0)) for one in outputs[:500]]
        errors, told = np.array([m.error for m in found]), np.array([m.standard_error for m in found])
        assert float(told.mean()) == pytest.approx(float(errors.std(ddof=1)), rel=0.1)


def test_labels_are_standardised_and_a_constant_is_the_worst() -> None:
    y = np.array([[1.0], [2.0], [3.0], [10.0]], np.float32)
    # Mean 4, squares 9, 4, 1, 36; median 2.5, distances 1.5, 0.5, 0.5, 7.5.
    mae, rmse = (Regression.of(y, kind) for kind in ("mae", "rmse"))  # type: ignore[arg-type]
    assert (mae.mean, mae.deviation) == ((4.0,), pytest.approx(math.sqrt(12.5)))
    assert (mae.worst, rmse.worst) == pytest.approx((2.5, math.sqrt(12.5)))
    constant = torch.zeros(4, 1)
    assert rmse.error(constant, NOTHING, torch.from_numpy(y)) == pytest.approx(rmse.worst)
    # One deviation for two labels of spreads 1 and 3: sqrt((1 + 9) / 2).
    two = Regression.of(np.array([[0.0, 0.0], [2.0, 6.0]], np.float32), "rmse")
    assert (two.mean, two.deviation, two.output_count(0, 64)) == ((1.0, 3.0), pytest.approx(math.sqrt(5)), 2)
    with pytest.raises(EnvError, match="all labels of the training split are equal"):
        Regression.of(np.ones((4, 1), np.float32), "mae")


def test_the_losses_of_a_regression_are_of_standardised_labels() -> None:
    mae, rmse = (Regression(kind, (10.0,), 2.0, 5.0) for kind in ("mae", "rmse"))
    # Standardised differences 0.5, 1, 1.5, 0; Huber's loss with a bend at 0.1: |d| - 0.05.
    assert float(rmse.loss(ESTIMATES, NOTHING, TRUTH)) == pytest.approx((0.25 + 1 + 2.25) / 4)
    assert float(mae.loss(ESTIMATES, NOTHING, TRUTH)) == pytest.approx((0.45 + 0.95 + 1.45) / 4)
    assert float(mae.loss(ESTIMATES, NOTHING, TRUTH, reduction="sum")) == pytest.approx(0.45 + 0.95 + 1.45)
    assert float(mae.distillation(ESTIMATES, ESTIMATES + 2, temperature=3.0)) == pytest.approx(4)


def test_what_has_no_meaning_is_refused() -> None:
    x = torch.zeros(2, 1, 1, 2)
    with pytest.raises(EnvError, match=r"label_smoothing is 0\.1; a reconstruction has no labels"):
        RECONSTRUCTION.loss(torch.zeros(2, 2), x, torch.zeros(2), label_smoothing=0.1)
    with pytest.raises(EnvError, match="all samples have one label"):
        RECONSTRUCTION.error(torch.zeros(2, 2), x, torch.zeros(2))


def test_a_regression_refuses_what_is_of_classes() -> None:
    purpose = Regression("mae", (10.0,), 2.0, 5.0)
    with pytest.raises(EnvError, match=r"label_smoothing is 0\.1; a regression has no classes"):
        purpose.loss(ESTIMATES, NOTHING, TRUTH, label_smoothing=0.1)
    for y in (torch.zeros(4, dtype=torch.int64), torch.zeros(4, 2), torch.zeros(3, 1)):
        with pytest.raises(EnvError, match="it must be float32 with 1 labels for each of the 4 samples"):
            LabelledSamples(NOTHING, y, purpose)


def test_outputs_are_classes_or_input_values() -> None:
    assert CLASSIFICATION.output_count(3, 64) == 3
    assert RECONSTRUCTION.output_count(2, 64) == 64


def anomalies(count: int, seed: int) -> LabelledSamples:
    """Return normal samples on a line in 12 dimensions, and from ``count / 2`` on samples beside it."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.linspace(-1, 1, 12)
    y = (torch.arange(count) >= count // 2).long()
    x = torch.randn(count, 1, generator=generator) * direction + 0.05 * torch.randn(count, 12, generator=generator)
    x += 0.6 * y[:, None] * torch.randn(count, 12, generator=generator)
    return LabelledSamples(x.reshape(count, 2, 2, 3), y, RECONSTRUCTION)


def test_an_autoencoder_recovers_and_finds_anomalies_in_integers() -> None:
    """Maps of two channels: on the target they are flattened in another order than in torch."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 12))
    traced = trace(module, (2, 3, 2))
    groups = pruning_groups(module, traced.graph)
    both = anomalies(400, 1)
    normal = both.subset(np.arange(200).tolist())
    assert normal.purpose is RECONSTRUCTION
    evaluator = PolicyEvaluator(
        module,
        traced,
        groups,
        CompressionRecipe(recovery=RecoverySettings(steps=300), channel_round=1),
        train=normal,
        reward=anomalies(200, 2),
        seed=0,
    )
    policy = CompressionPolicy({"1": 0.75}, {"1": 8, "4": 8})
    assert evaluator.error(policy) < 0.05 < error_of(quantise(module, traced, normal.x), both)


def test_distillation_by_hand() -> None:
    outputs, taught = np.array([[1.0, 3.0], [0.0, 0.0]]), np.array([[2.0, 0.0], [1.0, -1.0]])
    temperature = 2.0
    student, teacher = (
        np.exp(v / temperature) / np.exp(v / temperature).sum(1, keepdims=True) for v in (outputs, taught)
    )
    divergence = (teacher * np.log(teacher / student)).sum(axis=1).mean()
    found = CLASSIFICATION.distillation(torch.tensor(outputs), torch.tensor(taught), temperature=temperature)
    assert float(found) == pytest.approx(4 * divergence)
    same = CLASSIFICATION.distillation(torch.tensor(taught), torch.tensor(taught), temperature=temperature)
    assert float(same) == pytest.approx(0, abs=1e-12)
    # Squared differences 1, 9, 1, 1.
    found = RECONSTRUCTION.distillation(torch.tensor(outputs), torch.tensor(taught), temperature=temperature)
    assert float(found) == pytest.approx(12 / 4)
