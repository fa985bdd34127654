"""The one builder of trained networks: the seed decides, and nothing else does or is changed."""

import torch

from envs.compression.policy import CompressionPolicy
from experiments.trained_network import TrainedNetwork, family_network, trained_network
from mobo.base.seeds import derive_seed
from mobo.tinyml.networks import load_family
from mobo.tinyml.tasks import load_task
from mobo.tinyml.tasks.settings import DigitsSettings
from mobo.tinyml.training import TrainingSettings, train

VALUES = {"width": 4, "stages": 1, "blocks": 1, "width_growth": 1.0, "kernel": 3, "stem_stride": 2}
TRAINING = TrainingSettings(epochs=1, learning_rate=3e-3, weight_decay=1e-4, batch_size=64, label_smoothing=0.0)
DATA = load_task(DigitsSettings())


def trained(seed: int) -> TrainedNetwork:
    return trained_network(family_network("residual", VALUES, DATA), DATA, TRAINING, seed=seed)


def weights(network: TrainedNetwork) -> torch.Tensor:
    return torch.nn.utils.parameters_to_vector(network.module.parameters())


def test_the_seed_decides_weights_and_batches_as_in_a_trial() -> None:
    torch.manual_seed(derive_seed(3, 0, "init"))
    module = load_family("residual").build(VALUES, DATA.input_shape, len(DATA.class_names))
    train(module, DATA.train, TRAINING, seed=derive_seed(3, 0, "train"), device="cpu")
    assert torch.equal(weights(trained(3)), torch.nn.utils.parameters_to_vector(module.parameters()))
    assert not torch.equal(weights(trained(3)), weights(trained(4)))


def test_what_else_is_drawn_does_not_change() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    trained(1)
    assert torch.equal(torch.rand(3), expected)


def test_its_evaluator_judges_on_the_samples_asked_for() -> None:
    network = trained(1)
    few = DATA.reward.drawn(7, seed=0)
    error = network.evaluator(seed=1, reward=few).error(CompressionPolicy())
    # Of seven samples a whole number is wrong.
    assert round(7 * error) == 7 * error
    assert {layer for group in network.groups for layer in group.layers} == {
        layer.name for layer in network.trace.graph.weight_layers
    }
