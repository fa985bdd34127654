import math

import pytest

from mobo.objectives import Constraint
from mobo.samplers.evidence import total_violation
from mobo.trial import Trial, TrialState
from tests.mobo.problems_for_tests import SMALL_SPACE
from tests.mobo.samplers.test_contract import designs

CONSTRAINTS = (Constraint(name="ram_bytes", upper=1000), Constraint(name="slack", upper=0))
DESIGN = designs(1, SMALL_SPACE)[0]


def violation(state: TrialState, **outcome: float | None) -> float:
    return total_violation(Trial(number=0, design=DESIGN, seed=0, state=state, outcome=outcome), CONSTRAINTS)


def test_what_is_beyond_the_limits_adds_up_in_parts_of_them() -> None:
    # 1500 is half of 1000 beyond it; a limit of 0 has no parts.
    assert violation(TrialState.DONE, ram_bytes=1500, slack=2.0) == 2.5
    assert violation(TrialState.DONE, ram_bytes=900, slack=-2.0) == 0.0


def test_an_infeasible_trial_is_judged_by_what_is_known() -> None:
    assert violation(TrialState.INFEASIBLE, ram_bytes=1500) == 0.5
    assert violation(TrialState.INFEASIBLE, ram_bytes=900, slack=None) == math.inf


@pytest.mark.parametrize("outcome", [{}, {"ram_bytes": 900.0, "slack": -1.0}])
def test_a_failed_trial_is_the_worst(outcome: dict[str, float]) -> None:
    assert violation(TrialState.FAILED, **outcome) == math.inf
