import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.compression.structure.groups import with_protection
from envs.episode.choices import ChoiceSpace, LayerChoice
from envs.errors import EnvError
from tests.envs.networks_by_hand import chain_graph, residual_graph

spaces = st.builds(
    lambda width, round_to, keep, protected: ChoiceSpace(
        graph=(built := residual_graph(width))[0],
        groups=with_protection(built[1], protected),
        channel_round=round_to,
        min_keep=keep,
    ),
    st.integers(1, 40),
    st.sampled_from([1, 2, 4, 8]),
    st.floats(0.05, 1.0),
    st.sets(st.sampled_from(["stem", "block1", "pointwise"])),
)


def test_only_openers_choose_channels() -> None:
    graph, groups = residual_graph(16)
    space = ChoiceSpace(graph=graph, groups=groups)
    names = [layer.name for layer in space.layers]
    # block2 and depthwise follow the stem; the classifier's outputs are the classes.
    opening = [name for name, options in zip(names, space.channel_options, strict=True) if options]
    assert opening == ["stem", "block1", "pointwise"]
    assert space.channel_options[0] == (4, 8, 12, 16)


@given(spaces)
def test_every_choice_survives_policy_and_action(space: ChoiceSpace) -> None:
    for index in range(len(space.layers)):
        for choice in space.choices(index):
            assert space.decode(index, space.encode(index, choice)) == choice
            assignment = (*space.uncompressed[:index], choice, *space.uncompressed[index + 1 :])
            assert space.assignment(space.policy(assignment)) == assignment
            if choice.channels is not None:
                graph = space.compressed(assignment)
                assert graph.shapes[space.layers[index].name][2] == choice.channels


@given(spaces, st.floats(-1, 1), st.floats(-1, 1))
def test_decoding_gives_an_allowed_choice(space: ChoiceSpace, keep: float, bits: float) -> None:
    for index in range(len(space.layers)):
        assert space.decode(index, [keep, bits]) in space.choices(index)


def test_bits_are_binned_in_order() -> None:
    graph, groups = chain_graph([8], kernels=[3], size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups)
    decoded = [space.decode(1, [0.0, bits]).weight_bits for bits in (-1.0, -0.01, 0.0, 1.0)]
    assert decoded == [4, 4, 8, 8]


def test_keep_maps_linearly_onto_the_grid() -> None:
    graph, groups = chain_graph([16], kernels=[3], size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups, min_keep=0.25)
    # Ratios .25, .4375, .625, .8125, 1 of 16 are 4, 7, 10, 13, 16; the grid has 4, 8, 12, 16.
    decoded = [space.decode(0, np.array([keep, 1.0])).channels for keep in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert decoded in ([4, 8, 8, 12, 16], [4, 8, 12, 12, 16])


def test_bad_arguments_are_named() -> None:
    graph, groups = chain_graph([8], kernels=[3], size=4, classes=3)
    with pytest.raises(EnvError, match="min_keep is 0; it must be in"):
        ChoiceSpace(graph=graph, groups=groups, min_keep=0)
    with pytest.raises(EnvError, match=r"weight_bits is \(8, 4\); it must name distinct widths in ascending order"):
        ChoiceSpace(graph=graph, groups=groups, weight_bits=(8, 4))


def test_a_protected_layer_keeps_its_channels_and_the_widest_weights_whatever_is_asked() -> None:
    graph, groups = chain_graph([8, 16], kernels=[3, 3], size=4, classes=3)
    name = graph.weight_layers[1].name
    space = ChoiceSpace(graph=graph, groups=with_protection(groups, [name]))
    assert space.choices(1) == (LayerChoice(None, 8),)
    everything = (LayerChoice(4, 4), LayerChoice(None, 4), LayerChoice(None, 4))
    assert dict(space.policy(everything).weight_bits) == {
        layer.name: 8 if layer.name == name else 4 for layer in graph.weight_layers
    }
    assert space.compressed(space.uniform(0.5, 4)).shapes[name][2] == 16
    with pytest.raises(EnvError, match="the weights of protected layers need 8 among them"):
        ChoiceSpace(graph=graph, groups=space.groups, weight_bits=(4,))


def test_uniform_keeps_one_ratio_everywhere() -> None:
    graph, groups = chain_graph([8, 16], kernels=[3, 3], size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups)
    assert space.uniform(0.5, 4) == (LayerChoice(4, 4), LayerChoice(8, 4), LayerChoice(None, 4))


def test_graded_ratios_grow_with_the_depth_and_narrow_weights_come_last() -> None:
    graph, groups = chain_graph([16, 16, 16], kernels=[3, 3, 3], size=4, classes=3)
    space = ChoiceSpace(graph=graph, groups=groups, min_keep=0.25)
    # A quarter, a half, all: each twice the one before, half in the middle.
    graded = space.graded(0.5, 4, growth=4.0, narrow_share=0.5)
    assert [choice.channels for choice in graded] == [4, 8, 16, None]
    assert [choice.weight_bits for choice in graded] == [8, 8, 4, 4]
    # The first would keep an eighth, the last twice what there is: the fewest, and all.
    assert [choice.channels for choice in space.graded(0.5, 8, growth=16.0)] == [4, 8, 16, None]
    assert [choice.channels for choice in space.graded(0.5, 8, growth=0.25)] == [16, 8, 4, None]
    assert {choice.weight_bits for choice in space.graded(0.5, 4, narrow_share=0.0)} == {8}


@given(spaces, st.floats(0.05, 1.0), st.floats(0.1, 10.0), st.floats(0.0, 1.0))
def test_what_is_graded_may_be_chosen(space: ChoiceSpace, keep: float, growth: float, narrow_share: float) -> None:
    graded = space.graded(keep, 4, growth=growth, narrow_share=narrow_share)
    assert all(choice in space.choices(index) for index, choice in enumerate(graded))
    assert space.graded(keep, 4) == space.uniform(keep, 4)
