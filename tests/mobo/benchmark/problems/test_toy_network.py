import pytest

from mobo.base.errors import SpaceError
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.toy_network import COSTS, SPACE
from mobo.space.search_space import Design
from mobo.space.trial import Trial

DESIGN = Design(
    {
        "blocks": 2, "width": 16, "resolution": 32, "convolution": "standard", "weight_bits": 8, "pruning": "none",
        "epochs": 50, "learning_rate": 1e-2, "optimiser": "adam",
    }
)  # fmt: skip


def outcome(**changes: object) -> dict[str, float | None]:
    design = Design({**DESIGN, **changes})  # type: ignore[dict-item]
    SPACE.check(design)
    return dict(build_problem("toy_network").evaluate(Trial(number=0, design=design, seed=0)).outcome)


def test_costs_are_counted() -> None:
    # 27*16 + 2*9*16*16 + 10*16 = 5200 weights of a byte, 4*16*3 = 192 bytes of biases.
    assert outcome()["flash_bytes"] == 5392
    assert outcome(weight_bits=4)["flash_bytes"] == 2792
    assert outcome()["ram_bytes"] == 2 * 32 * 32 * 16
    assert outcome(pruning="filters", keep=0.5)["ram_bytes"] == 2 * 32 * 32 * 8


def test_conditional_parameters_belong_to_a_design_only_beside_their_condition() -> None:
    for inactive in ({"keep": 0.5}, {"momentum": 0.5}):
        with pytest.raises(SpaceError, match="is inactive"):
            SPACE.check({**DESIGN, **inactive})
    assert outcome(optimiser="sgd", momentum=0.1) != outcome(optimiser="sgd", momentum=0.9)


def test_a_design_known_to_need_too_much_memory_is_refused_with_the_figures() -> None:
    problem = build_problem("toy_network", {"known_outcomes": COSTS})
    feasibility = problem.check(Design({**DESIGN, "width": 64}))
    assert not feasibility.feasible
    assert feasibility.reason == "ram_bytes is 131072, the limit 65536"
    assert feasibility.known["ram_bytes"] == 131072
    assert problem.check(DESIGN).feasible
    assert build_problem("toy_network").check(Design({**DESIGN, "width": 64})).feasible
