"""The fixed method: a design's costs are known before training, exactly, and the evaluation agrees to the digit."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from envs.compression.integer.network_file import network_from_bytes
from envs.compression.policy import CompressionPolicy
from envs.search.agent.pretrained import HELD, LOOSENED
from hw_models.cost import COST_NAMES
from hw_models.graph.layer_graph import LayerGraph, Patches
from hw_models.runtime import RuntimeModelError
from mobo.base.errors import ConfigError, TrialFailed
from mobo.space.columns import BARS, KEPT, standard_error_of
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.problem import Evaluation
from mobo.space.search_space import Design, FloatParameter, OrdinalParameter, Value
from mobo.space.trial import Trial
from mobo.tinyml.carried_policy import carried_policy
from mobo.tinyml.hyperparameters import AGENTS, GREEDY
from mobo.tinyml.network import DesignedNetwork, Networks
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.smallest import ImpossibleBudgetError, check_before_search
from tests.mobo.small_study import small_config
from tests.mobo.wide_runtime import wide_runtime

DESIGNS = (
    Design({"width": 8, "width_growth": 1.0, "learning_rate": 0.01, "keep": 1.0, "weight_bits": 8}),
    Design({"width": 12, "width_growth": 1.5, "learning_rate": 0.01, "keep": 0.5, "weight_bits": 4}),
    Design({"width": 12, "width_growth": 1.5, "learning_rate": 0.002, "keep": 0.7, "weight_bits": 8}),
)


@pytest.fixture(scope="module")
def setup() -> StudySetup:
    return load_setup(small_config())


def problem(setup: StudySetup, *overrides: str) -> TinyMLProblem:
    config = small_config("compression.method=fixed", *overrides)
    return TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)


def known(problem: TinyMLProblem) -> KnownOutcomes:
    assert problem.known is not None
    return problem.known


def evaluate(problem: TinyMLProblem, design: Design) -> Evaluation:
    return problem.evaluate(Trial(number=0, design=design, seed=3))


@pytest.mark.parametrize("design", DESIGNS)
def test_what_is_known_before_is_what_comes_out(setup: StudySetup, design: Design) -> None:
    asked = problem(setup, "constraints.2.confidence=0.9")
    names = known(asked).names
    assert names == (*COST_NAMES, "latency_ms_at_0.9")
    before = dict(zip(names, known(asked).outcomes([design])[0].tolist(), strict=True))
    outcome = evaluate(asked, design).outcome
    assert {name: outcome[name] for name in names} == before
    noise = standard_error_of("validation_error")
    measured = {"validation_error", noise, "float_validation_error", "download_bytes", *KEPT}
    assert set(outcome) == {*names, *measured, *BARS}


TIGHT = AGENTS | GREEDY
SEARCHED_POLICY = f"space.policy={{type='categorical',values={['uniform', *TIGHT]}}}"


def with_policy(design: Design, policy: str) -> Design:
    return Design(dict(design) | {"policy": policy})


@pytest.mark.parametrize("policy", sorted(TIGHT))
def test_what_a_policy_makes_of_a_design_is_known_before_too(setup: StudySetup, policy: str) -> None:
    design = with_policy(DESIGNS[1], policy)
    asked = problem(setup, SEARCHED_POLICY)
    before = dict(zip(COST_NAMES, known(asked).outcomes([design])[0].tolist(), strict=True))
    outcome = evaluate(asked, design).outcome
    assert {name: outcome[name] for name in COST_NAMES} == before


@pytest.mark.parametrize("policy", sorted(TIGHT))
def test_a_policy_is_in_its_cost_never_dearer_than_the_uniform_one(setup: StudySetup, policy: str) -> None:
    asked = problem(setup, SEARCHED_POLICY)
    uniform, agent = (
        known(asked).outcomes([with_policy(design, chosen) for design in DESIGNS]) for chosen in ("uniform", policy)
    )
    for name in HELD:
        place = COST_NAMES.index(name)
        allowed = uniform[:, place] * (1 if name == TIGHT[policy] else LOOSENED)
        assert (agent[:, place] <= allowed).all()


def test_where_the_greedy_rule_ends_outside_the_uniform_policy_stands(
    setup: StudySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobo.tinyml.carried_policy.compress", lambda problem, predictor, start: start)
    asked = problem(setup, SEARCHED_POLICY)
    costs = known(asked).outcomes([with_policy(DESIGNS[1], policy) for policy in ("greedy_ram", "uniform")])
    assert costs[0].tolist() == costs[1].tolist()


def test_policies_are_not_all_alike(setup: StudySetup) -> None:
    designs = [with_policy(DESIGNS[1], policy) for policy in ("uniform", "agent_ram", "greedy_ram", "greedy_latency")]
    assert len({tuple(row) for row in known(problem(setup, SEARCHED_POLICY)).outcomes(designs)}) > 1


def test_a_policy_is_a_part_of_the_compression_and_uniform_unless_said_otherwise(setup: StudySetup) -> None:
    plain, asked = problem(setup), problem(setup, SEARCHED_POLICY)
    assert plain.designs.values(DESIGNS[1])["policy"] == "uniform"
    assert "policy" in asked.space.names
    assert "policy" not in asked.work.training_names
    assert len({asked.work.child_key(with_policy(DESIGNS[1], policy)) for policy in ("uniform", *TIGHT)}) == 7
    for policy, one in (("agent_ram", problem(setup, "space.policy=agent_ram")), ("uniform", plain)):
        costs = known(one).outcomes([DESIGNS[1]]).tolist()
        assert costs == known(asked).outcomes([with_policy(DESIGNS[1], policy)]).tolist()


@pytest.mark.parametrize("chosen", sorted(TIGHT))
def test_beside_wide_activations_no_policy_chooses_narrow_weights(setup: StudySetup, chosen: str) -> None:
    designs = problem(setup).designs
    values = designs.values(DESIGNS[2]) | {"policy": chosen, "activation_bits": 16}
    policy = carried_policy(designs.choices(DESIGNS[2]), values, designs.cost_function(values))
    assert set(policy.weight_bits.values()) == {8}


GRADED = (
    "space.keep_growth={type='float', low=0.25, high=4.0, log=true}",
    "space.narrow_share={type='float', low=0.2, high=1.0, when={weight_bits=[4]}, otherwise=1.0}",
)


def test_what_is_graded_by_depth_is_known_before_and_is_another_network_of_the_same_training(setup: StudySetup) -> None:
    asked, plain = problem(setup, *GRADED), problem(setup)
    late = Design(dict(DESIGNS[1]) | {"keep_growth": 3.0, "narrow_share": 0.4})
    even = Design(dict(DESIGNS[1]) | {"keep_growth": 1.0, "narrow_share": 1.0})
    assert known(asked).outcomes([even]).tolist() == known(plain).outcomes([DESIGNS[1]]).tolist()
    before = dict(zip(COST_NAMES, known(asked).outcomes([late])[0].tolist(), strict=True))
    assert before != dict(zip(COST_NAMES, known(asked).outcomes([even])[0].tolist(), strict=True))
    outcome = evaluate(asked, late).outcome
    assert {name: outcome[name] for name in COST_NAMES} == before
    assert not {"keep_growth", "narrow_share"} & asked.work.training_names
    # Rounded to whole channels a growth just above 1 leaves the same network.
    nearly, exactly = (Design(dict(even) | {"keep": 0.6, "keep_growth": growth}) for growth in (1.01, 1.0))
    assert asked.work.child_key(nearly) == asked.work.child_key(exactly) != asked.work.child_key(late)


def test_the_costs_follow_every_hyperparameter_that_they_depend_on(setup: StudySetup) -> None:
    named = problem(setup, *GRADED).cost_parameters
    assert named == {"width", "width_growth", "keep", "keep_growth", "weight_bits", "narrow_share"}


def test_an_unknown_policy_is_refused(setup: StudySetup) -> None:
    with pytest.raises(ConfigError, match=r"space.policy: unknown choice 'agent_rom'.*agent_ram"):
        problem(setup, "space.policy=agent_rom")


def test_designs_differ_in_cost_by_what_they_keep(setup: StudySetup) -> None:
    base = {"width": 12, "width_growth": 1.5, "learning_rate": 0.01}
    designs = [Design(base | {"keep": keep, "weight_bits": bits}) for keep, bits in ((1.0, 8), (0.5, 8), (0.5, 4))]
    flash = known(problem(setup)).outcomes(designs)[:, COST_NAMES.index("flash_model_bytes")]
    assert flash[0] > flash[1] > flash[2]


def test_a_networks_trace_is_shared_and_the_order_of_questions_does_not_matter(
    setup: StudySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    build = Networks.build

    def counted(self: Networks, values: Mapping[str, Value], *, seed: int) -> DesignedNetwork:
        built.append(int(values["width"]))
        return build(self, values, seed=seed)

    monkeypatch.setattr(Networks, "build", counted)
    asked = known(problem(setup))
    first = asked.outcomes(DESIGNS)
    # The second and third design have one architecture.
    assert built == [DESIGNS[0]["width"], DESIGNS[1]["width"]]
    assert np.array_equal(asked.outcomes(DESIGNS[::-1]), first[::-1])
    assert len(built) == 2
    assert asked.outcomes([]).shape == (0, len(asked.names))


def test_memory_is_bounded(setup: StudySetup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobo.tinyml.designs._REMEMBERED_ARCHITECTURES", 1)
    monkeypatch.setattr("mobo.tinyml.methods.fixed._REMEMBERED_DESIGNS", 1)
    fresh = {design: known(problem(setup)).outcomes([design])[0].tolist() for design in DESIGNS}
    subject = problem(setup)
    asked = known(subject)
    for design in (*DESIGNS, *DESIGNS):
        assert asked.outcomes([design])[0].tolist() == fresh[design]
    assert len(asked._remembered) == len(subject.designs._choices) == 1  # type: ignore[attr-defined]


def test_a_design_beyond_the_budget_is_refused_before_and_during_the_evaluation(setup: StudySetup) -> None:
    sizes = {design: problem(setup).check(design).known["flash_model_bytes"] for design in DESIGNS}
    limit = sorted(sizes.values())[0]
    asked = problem(setup, f"constraints.0.upper={limit}")
    verdicts = {design: asked.check(design).feasible for design in DESIGNS}
    assert verdicts == {design: size <= limit for design, size in sizes.items()}
    assert set(verdicts.values()) == {True, False}
    beyond = next(design for design, feasible in verdicts.items() if not feasible)
    assert asked.check(beyond).reason == f"flash_model_bytes {sizes[beyond]:.6g} > {limit:.6g}"
    with pytest.raises(TrialFailed, match="beyond the budget"):
        evaluate(asked, beyond)


def test_a_confidence_counts_in_the_check(setup: StudySetup) -> None:
    latency = problem(setup).check(DESIGNS[0]).known["latency_ms"]
    bound = f"constraints.2.upper={latency * 1.0001}"
    assert problem(setup, bound).check(DESIGNS[0]).feasible
    refused = problem(setup, bound, "constraints.2.confidence=0.9").check(DESIGNS[0])
    assert not refused.feasible
    assert refused.known["latency_ms_at_0.9"] > latency


def test_the_space_has_what_is_kept_and_no_targets(setup: StudySetup) -> None:
    space = problem(setup).space
    assert set(space.names) == {"width", "width_growth", "learning_rate", "keep", "weight_bits"}
    assert space["keep"] == FloatParameter(name="keep", low=0.25, high=1.0)
    assert space["weight_bits"] == OrdinalParameter(name="weight_bits", values=(4, 8))
    alone = problem(setup, "compression.weight_bits=[8]", "compression.min_keep=1.0")
    assert set(alone.space.names) == {"width", "width_growth", "learning_rate"}
    assert alone.designs.values(Design({"width": 8, "width_growth": 1.0, "learning_rate": 0.1}))["weight_bits"] == 8


WIDE = "compression.activation_bits=[8, 16]"


@pytest.fixture(scope="module")
def wide_setup(setup: StudySetup) -> StudySetup:
    return replace(setup, runtime=wide_runtime())


def test_the_width_of_activations_is_searched_beside_8_bit_weights_only(wide_setup: StudySetup) -> None:
    space = problem(wide_setup, WIDE).space
    assert space["activation_bits"] == OrdinalParameter(
        name="activation_bits", values=(8, 16), when={"weight_bits": (8,)}, otherwise=8
    )
    without_4 = problem(wide_setup, WIDE, "compression.weight_bits=[8]").space
    assert without_4["activation_bits"] == OrdinalParameter(name="activation_bits", values=(8, 16))
    assert problem(wide_setup, WIDE, "space.weight_bits=8").space["activation_bits"] == without_4["activation_bits"]


def test_a_design_of_16_bit_activations_costs_what_was_known_and_stores_its_policy(wide_setup: StudySetup) -> None:
    saved: dict[str, bytes] = {}
    config = small_config("compression.method=fixed", WIDE, "constraints.1.upper=20000")
    asked = TinyMLProblem(
        config,
        wide_setup.data,
        wide_setup.device,
        wide_setup.runtime,
        save_model=lambda number, files: saved.update(files),
    )
    designs = [Design({**DESIGNS[2], "activation_bits": bits}) for bits in (8, 16)]
    narrow, wide = (dict(zip(known(asked).names, row, strict=True)) for row in known(asked).outcomes(designs).tolist())
    assert wide["ram_bytes"] > narrow["ram_bytes"]
    assert wide["flash_model_bytes"] > narrow["flash_model_bytes"]
    outcome = evaluate(asked, designs[1]).outcome
    assert {name: outcome[name] for name in wide} == wide
    policy = CompressionPolicy.from_json(saved["policy.json"].decode())
    assert set(policy.activation_bits.values()) == {16}
    network = network_from_bytes(saved["quantised.npz"])
    assert {layer.output_bits for layer in network.graph.weight_layers} == {16}


def test_a_runtime_that_lacks_a_kernel_of_16_bits_is_refused_before_the_first_trial(setup: StudySetup) -> None:
    with pytest.raises(RuntimeModelError, match=r"'tflm-cmsis-nn' has no .* kernel of width .*a16.* nobody counted it"):
        problem(setup, WIDE)


def test_the_kernels_of_every_family_are_asked_for(wide_setup: StudySetup) -> None:
    cores = {name: core.model_copy(update={"kernels": {**core.kernels, "depthwise": {
        width: model for width, model in core.kernels["depthwise"].items() if width != "w8a16"}}})
        for name, core in wide_setup.runtime.cores.items()}  # fmt: skip
    without = replace(wide_setup, runtime=wide_setup.runtime.model_copy(update={"cores": cores}))
    assert problem(without, WIDE).space
    for families in ("['residual', 'ds_cnn']", "['ds_cnn', 'residual']"):
        with pytest.raises(RuntimeModelError, match=r"has no depthwise kernel of width .*a16"):
            problem(without, WIDE, f"network.families={families}", "space={epochs=1}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["compression.method=greedy"], r'activation_bits = \[8, 16\] needs method = "fixed" and scope = "local"'),
        (["compression.scope=global"], r'activation_bits = \[8, 16\] needs method = "fixed" and scope = "local"'),
        (["compression.weight_bits=[4]"], "needs 8 among weight_bits: no kernel computes 4-bit weights with 16"),
        (["space.activation_bits=16"], "activation_bits can be 16 where weight_bits is 4, which no kernel computes"),
        (["space.activation_bits=4"], r"space\.activation_bits: 4 must be one or an ordinal of .* 8, 16"),
        (
            ["space.activation_bits={type='ordinal', values=[8, 16], when={weight_bits=[8]}, otherwise=16}"],
            "activation_bits can be 16 where weight_bits is 4",
        ),
    ],
)
def test_widths_that_cannot_be_computed_are_refused(setup: StudySetup, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(setup, WIDE, *overrides)


def test_a_runtime_without_16_bit_activations_is_refused() -> None:
    config = small_config("compression.method=fixed", WIDE, "compression.weight_bits=[8]", "device.runtime=tinyengine")
    with pytest.raises(
        ConfigError, match="asks for 16-bit activations, which 'tinyengine' cannot compute with; allowed are 8"
    ):
        load_setup(config)


def test_the_budget_is_checked_with_what_designs_keep(setup: StudySetup) -> None:
    smallest = check_before_search(problem(setup))
    assert smallest.design["keep"] == 0.25
    assert smallest.design["weight_bits"] == 4
    with pytest.raises(ImpossibleBudgetError, match="flash_model_bytes would need at least"):
        check_before_search(problem(setup, "constraints.0.upper=2000"))


def test_with_an_agent_nothing_is_known_exactly(setup: StudySetup) -> None:
    config = small_config()
    agent = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    assert agent.known is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("space.keep=0.1", r"space\.keep reaches from 0\.1 to 0\.1; allowed is 0\.25 \(compression\.min_keep\) to 1"),
        ("space.keep={type='float', low=0.5, high=1.5}", r"space\.keep reaches from 0\.5 to 1\.5"),
        ("space.weight_bits={type='int', low=4, high=8}", r"space\.weight_bits.*must be one or an ordinal of"),
        ("space.weight_bits=2", r"space\.weight_bits.*weight_bits: 4, 8"),
        ("space.stored_bits=4", r"space\.stored_bits: 4 must be one or an ordinal of 2, 3, 5, 6, 8"),
        ("space.narrow_share=1.5", r"space\.narrow_share reaches beyond 1; it is a share of the layers"),
        ("space.keep_growth=0.0", r"space\.keep_growth: 0\.0 must be positive"),
        ("space.patches=300", r"space\.patches: 300 must be whole numbers from 1 \(all at once\) to 256"),
        ("space.patches={type='float', low=1, high=4}", r"space\.patches.*must be whole numbers"),
        ("space.ram_target=0.5", "unknown hyperparameter 'ram_target'"),
    ],
)
def test_what_cannot_be_kept_is_refused(setup: StudySetup, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(setup, override)


def test_under_the_generated_c_a_stored_width_is_a_cost_like_any_other(setup: StudySetup) -> None:
    generated = load_setup(small_config("device.runtime=mobo-c"))
    asked = problem(generated, "space.stored_bits={type='ordinal', values=[2, 8]}")
    design = Design({**DESIGNS[0], "stored_bits": 2})
    before, plain = (
        dict(zip(known(asked).names, known(asked).outcomes([some])[0].tolist(), strict=True))
        for some in (design, Design({**design, "stored_bits": 8}))
    )
    outcome = evaluate(asked, design).outcome
    assert {name: outcome[name] for name in known(asked).names} == before
    assert before["flash_model_bytes"] < plain["flash_model_bytes"]
    assert before["latency_ms"] > plain["latency_ms"]


def test_under_another_runtime_a_stored_width_changes_the_download_and_no_cost(setup: StudySetup) -> None:
    outcomes = {}
    for width in (8, 5, 2):
        asked = problem(setup, f"space.stored_bits={width}")
        outcomes[width] = evaluate(asked, DESIGNS[0]).outcome
    assert len({tuple(outcome[name] for name in COST_NAMES) for outcome in outcomes.values()}) == 1
    downloads = [outcome["download_bytes"] for outcome in outcomes.values()]
    assert downloads == sorted(downloads, reverse=True)
    assert len(set(downloads)) == 3


def test_a_design_may_choose_the_stored_width(setup: StudySetup) -> None:
    asked = problem(setup, "space.stored_bits={type='ordinal', values=[2, 5, 8]}")
    assert asked.space["stored_bits"] == OrdinalParameter(name="stored_bits", values=(2, 5, 8))
    known_before = known(asked).outcomes([Design({**DESIGNS[1], "stored_bits": width}) for width in (2, 8)])
    assert np.array_equal(known_before[0], known_before[1])
    # 5 bits do not make weights that are computed with in 4 bits any coarser.
    files: list[str] = []
    config = small_config("compression.method=fixed", "space.stored_bits=5")
    whole = TinyMLProblem(
        config, setup.data, setup.device, setup.runtime, save_model=lambda n, saved: files.append(saved["policy.json"])
    )
    evaluate(whole, DESIGNS[1])
    assert CompressionPolicy.from_json(files[0].decode()).stored_bits == {}
    evaluate(whole, DESIGNS[0])
    assert set(CompressionPolicy.from_json(files[1].decode()).stored_bits.values()) == {5}


def test_under_the_generated_c_patches_are_a_choice_that_saves_ram_and_costs_time() -> None:
    overrides = ("space.stem_stride=1", "space.patches={type='ordinal', values=[1, 4, 5, 8]}")
    generated = load_setup(small_config("device.runtime=mobo-c", *overrides))
    config = small_config("compression.method=fixed", *overrides)
    files: list[dict[str, bytes]] = []
    asked = TinyMLProblem(
        config,
        generated.data,
        generated.device,
        generated.runtime,
        save_model=lambda number, saved: files.append(saved),
    )
    designs = {count: Design({**DESIGNS[0], "patches": count}) for count in (1, 4, 5, 8)}
    found = dict(zip(designs, known(asked).outcomes(list(designs.values())), strict=True))
    costs = {count: dict(zip(known(asked).names, row.tolist(), strict=True)) for count, row in found.items()}
    assert costs[8]["ram_bytes"] < costs[4]["ram_bytes"] < costs[1]["ram_bytes"]
    assert costs[8]["latency_ms"] > costs[4]["latency_ms"] > costs[1]["latency_ms"]
    # Five patches are possible nowhere in maps of eight rows, so all runs at once.
    assert costs[5] == costs[1]
    outcomes = {count: evaluate(asked, designs[count]).outcome for count in (1, 4)}
    for count, outcome in outcomes.items():
        assert {name: outcome[name] for name in known(asked).names} == costs[count]
    # The network, its error and what is sent of it are the same.
    for name in ("validation_error", "download_bytes"):
        assert outcomes[1][name] == outcomes[4][name]
    graphs = [LayerGraph.from_dict(json.loads(saved["graph.json"])) for saved in files]
    assert [graph.patches for graph in graphs] == [None, Patches("add", 2)]
    assert network_from_bytes(files[1]["quantised.npz"]).graph == graphs[1]


def test_under_another_runtime_everything_runs_at_once_whatever_the_patches(setup: StudySetup) -> None:
    asked = problem(setup, "space.stem_stride=1", "space.patches={type='ordinal', values=[1, 8]}")
    rows = known(asked).outcomes([Design({**DESIGNS[0], "patches": count}) for count in (1, 8)])
    assert np.array_equal(rows[0], rows[1])
