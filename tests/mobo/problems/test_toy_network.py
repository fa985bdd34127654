import pytest

from mobo.problems import build_problem
from mobo.problems.toy_network import COSTS, SPACE
from mobo.space import Design
from mobo.trial import Trial

DESIGN = Design(
    {
        "blocks": 2, "width": 16, "resolution": 32, "convolution": "standard", "weight_bits": 8, "pruning": "none",
        "keep": 0.5, "epochs": 50, "learning_rate": 1e-2, "optimiser": "adam", "momentum": 0.5,
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
    assert outcome(pruning="filters")["ram_bytes"] == 2 * 32 * 32 * 8


@pytest.mark.parametrize(
    ("inactive", "active"),
    [({"keep": 0.9}, {"keep": 0.9, "pruning": "filters"}), ({"momentum": 0.9}, {"momentum": 0.9, "optimiser": "sgd"})],
)
def test_a_conditional_parameter_matters_only_beside_its_condition(
    inactive: dict[str, object], active: dict[str, object]
) -> None:
    assert outcome(**inactive) == outcome()
    condition = {name: value for name, value in active.items() if name not in inactive}
    assert outcome(**active) != outcome(**condition)


def test_a_design_known_to_need_too_much_memory_is_refused_with_the_figures() -> None:
    problem = build_problem("toy_network", {"known_outcomes": COSTS})
    feasibility = problem.check(Design({**DESIGN, "width": 64}))
    assert not feasibility.feasible
    assert feasibility.reason == "ram_bytes is 131072, the limit 65536"
    assert feasibility.known["ram_bytes"] == 131072
    assert problem.check(DESIGN).feasible
    assert build_problem("toy_network").check(Design({**DESIGN, "width": 64})).feasible
