import math

import numpy as np
import pytest

from mobo.samplers.model.outcome_matrices import OutcomeMatrices, magnified_margins, total_violation
from mobo.space.objectives import Constraint, Objective
from mobo.space.trial import Trial, TrialState
from mobo.testing.small_problem import SMALL_SPACE, random_designs

CONSTRAINTS = (Constraint(name="ram_bytes", upper=1000), Constraint(name="slack", upper=0))
DESIGN = random_designs(1, SMALL_SPACE)[0]


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


def test_rows_tell_what_the_trials_told_and_nothing_else() -> None:
    objectives = (Objective(name="error", ideal=0.5, reference=1.0), Objective(name="ram_bytes", reference=2000))

    def trial(state: TrialState, **outcome: float) -> Trial:
        return Trial(number=0, design=DESIGN, seed=0, state=state, outcome=outcome)

    trials = [
        trial(TrialState.DONE, error=0.75, ram_bytes=1500, slack=-1.0),
        # A lower bound above the limit tells that the limit is broken; one below it tells nothing.
        trial(TrialState.INFEASIBLE, error=0.75, ram_bytes=1500, slack=-1.0),
        trial(TrialState.FAILED, error=0.75, ram_bytes=900, slack=-1.0),
        trial(TrialState.RUNNING),
    ]
    matrices = OutcomeMatrices.of(trials, objectives, CONSTRAINTS)
    nan, inf = math.nan, math.inf
    assert matrices.done.tolist() == [True, False, False, False]
    np.testing.assert_array_equal(matrices.objectives, [[0.5, 0.75], [nan, nan], [nan, nan], [nan, nan]])
    np.testing.assert_array_equal(matrices.margins, [[0.5, -1.0], [0.5, nan], [nan, nan], [nan, nan]])
    assert matrices.violation.tolist() == [0.5, 0.5, inf, inf]


def test_no_trials_and_no_constraints_have_their_shapes() -> None:
    matrices = OutcomeMatrices.of([], [Objective(name="error", reference=1.0)], ())
    assert (matrices.objectives.shape, matrices.margins.shape, matrices.violation.shape) == ((0, 1), (0, 0), (0,))


def test_margins_are_magnified_around_zero_and_what_was_seen_once_is_left_out() -> None:
    far = math.e - 1.0
    margins = np.array([[0.0, math.nan, 5.0], [far, math.nan, math.nan], [-far, 7.0, 5.0]])
    expected = np.array([[0.0, math.log(6.0)], [1.0, math.nan], [-1.0, math.log(6.0)]])
    np.testing.assert_allclose(magnified_margins(margins), expected)
