import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.structure.groups import kept_channels_ratio, kept_parameters_ratio, pruning_groups
from envs.episode.choices import ChoiceSpace
from envs.search.channel_ranking import ranked
from hw_models.graph.from_torch import trace
from tests.envs.networks import NETWORKS, build


def space_of(name="plain", *, min_keep=0.25, channel_round=1):
    module, shape = build(name)
    graph = trace(module, shape).graph
    groups = pruning_groups(module, graph)
    return ChoiceSpace(graph=graph, groups=groups, min_keep=min_keep, channel_round=channel_round)


SPACES = {(name, count): space_of(name, channel_round=count) for name in NETWORKS for count in (1, 4)}


def test_the_best_channels_of_the_whole_network_stay():
    # Groups of 8, 16 and 16 channels: 2, 4 and 4 stay in any case, half of 40 leaves 10 more.
    space = space_of()
    importance = {
        "0.0": np.full(8, 3.0),
        "1.0": np.array([9.0] * 8 + [1.0] * 8),
        "2.0": np.array([9.0] * 4 + [1.0] * 12),
        "5": np.ones(10),
    }
    # Relative to the mean: 1.0 throughout; 1.8 and 0.2; 3 and 1/3. So the second's 4 of 1.8, then the first's 6 of 1.0.
    assert [choice.channels for choice in ranked(space, importance, 0.5, 8)] == [8, 8, 4, None]
    assert {choice.weight_bits for choice in ranked(space, importance, 0.5, 4)} == {4}


@given(
    st.sampled_from(sorted(SPACES)),
    st.integers(0, 2**32 - 1),
    st.floats(0.01, 1.0),
    st.floats(0.01, 1.0),
    st.booleans(),
)
def test_no_group_falls_below_its_floor_and_more_is_never_less(key, seed, first, second, ties):
    space = SPACES[key]
    rng = np.random.default_rng(seed)
    importance = {g.name: rng.integers(0, 2 if ties else 10**6, g.channels).astype(float) for g in space.groups}
    less, more = (
        [choice.channels for choice in ranked(space, importance, keep, 8)] for keep in sorted((first, second))
    )
    for options, few, many in zip(space.channel_options, less, more, strict=True):
        assert (few is None and many is None) if not options else (few in options and many in options and few <= many)


@pytest.mark.parametrize("key", SPACES)
def test_the_ratio_is_met_as_nearly_as_the_counts_allow_and_1_keeps_everything(key):
    space = SPACES[key]
    importance = {group.name: np.random.default_rng(1).random(group.channels) for group in space.groups}
    everything = ranked(space, importance, 1.0, 8)
    assert everything == space.uncompressed
    assert kept_channels_ratio(space.groups, space.compressed(everything)) == 1
    total = sum(group.channels for group in space.groups if group.prunable)
    half = space.compressed(ranked(space, importance, 0.6, 8))
    assert abs(kept_channels_ratio(space.groups, half) - 0.6) <= space.channel_round / total


def test_kept_ratios_by_hand():
    space = space_of()
    compressed = space.compressed(space.uniform(0.5, 4))
    assert kept_channels_ratio(space.groups, compressed) == 0.5
    # 3x3 1->8, 3x3 8->16, 4x4 16->16, dense 16->10, each with its biases; half the channels of the first three.
    full = (9 * 8 + 8) + (9 * 8 * 16 + 16) + (16 * 16 * 16 + 16) + (16 * 10 + 10)
    half = (9 * 4 + 4) + (9 * 4 * 8 + 8) + (16 * 8 * 8 + 8) + (8 * 10 + 10)
    assert kept_parameters_ratio(space.graph, compressed) == half / full
