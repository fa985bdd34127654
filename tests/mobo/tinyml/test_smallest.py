"""The smallest design of a space, against trying all of them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.episode.targets import Targets
from mobo.space.search_space import Design, FloatParameter, IntParameter, OrdinalParameter, SearchSpace
from mobo.tinyml.smallest import ImpossibleBudgetError, check_budget, smallest_design

SPACE = SearchSpace(
    [
        OrdinalParameter(name="width", values=(8, 16, 32)),
        IntParameter(name="stages", low=1, high=3),
        OrdinalParameter(name="stride", values=(1, 2)),
        FloatParameter(name="learning_rate", low=0.001, high=0.1),
    ]
)
VARIED = frozenset({"width", "stages", "stride"})


def costs(design: Design) -> dict[str, float]:
    """Flash grows with width and stages; RAM grows with width and falls with the stride."""
    width, stages, stride = float(design["width"]), float(design["stages"]), float(design["stride"])
    return {"flash_model_bytes": width * width * stages, "ram_bytes": 64 * width / stride**2}


@given(flash=st.floats(1, 5000), ram=st.floats(1, 3000))
def test_no_design_comes_nearer(flash: float, ram: float) -> None:
    budget = Targets({"flash_model_bytes": flash, "ram_bytes": ram})
    found = smallest_design(SPACE, budget, costs, varied=VARIED)
    every = [
        costs(Design({"width": width, "stages": stages, "stride": stride, "learning_rate": 0.01}))
        for width, stages, stride in product((8, 16, 32), (1, 2, 3), (1, 2))
    ]
    assert budget.violation(found.costs) == min(budget.violation(values) for values in every)


CONDITIONAL = SearchSpace(
    [
        IntParameter(name="stages", low=1, high=3),
        OrdinalParameter(name="width", values=(8, 16, 32), when={"stages": (2,)}),
        OrdinalParameter(name="stride", values=(1, 2), when={"stages": (1, 2)}),
    ]
)


@given(flash=st.floats(1, 5000), ram=st.floats(1, 3000))
def test_no_design_of_a_conditional_space_comes_nearer(flash: float, ram: float) -> None:
    def completed(design: Design) -> dict[str, float]:
        # An inactive width counts as 12: neither one stage nor three are always the smallest.
        return costs(Design({"width": 12, "stride": 1, **design}))

    budget = Targets({"flash_model_bytes": flash, "ram_bytes": ram})
    found = smallest_design(CONDITIONAL, budget, completed, varied=frozenset(CONDITIONAL.names))
    every = {CONDITIONAL.decode(np.array(point)) for point in product((0.2, 0.5, 0.8), repeat=3)}
    assert len(every) == 1 * 2 + 3 * 2 + 1
    assert budget.violation(found.costs) == min(budget.violation(completed(design)) for design in every)


def test_the_message_names_the_budget_that_would_do() -> None:
    budget = Targets({"flash_model_bytes": 50, "ram_bytes": 9000})
    smallest = smallest_design(SPACE, budget, costs, varied=VARIED)
    with pytest.raises(ImpossibleBudgetError, match="flash_model_bytes would need at least 64, the bound is 50"):
        check_budget(smallest, budget)
    # The budget it names does do.
    check_budget(smallest, Targets({"flash_model_bytes": 64, "ram_bytes": 9000}))
