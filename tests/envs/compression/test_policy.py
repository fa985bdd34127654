import copy
import json
import multiprocessing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.policy import CompressionPolicy, PolicyError
from envs.errors import EnvError

NAMES = st.text(min_size=1, max_size=6)
POLICIES = st.builds(
    CompressionPolicy,
    st.dictionaries(NAMES, st.floats(0.001, 1)),
    st.dictionaries(NAMES, st.just(8)),
    st.dictionaries(NAMES, st.sampled_from([8, 16])),
)


@given(POLICIES)
def test_a_policy_survives_json_copy_and_the_way_to_another_process(policy):
    here, there = multiprocessing.Pipe()
    here.send(policy)
    for twin in (
        CompressionPolicy.from_json(policy.to_json()),
        copy.deepcopy(policy),
        there.recv(),
    ):
        assert twin == policy
        assert hash(twin) == hash(policy)


def test_a_policy_cannot_be_changed_from_outside():
    ratios = {"conv": 0.5}
    policy = CompressionPolicy(ratios)
    ratios["conv"] = 0.1
    assert policy.keep_ratio("conv") == 0.5
    with pytest.raises(TypeError):
        policy.keep_ratios["conv"] = 0.1


def test_what_is_not_named_stays_as_it_is():
    policy = CompressionPolicy()
    assert (policy.keep_ratio("conv"), policy.bits("conv")) == (1.0, 8)


@pytest.mark.parametrize("ratio", [0, -0.5, 1.01, float("nan")])
def test_a_keep_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(PolicyError, match=r"keep ratio of group 'conv' is .*; it must be in \(0, 1\]"):
        CompressionPolicy({"conv": ratio})


def test_bits_no_runtime_has_are_refused():
    with pytest.raises(PolicyError, match="layer 'conv' asks for 3-bit weights; allowed is 4 or 8"):
        CompressionPolicy({}, {"conv": 3})
    with pytest.raises(PolicyError, match="layer 'conv' asks for 4-bit activations; allowed is 8 or 16"):
        CompressionPolicy({}, {}, {"conv": 4})


def test_4_bit_weights_with_16_bit_activations_are_refused():
    with pytest.raises(
        PolicyError, match="layer 'conv' asks for 4-bit weights with 16-bit activations, which no kernel"
    ):
        CompressionPolicy({}, {"conv": 4}, {"conv": 16, "head": 16})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the policy cannot be read: Invalid JSON"),
        ("[]", "the policy cannot be read: Input should be an object"),
        (json.dumps({"keep_ratio": {}}), "unknown key 'keep_ratio'; did you mean 'keep_ratios'"),
        (json.dumps({"keep_ratios": 0.5}), "keep_ratios = 0.5: Input should be an object"),
        (json.dumps({"weight_bits": {"a": "4"}}), "weight_bits.a = '4': Input should be a valid integer"),
    ],
)
def test_a_damaged_policy_file_says_what_is_wrong(text, message):
    with pytest.raises(EnvError, match=message):
        CompressionPolicy.from_json(text)


def test_stored_widths_are_apart_from_those_that_are_computed_with():
    policy = CompressionPolicy(weight_bits={"a": 8, "b": 4}, stored_bits={"a": 5, "b": 2, "c": 6})
    assert [policy.bits(name) for name in "abc"] == [8, 4, 8]
    assert CompressionPolicy.from_json(policy.to_json()) == policy
    assert CompressionPolicy.from_json('{"weight_bits": {"a": 4}}').stored_bits == {}
    assert hash(policy) != hash(CompressionPolicy(weight_bits={"a": 8, "b": 4}))


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"a": 4}, "layer 'a' asks for 4-bit stored weights; allowed is 2 or 3 or 5 or 6"),
        ({"b": 5}, "layer 'b' stores 5-bit weights but computes with 4 bits; it must be stored with fewer"),
    ],
)
def test_stored_widths_no_design_may_have_are_refused(stored, message):
    with pytest.raises(PolicyError, match=message):
        CompressionPolicy(weight_bits={"b": 4}, stored_bits=stored)
