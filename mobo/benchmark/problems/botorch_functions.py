"""Multi-objective test functions from BoTorch behind our problem protocol.

The table below is data, so that listing problems imports nothing heavy. References are BoTorch's; ideals are ours: the
smallest value of each objective over the domain, rounded down, so that hypervolumes lie between 0 and 1. Only of
Penicillin's yield the smallest value is not known; its ideal is a round number near the best that is found, no bound.

[Zitzler2000] E. Zitzler, K. Deb, L. Thiele: Comparison of multiobjective evolutionary algorithms: empirical results.
Evolutionary Computation 8(2), 2000. (ZDT)
[Deb2005] K. Deb, L. Thiele, M. Laumanns, E. Zitzler: Scalable test problems for evolutionary multiobjective
optimization. 2005. (DTLZ)
[Tanabe2020] R. Tanabe, H. Ishibuchi: An easy-to-use real-world multi-objective optimization problem suite. Applied Soft
Computing 89, 2020. (vehicle safety, car side impact)
[Ma2019] Z. Ma, Y. Wang: Evolutionary constrained multiobjective optimization: test suite construction and performance
comparisons. IEEE TEVC 23(6), 2019. (MW7)
[Liang2021] Q. Liang, L. Lai: Scalable Bayesian optimization accelerates process optimization of penicillin production.
NeurIPS workshop 2021.
[Belakaria2019] S. Belakaria, A. Deshwal, J. R. Doppa: Max-value entropy search for multi-objective Bayesian
optimization. NeurIPS 2019. (Branin-Currin)
[Deb2000] K. Deb: An efficient constraint handling method for genetic algorithms. 2000. (welded beam)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mobo.benchmark.problems.function_problem import FunctionProblem, FunctionSettings, ProblemError
from mobo.space.objectives import Constraint, Objective
from mobo.space.search_space import Design, FloatParameter, SearchSpace

if TYPE_CHECKING:
    from botorch.test_functions.base import MultiObjectiveTestProblem


class ScalableFunctionSettings(FunctionSettings):
    """What can be set about a function of any dimension.

    Attributes:
        dim: Number of parameters; without it the problem's own default.
    """

    dim: Annotated[int, Field(ge=2)] | None = None


@dataclass(frozen=True, kw_only=True)
class BoTorchFunction:
    """One test function: what BoTorch calls it and what we say about it.

    Attributes:
        class_name: Class in ``botorch.test_functions.multi_objective``.
        description: One line for the list.
        objectives: Name, unit, ideal and reference of each objective.
        constraint_count: Number of constraints, called ``g1``, ``g2`` …, each at most 0.
        dim: Default number of parameters of a scalable function; None if it is fixed.
        counts_objectives: Whether BoTorch's constructor must be told the number of objectives.
    """

    class_name: str
    description: str
    objectives: tuple[Objective, ...]
    constraint_count: int = 0
    dim: int | None = None
    counts_objectives: bool = False

    @property
    def Settings(self) -> type[FunctionSettings]:
        """The model of this function's settings."""
        return FunctionSettings if self.dim is None else ScalableFunctionSettings

    def build(self, settings: FunctionSettings) -> FunctionProblem:
        """Return the problem; imports BoTorch.

        Raises:
            ProblemError: BoTorch refuses the dimension, or a known outcome does not exist.
        """
        function = self.botorch_function(settings)
        bounds = function.bounds.T.tolist()
        constraints = [Constraint(name=f"g{index + 1}", upper=0.0) for index in range(self.constraint_count)]
        return FunctionProblem(
            SearchSpace(FloatParameter(name=f"x{i + 1}", low=low, high=high) for i, (low, high) in enumerate(bounds)),
            self.objectives,
            constraints,
            function=lambda designs: _outcomes(function, designs),
            known_outcomes=settings.known_outcomes,
        )

    def botorch_function(self, settings: FunctionSettings) -> "MultiObjectiveTestProblem":
        """Return BoTorch's own object, in double precision and minimised."""
        from botorch.test_functions import multi_objective

        arguments: dict[str, int] = {}
        if isinstance(settings, ScalableFunctionSettings) and self.dim is not None:
            arguments["dim"] = settings.dim if settings.dim is not None else self.dim
        if self.counts_objectives:
            arguments["num_objectives"] = len(self.objectives)
        try:
            return getattr(multi_objective, self.class_name)(**arguments)
        except ValueError as error:
            raise ProblemError(f"{self.class_name} cannot be built with {arguments}: {error}") from error


def _outcomes(function: "MultiObjectiveTestProblem", designs: Sequence[Design]) -> NDArray[np.float64]:
    """Return the objectives, then the constraints with BoTorch's sign turned: it wants slacks of at least 0."""
    import torch

    X = torch.tensor([list(design.values()) for design in designs], dtype=torch.double)
    with torch.no_grad():
        parts = [function.evaluate_true(X)]
        if hasattr(function, "evaluate_slack_true"):
            parts.append(-function.evaluate_slack_true(X))
    return np.asarray(torch.cat(parts, dim=-1).numpy(), dtype=np.float64)


def _same(count: int, *, ideal: float = 0.0, reference: float) -> tuple[Objective, ...]:
    """Return objectives ``f1``, ``f2`` … that share their scale."""
    return tuple(Objective(name=f"f{index + 1}", ideal=ideal, reference=reference) for index in range(count))


BOTORCH_FUNCTIONS: dict[str, BoTorchFunction] = {
    "branin_currin": BoTorchFunction(
        class_name="BraninCurrin",
        description="Branin and Currin, 2 parameters, 2 objectives [Belakaria2019]",
        objectives=(
            Objective(name="branin", ideal=0.39, reference=18.0),
            Objective(name="currin", ideal=1.18, reference=6.0),
        ),
    ),
    "c2_dtlz2": BoTorchFunction(
        class_name="C2DTLZ2",
        description="DTLZ2 with a constraint that leaves pieces of the front, 2 objectives",
        objectives=_same(2, reference=1.1),
        constraint_count=1,
        dim=6,
        counts_objectives=True,
    ),
    "car_side_impact": BoTorchFunction(
        class_name="CarSideImpact",
        description="car side impact, 7 parameters, 4 objectives [Tanabe2020]",
        objectives=(
            Objective(name="weight", ideal=15.57, reference=45.4872),
            Objective(name="force", ideal=3.58, reference=4.5114),
            Objective(name="velocity", ideal=10.61, reference=13.3394),
            Objective(name="violation", ideal=0.0, reference=10.3942),
        ),
    ),
    "dtlz2-2": BoTorchFunction(
        class_name="DTLZ2",
        description="DTLZ2: a spherical front, 2 objectives [Deb2005]",
        objectives=_same(2, reference=1.1),
        dim=6,
        counts_objectives=True,
    ),
    "dtlz2-3": BoTorchFunction(
        class_name="DTLZ2",
        description="DTLZ2: a spherical front, 3 objectives [Deb2005]",
        objectives=_same(3, reference=1.1),
        dim=7,
        counts_objectives=True,
    ),
    "dtlz2-4": BoTorchFunction(
        class_name="DTLZ2",
        description="DTLZ2: a spherical front, 4 objectives [Deb2005]",
        objectives=_same(4, reference=1.1),
        dim=10,
        counts_objectives=True,
    ),
    "dtlz7-2": BoTorchFunction(
        class_name="DTLZ7",
        description="DTLZ7: a front in 2 pieces, 2 objectives [Deb2005]",
        objectives=(*_same(1, reference=15.0), Objective(name="f2", ideal=2.3, reference=15.0)),
        dim=6,
        counts_objectives=True,
    ),
    "dtlz7-3": BoTorchFunction(
        class_name="DTLZ7",
        description="DTLZ7: a front in 4 pieces, 3 objectives [Deb2005]",
        objectives=(*_same(2, reference=15.0), Objective(name="f3", ideal=2.61, reference=15.0)),
        dim=7,
        counts_objectives=True,
    ),
    "mw7": BoTorchFunction(
        class_name="MW7",
        description="MW7: a front in pieces behind 2 narrow constraints, 2 objectives [Ma2019]",
        objectives=_same(2, reference=1.2),
        constraint_count=2,
        dim=5,
    ),
    "penicillin": BoTorchFunction(
        class_name="Penicillin",
        description="simulated penicillin production, 7 parameters, 3 objectives [Liang2021]",
        objectives=(
            Objective(name="negative_yield", ideal=-15.0, reference=25.935),
            Objective(name="co2", ideal=0.0, reference=57.612),
            Objective(name="time_h", unit="h", ideal=0.0, reference=935.5),
        ),
    ),
    "vehicle_safety": BoTorchFunction(
        class_name="VehicleSafety",
        description="vehicle crash safety, 5 parameters, 3 objectives; the mass is natural to know [Tanabe2020]",
        objectives=(
            Objective(name="mass", ideal=1661.7, reference=1864.72022),
            Objective(name="acceleration", ideal=6.14, reference=11.81993945),
            Objective(name="intrusion", ideal=0.039, reference=0.2903999384),
        ),
    ),
    "welded_beam": BoTorchFunction(
        class_name="WeldedBeam",
        description="welded beam, 4 parameters, 4 constraints, 2 objectives; the cost is natural to know [Deb2000]",
        objectives=(
            Objective(name="cost", ideal=0.0, reference=40.0),
            Objective(name="deflection", ideal=0.0, reference=0.015),
        ),
        constraint_count=4,
    ),
    "zdt1": BoTorchFunction(
        class_name="ZDT1",
        description="ZDT1: a convex front, 2 objectives [Zitzler2000]",
        objectives=_same(2, reference=11.0),
        dim=6,
    ),
    "zdt2": BoTorchFunction(
        class_name="ZDT2",
        description="ZDT2: a concave front, 2 objectives [Zitzler2000]",
        objectives=_same(2, reference=11.0),
        dim=6,
    ),
    "zdt3": BoTorchFunction(
        class_name="ZDT3",
        description="ZDT3: a front in 5 pieces, 2 objectives [Zitzler2000]",
        objectives=(*_same(1, reference=11.0), Objective(name="f2", ideal=-0.774, reference=11.0)),
        dim=6,
    ),
}
