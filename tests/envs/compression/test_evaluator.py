import numpy as np
import pytest
import torch

from envs.compression.evaluator import CompressionRecipe, FinetunedNetwork, PolicyEvaluator
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.integer.interpreter import IntegerInterpreter
from envs.compression.integer.network_file import network_to_bytes
from envs.compression.integer.weight_coding import encode_network
from envs.compression.policy import CompressionPolicy, PolicyError
from envs.compression.structure.groups import compressed_graph, pruning_groups
from envs.compression.training.recovery import DivergedError
from envs.compression.training.recovery_settings import RecoverySettings
from envs.errors import EnvError
from hw_models.graph.from_torch import trace
from tests.envs.compression.training.test_recovery import samples
from tests.envs.networks import NETWORKS, build

RECOVERY = RecoverySettings(steps=3, batch_size=16, batch_norm_samples=32)


def evaluator_of(name="plain", **changes):
    module, shape = build(name)
    traced = trace(module, shape)
    splits = {"train": samples(), "reward": samples(40, seed=1)}
    splits |= {name: changes.pop(name) for name in splits if name in changes}
    recipe = CompressionRecipe(**{"recovery": RECOVERY, "channel_round": 2} | changes)
    return PolicyEvaluator(module, traced, pruning_groups(module, traced.graph), recipe, **splits, seed=3), module


POLICIES = [
    CompressionPolicy(),
    CompressionPolicy({"0.0": 0.5}, {"1.0": 4}),
    CompressionPolicy({"0.0": 0.5, "1.0": 0.3}),
    CompressionPolicy({"2.0": 0.25}, {"0.0": 4, "5": 4}),
]


def test_an_error_does_not_depend_on_what_was_measured_before():
    forward, backward = evaluator_of()[0], evaluator_of()[0]
    errors = [forward.error(policy) for policy in POLICIES]
    torch.manual_seed(99)
    assert [backward.error(policy) for policy in reversed(POLICIES)] == errors[::-1]


def test_equal_networks_are_measured_once():
    evaluator, _ = evaluator_of()
    first = evaluator.error(CompressionPolicy({"0.0": 0.5}))
    # 8 channels: 0.5 and 0.52 both keep 4, and 8 bits are what an unnamed layer has.
    assert evaluator.error(CompressionPolicy({"0.0": 0.52}, {"1.0": 8})) == first
    assert (evaluator.evaluations, evaluator.calls) == (1, 2)
    evaluator.error(CompressionPolicy({"0.0": 0.5}, {"1.0": 4}))
    assert (evaluator.evaluations, evaluator.calls) == (2, 3)


def test_the_trained_network_is_not_changed():
    evaluator, module = evaluator_of()
    state = {key: value.clone() for key, value in module.state_dict().items()}
    for policy in POLICIES:
        evaluator.error(policy)
    assert all(state[key].equal(value) for key, value in module.state_dict().items())


def test_a_policy_of_16_bit_activations_is_measured_and_compressed():
    evaluator, _ = evaluator_of()
    narrow, wide = (CompressionPolicy({"0.0": 0.5}, {}, {"1.0": bits}) for bits in (8, 16))
    errors = [evaluator.error(policy) for policy in (narrow, wide)]
    assert evaluator.evaluations == 2
    _, network = evaluator.compress(wide, RECOVERY)
    assert network.graph == evaluator.graph(wide)
    assert network.graph.bits["1.0"] == 16
    assert error_of(network, samples(40, seed=1)) == errors[1]


@pytest.mark.parametrize("name", NETWORKS)
def test_compress_gives_the_network_whose_error_was_reported(name):
    module, shape = build(name)
    traced = trace(module, shape)
    groups = pruning_groups(module, traced.graph)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, shape[2], shape[0], shape[1], generator=generator)
    data = type(samples())(x, torch.randint(0, 4, (40,), generator=generator))
    recipe = CompressionRecipe(recovery=RECOVERY, channel_round=2)
    evaluator = PolicyEvaluator(module, traced, groups, recipe, train=data, reward=data, seed=0)
    policy = CompressionPolicy(
        {group.name: 0.5 for group in groups if group.prunable}, {traced.graph.weight_layers[0].name: 4}
    )
    smaller, network = evaluator.compress(policy, RECOVERY)
    assert error_of(network, data) == evaluator.error(policy)
    expected = compressed_graph(traced.graph, groups, policy, channel_round=2)
    assert network.graph == expected == evaluator.graph(policy)
    assert trace(smaller, shape).graph.resized(weight_bits=policy.weight_bits) == expected
    agreement = (smaller(x).argmax(1) == IntegerInterpreter(network).predict(x)).double().mean()
    assert float(agreement) > 0.7


def test_a_depthwise_network_may_shrink_to_one_channel():
    evaluator, _ = evaluator_of("depthwise", channel_round=1)
    policy = CompressionPolicy({"0.0": 0.01, "4.0": 0.01, "7.0": 0.01})
    assert 0 <= evaluator.error(policy) <= 1
    assert evaluator.graph(policy).shapes["5"][2] == 1


def test_a_longer_recovery_helps_on_the_training_samples():
    train = samples(100)
    evaluator, _ = evaluator_of(train=train, reward=train)
    policy = CompressionPolicy({"0.0": 0.5, "1.0": 0.5})
    _, network = evaluator.compress(policy, RecoverySettings(steps=150))
    assert error_of(network, train) < evaluator.error(policy) - 0.1


def test_criteria_choose_different_channels_and_unknown_ones_are_named():
    policy = CompressionPolicy({"0.0": 0.5, "1.0": 0.5, "2.0": 0.5})
    states = []
    for criterion in ("taylor", "l1", "random"):
        network, _ = evaluator_of(criterion=criterion)[0].compress(policy, RecoverySettings(steps=0))
        states.append(network.get_submodule("5").weight)
    assert not states[0].equal(states[1])
    assert not states[1].equal(states[2])
    with pytest.raises(EnvError, match="unknown pruning criterion 'tailor'; did you mean 'taylor'"):
        evaluator_of(criterion="tailor")


def test_a_foreign_policy_is_refused_and_not_counted():
    evaluator, _ = evaluator_of()
    with pytest.raises(PolicyError, match=r"unknown pruning group '1\.1'"):
        evaluator.error(CompressionPolicy({"1.1": 0.5}))
    assert evaluator.evaluations == 0


def test_a_policy_whose_recovery_diverges_has_the_error_1_and_cannot_be_used():
    settings = RecoverySettings(steps=5, learning_rate=1e30)
    evaluator, _ = evaluator_of(recovery=settings)
    assert evaluator.error(CompressionPolicy()) == 1
    with pytest.raises(DivergedError, match="lower the recovery learning rate"):
        evaluator.compress(CompressionPolicy(), settings)


def test_the_uncompressed_network_is_the_teacher():
    train = samples(100)
    policy = CompressionPolicy({"0.0": 0.5, "1.0": 0.5})
    evaluator, module = evaluator_of(train=train)
    distances = []
    for weight in (0.0, 1.0):
        student, _ = evaluator.compress(policy, RecoverySettings(steps=40, batch_size=25, distillation_weight=weight))
        with torch.no_grad():
            lesson = train.purpose.distillation(student(train.x), module(train.x), temperature=2.0)
        distances.append(float(lesson))
    assert distances[1] < 0.7 * distances[0]


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise"])
@pytest.mark.parametrize("channel_round", [1, 4])
def test_rounds_end_at_the_same_graph(name, channel_round):
    evaluator, _ = evaluator_of(name, channel_round=channel_round)
    group, *others = (group for group in evaluator._groups if group.prunable)
    policy = CompressionPolicy({group.name: 0.3} | {other.name: 0.55 for other in others}, {group.name: 4})
    smaller, network = evaluator.compress(policy, RecoverySettings(steps=2), rounds=3)
    assert network.graph == evaluator.graph(policy)
    assert trace(smaller, (8, 8, 1)).graph.resized(weight_bits=policy.weight_bits) == network.graph


@pytest.mark.parametrize("name", ["plain", "residual", "depthwise"])
def test_from_a_fine_tuned_network_the_way_ends_at_the_same_graph(name):
    evaluator, _ = evaluator_of(name)
    prunable = [group.name for group in evaluator._groups if group.prunable]
    policies = [CompressionPolicy(dict.fromkeys(prunable, ratio), {prunable[0]: 4}) for ratio in (0.75, 0.5)]
    first, _ = evaluator.compress(policies[0], RecoverySettings(steps=3))
    start = FinetunedNetwork(policies[0], first.state_dict())
    second, network = evaluator.compress(policies[1], RecoverySettings(steps=3), start=start)
    assert network.graph == evaluator.graph(policies[1])
    assert trace(second, (8, 8, 1)).graph.resized(weight_bits=policies[1].weight_bits) == network.graph
    # With the same channels and no step nothing is left to be done: the weights are those it went on from.
    same, _ = evaluator.compress(policies[0], RecoverySettings(steps=0), start=start)
    assert all(same.get_parameter(key).equal(value) for key, value in first.named_parameters())


def test_weights_of_another_network_are_refused():
    evaluator, _ = evaluator_of()
    policy, other = (CompressionPolicy({"0.0": ratio}) for ratio in (0.5, 1.0))
    smaller, _ = evaluator.compress(policy, RecoverySettings(steps=0))
    with pytest.raises(EnvError, match="the weights to go on from are those of another network"):
        evaluator.compress(policy, RecoverySettings(steps=0), start=FinetunedNetwork(other, smaller.state_dict()))


def test_rounds_differ_from_one_shot_and_recover_in_between():
    policy = CompressionPolicy({"0.0": 0.5, "1.0": 0.25, "2.0": 0.25})
    evaluator, _ = evaluator_of()
    once, _ = evaluator.compress(policy, RecoverySettings(steps=0))
    rounds, _ = evaluator.compress(policy, RecoverySettings(steps=0), rounds=2)
    original = {tuple(row) for row in evaluator._module.get_submodule("0.0").weight.detach().flatten(1).tolist()}
    rows = [
        {tuple(row) for row in network.get_submodule("0.0").weight.detach().flatten(1).tolist()}
        for network in (once, rounds)
    ]
    # Without a step the filters are the trained ones; after rounds they were trained in between.
    assert rows[0] <= original
    assert not rows[1] & original


def test_weights_stored_on_a_coarser_grid_are_another_network_of_the_same_layers():
    evaluator, _ = evaluator_of()
    layers = [layer.name for layer in evaluator.graph(CompressionPolicy()).weight_layers]
    plain, coarse = CompressionPolicy(), CompressionPolicy(stored_bits=dict.fromkeys(layers, 2))
    assert {layer.stored_bits for layer in evaluator.graph(coarse).weight_layers} == {2}
    assert evaluator.graph(plain).shapes == evaluator.graph(coarse).shapes
    evaluator.error(plain)
    evaluator.error(coarse)
    assert evaluator.evaluations == 2
    sizes = {}
    for bits in (None, 5, 2):
        policy = plain if bits is None else CompressionPolicy(stored_bits=dict.fromkeys(layers, bits))
        _, network = evaluator.compress(policy, RecoverySettings(steps=0))
        sizes[bits] = len(encode_network(network))
        limit = 127 if bits is None else 2 ** (bits - 1) - 1
        assert {int(np.abs(found.values).max()) for found in network.weights.values()} == {limit}
    # The download falls with every bit; the interpreter still reads int8.
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)
    assert sizes[2] < 0.6 * sizes[None]


@pytest.mark.parametrize(("name", "mode"), [("residual", "learned"), ("depthwise", "ema")])
def test_a_quantisation_aware_recovery_gives_both_networks(name, mode):
    evaluator, _ = evaluator_of(name)
    policy = CompressionPolicy(
        {"stem.0" if name == "residual" else "0.0": 0.5}, {"head" if name == "residual" else "11": 4}
    )
    settings = RecoverySettings(
        steps=4, batch_size=16, quantisation_aware=mode, quantisation_aware_share=0.5, distillation_weight=0.5
    )
    smaller, network = evaluator.compress(policy, settings)
    assert network.graph == evaluator.graph(policy)
    x = samples(80, seed=5).x
    with torch.no_grad():
        agreement = (smaller(x).argmax(1) == IntegerInterpreter(network).predict(x)).double().mean()
    assert float(agreement) > 0.85
    again = evaluator.compress(policy, settings)[1]
    assert network_to_bytes(again) == network_to_bytes(network)
    assert network_to_bytes(evaluator.compress(policy, settings.float_part)[1]) != network_to_bytes(network)
