"""Replacement, low rank, sparsity and protection as choices of a design, from config to saved model."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from safetensors.torch import load

from envs.compression.integer.network_file import network_from_bytes
from envs.compression.policy import CompressionPolicy
from envs.compression.structure.dependencies import ChannelDependencies
from envs.compression.structure.pruning import prune
from envs.errors import EnvError
from hw_models.cost import COST_NAMES
from hw_models.graph.layer_graph import DepthwiseConv2D, LayerGraph
from mobo.base.errors import ConfigError
from mobo.space.problem import Evaluation
from mobo.space.search_space import CategoricalParameter, Design, FloatParameter, OrdinalParameter
from mobo.space.trial import Trial
from mobo.tinyml.model_names import COMPRESSED, GRAPH, INPUT, POLICY, QUANTISED, TRAINED
from mobo.tinyml.network import Networks
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.smallest import check_before_search, smallest_design
from tests.mobo.small_study import hyperparameters_of, small_config

SHAPE = (8, 8, 1)
FIXED = {"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 1.0, "weight_bits": 8}


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


Files = dict[int, Mapping[str, bytes]]


def problem(setup: StudySetup, *overrides: str, files: Files | None = None) -> TinyMLProblem:
    kept: Files = {} if files is None else files
    return TinyMLProblem(small_config(*overrides), setup.data, setup.device, setup.runtime, save_model=kept.__setitem__)


def evaluate(problem: TinyMLProblem, design: Design) -> Evaluation:
    return problem.evaluate(Trial(number=0, design=design, seed=5))


def fixed_design(**changes: float | str) -> Design:
    return Design(FIXED | changes)


def test_without_the_settings_there_are_no_such_hyperparameters() -> None:
    names = hyperparameters_of(small_config(), SHAPE).names
    assert names.isdisjoint({"replacement", "low_rank", "rank_energy", "rank_ratio", "sparsity"})


def test_what_is_allowed_becomes_a_hyperparameter() -> None:
    found = hyperparameters_of(
        small_config(
            "compression.replacement=['none', 'separable']",
            "compression.low_rank=['none', 'svd', 'tucker']",
            "compression.max_sparsity=0.9",
        ),
        SHAPE,
    )
    assert found.space["replacement"] == CategoricalParameter(name="replacement", values=("none", "separable"))
    assert found.space["sparsity"] == FloatParameter(name="sparsity", low=0.0, high=0.9)
    rank = found.space["rank_energy"]
    assert rank.when == {"low_rank": ("svd", "tucker")}
    assert found.complete(Design({"low_rank": "none"}))["rank_energy"] == 1.0


def test_a_single_form_is_no_choice_but_its_rank_is() -> None:
    found = hyperparameters_of(small_config("compression.low_rank=['cp']", "compression.rank_by=ratio"), SHAPE)
    assert found.fixed["low_rank"] == "cp"
    assert isinstance(found.space["rank_ratio"], OrdinalParameter)
    assert not found.space["rank_ratio"].when
    assert "rank_energy" not in found.names


def test_the_config_can_fix_each_of_them() -> None:
    allowed = ("compression.low_rank=['none', 'svd']", "compression.max_sparsity=0.9")
    found = hyperparameters_of(small_config(*allowed, "space.low_rank='svd'", "space.sparsity=0"), SHAPE)
    assert found.fixed["low_rank"] == "svd"
    assert found.fixed["sparsity"] == 0
    assert not found.space["rank_energy"].when
    assert "rank_energy" not in hyperparameters_of(small_config(*allowed, "space.low_rank='none'"), SHAPE).names


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["space.low_rank='svd'"], "unknown hyperparameter 'low_rank'"),
        (["compression.low_rank=['none', 'svd']", "space.low_rank='svg'"], "unknown choice 'svg'; did you mean 'svd'"),
        (
            ["compression.low_rank=['svd']", "space.rank_energy=1.5"],
            "space.rank_energy reaches up to 1.5; allowed .* 1",
        ),
        (["compression.low_rank=['svd']", "compression.criterion=apoz"], "neither ReLU nor batch norm"),
        (["compression.low_rank=['svd']", "compression.method=fixed", "compression.schedule=agp"], "still whole"),
        (["compression.low_rank=['qr']"], "low_rank"),
        (["compression.max_sparsity=0.99"], "max_sparsity"),
        (["compression.max_sparsity=0.5", "space.sparsity=0.6"], "space.sparsity reaches up to 0.6"),
    ],
)
def test_a_bad_setting_is_told(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        hyperparameters_of(small_config(*overrides), SHAPE)


@pytest.mark.parametrize(
    ("overrides", "choice"),
    [
        (["compression.replacement=['none', 'factorised', 'separable']"], {"replacement": "separable"}),
        (["compression.replacement=['none', 'factorised', 'separable']"], {"replacement": "factorised"}),
        (["compression.low_rank=['tucker']", "compression.rank_by=ratio"], {"rank_ratio": 0.5, "keep": 0.5}),
        (["compression.low_rank=['cp']", "compression.rank_by=ratio"], {"rank_ratio": 0.6}),
        (["compression.max_sparsity=0.9"], {"sparsity": 0.8}),
    ],
)
def test_with_the_fixed_method_costs_are_known_before_training(
    setup: StudySetup, overrides: list[str], choice: dict[str, float | str]
) -> None:
    subject = problem(setup, "compression.method=fixed", *overrides)
    design = fixed_design(**choice)
    assert subject.known is not None
    before = dict(zip(subject.known.names, subject.known.outcomes([design])[0].tolist(), strict=True))
    outcome = evaluate(subject, design).outcome
    assert {name: outcome[name] for name in COST_NAMES} == before
    plain = evaluate(problem(setup, "compression.method=fixed"), fixed_design(keep=choice.get("keep", 1.0))).outcome
    assert (outcome["flash_model_bytes"] == plain["flash_model_bytes"]) == ("sparsity" in choice)
    download, whole = outcome["download_bytes"], plain["download_bytes"]
    assert download is not None
    assert whole is not None
    assert download < whole


def test_a_rank_by_energy_is_known_only_after_training(setup: StudySetup) -> None:
    files: Files = {}
    subject = problem(setup, "compression.method=fixed", "compression.low_rank=['svd']", files=files)
    design = fixed_design(rank_energy=0.8)
    assert subject.known is None
    assert not subject.check(design).known
    outcome = evaluate(subject, design).outcome
    whole = evaluate(problem(setup, "compression.method=fixed"), fixed_design()).outcome
    assert outcome["float_validation_error"] == whole["float_validation_error"]
    graph = LayerGraph.from_dict(json.loads(files[0][GRAPH]))
    assert any(layer.name.endswith(".reduce") for layer in graph.layers)
    ratio = outcome["kept_parameters_ratio"]
    assert ratio is not None
    assert ratio < 1
    assert outcome["kept_channels_ratio"] == 1


def test_the_agent_chooses_ranks_as_it_chooses_channels(setup: StudySetup) -> None:
    files: Files = {}
    subject = problem(setup, "compression.low_rank=['tucker']", "compression.channel_round=1", files=files)
    targets = dict.fromkeys(("flash_target", "ram_target", "latency_target"), 0.9)
    design = Design({"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "rank_energy": 0.9} | targets)
    outcome = evaluate(subject, design).outcome
    assert "reward_error" in outcome
    policy = CompressionPolicy.from_json(files[0][POLICY].decode())
    assert any(name.endswith(".reduce") for name in policy.keep_ratios)
    assert any(name.endswith(".core") for name in policy.keep_ratios)


@pytest.mark.parametrize("rank", ["rank_energy", "rank_ratio"])
def test_the_saved_model_can_be_built_again(setup: StudySetup, rank: str) -> None:
    """Trained weights, hyperparameters and policy lead to the graph that was saved, into which its weights fit."""
    files: Files = {}
    overrides = (
        "compression.method=fixed",
        "compression.low_rank=['none', 'tucker']",
        f"compression.rank_by={rank.removeprefix('rank_')}",
        "compression.replacement=['none', 'factorised']",
    )
    subject = problem(setup, *overrides, files=files)
    choice = {"low_rank": "tucker", rank: 0.8, "replacement": "factorised", "keep": 0.6}
    evaluate(subject, fixed_design(**choice))
    saved = files[0]
    values = json.loads(saved[INPUT])["hyperparameters"]
    networks = Networks(small_config(*overrides), setup.data)
    again = networks.build(values, seed=99)
    again.module.load_state_dict(load(saved[TRAINED]))
    split = networks.decomposed(again, values)
    policy = CompressionPolicy.from_json(saved[POLICY].decode())
    assert split.space.compressed(split.space.assignment(policy)) == network_from_bytes(saved[QUANTISED]).graph
    smaller = prune(
        split.module,
        split.trace,
        split.groups,
        policy,
        channel_round=4,
        dependencies=ChannelDependencies(split.module, split.trace.graph, SHAPE),
    )
    smaller.load_state_dict(load(saved[COMPRESSED]))


def test_sparse_weights_are_zero_in_the_integers_and_change_no_cost(setup: StudySetup) -> None:
    files: Files = {}
    subject = problem(setup, "compression.method=fixed", "compression.max_sparsity=0.95", files=files)
    dense, sparse = (evaluate(subject, fixed_design(sparsity=share)).outcome for share in (0.0, 0.75))
    network = network_from_bytes(files[0][QUANTISED])
    values = np.concatenate([weights.values.ravel() for weights in network.weights.values()])
    assert (values == 0).mean() >= 0.75
    assert {name: dense[name] for name in COST_NAMES} == {name: sparse[name] for name in COST_NAMES}
    assert sparse["download_bytes"] is not None
    assert dense["download_bytes"] is not None
    assert sparse["download_bytes"] < 0.8 * dense["download_bytes"]


def test_protected_layers_stay_as_they_are(setup: StudySetup) -> None:
    files: Files = {}
    plain = Design({"width": 12, "width_growth": 1.5, "learning_rate": 0.01})
    original = problem(setup).designs.network(plain, seed=0).graph
    first, second = (layer.name for layer in original.weight_layers[:2])
    overrides = (
        "compression.method=fixed",
        "compression.low_rank=['svd']",
        "compression.replacement=['separable']",
        "compression.max_sparsity=0.9",
        f"compression.protected=['{first}', '{second}']",
    )
    subject = problem(setup, *overrides, files=files)
    evaluate(subject, fixed_design(keep=0.4, weight_bits=4, rank_energy=0.5, sparsity=0.9))
    network = network_from_bytes(files[0][QUANTISED])
    for layer in network.graph.weight_layers:
        protected = layer.name in (first, second)
        assert layer.weight_bits == (8 if protected else 4)
        if protected:
            assert network.graph.shapes[layer.name] == original.shapes[layer.name]
            assert not isinstance(layer, DepthwiseConv2D)
            assert (network.weights[layer.name].values == 0).mean() < 0.5
    policy = CompressionPolicy.from_json(files[0][POLICY].decode())
    assert policy.weight_bits[first] == 8


def test_pruning_in_rounds_works_on_split_and_sparse_layers(setup: StudySetup) -> None:
    files: Files = {}
    subject = problem(
        setup,
        "compression.method=fixed",
        "compression.schedule=iterative",
        "compression.low_rank=['tucker']",
        "compression.max_sparsity=0.5",
        files=files,
    )
    evaluate(subject, fixed_design(keep=0.4, rank_energy=0.6, sparsity=0.5))
    network = network_from_bytes(files[0][QUANTISED])
    assert any(layer.name.endswith(".core") for layer in network.graph.layers)
    values = np.concatenate([weights.values.ravel() for weights in network.weights.values()])
    assert (values == 0).mean() >= 0.5


def test_an_unknown_protected_layer_is_told_before_the_search(setup: StudySetup) -> None:
    with pytest.raises(EnvError, match=r"protected: unknown layer 'stem\.9'; did you mean 'stem"):
        check_before_search(problem(setup, "compression.protected=['stem.9']"))


@pytest.mark.parametrize(
    "allowed",
    [
        ("compression.replacement=['none', 'separable']",),
        ("compression.low_rank=['none', 'svd']",),
        ("compression.low_rank=['none', 'svd']", "compression.rank_by=ratio"),
    ],
)
def test_the_smallest_design_is_sought_among_replacements_and_ranks_too(
    setup: StudySetup, allowed: tuple[str, ...]
) -> None:
    overrides = (
        "compression.min_keep=1",
        "space.width={type='ordinal', values=[32, 48]}",
        *(f"constraints.{index}.upper=100000" for index in range(3)),
    )
    used = []
    for subject in (problem(setup, *overrides), problem(setup, *overrides, *allowed)):
        smallest = smallest_design(
            subject.space, subject.budget, subject.smallest_costs, varied=subject.cost_parameters
        )
        used.append(smallest.costs["flash_model_bytes"])
    assert used[1] < used[0]


def test_the_teacher_is_the_network_before_it_was_split(setup: StudySetup, monkeypatch: pytest.MonkeyPatch) -> None:
    lessons: list[torch.Tensor | None] = []
    from mobo.tinyml import problem as tinyml

    class Watched(tinyml.PolicyEvaluator):
        def __init__(self, *args: object, taught: torch.Tensor | None = None, **others: object) -> None:
            lessons.append(taught)
            super().__init__(*args, taught=taught, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(tinyml, "PolicyEvaluator", Watched)
    subject = problem(
        setup,
        "compression.method=fixed",
        "compression.low_rank=['svd']",
        "compression.finetune={steps=2, distillation_weight=0.5}",
    )
    evaluate(subject, fixed_design(rank_energy=0.5))
    assert lessons[0] is not None
    assert len(lessons[0]) == len(setup.data.train)
