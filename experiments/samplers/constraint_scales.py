"""What a model should be shown of a constraint whose limit is 0: in which unit, and whether compressed at all.

    python -m experiments.samplers.constraint_scales --out runs/constraint-scales.csv

Nothing is trained. Chosen for the question are problems on whose whole front a linear or nearly linear constraint is
active, so that trials gather at its limit of 0; beside them stands ``welded_beam``, the problem of ``comparison.toml``
whose limits are 0 (``toy_network`` has another limit, which no rule touches).
Every rule decides in `polar_ehvi` what models see of constraints; nothing else differs. No outcome is known.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from experiments.samplers.judging import judged
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.seeds import trial_seed
from mobo.base.statistics import mean_and_half_width
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.function_problem import FunctionProblem
from mobo.samplers.model.features import Features
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.samplers.model.outcome_scale import OutcomeScale
from mobo.samplers.polar_ehvi import PolarEhviSampler, PolarEhviSettings
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front
from mobo.space.problem import Problem
from mobo.space.search_space import Design, FloatParameter, SearchSpace
from mobo.space.trial import Trial

TRIALS = 30
SETTINGS: Mapping[str, object] = {
    "rays": 32,
    "nodes": 4,
    "search": {"pool": 192, "starts": 1, "moves": 16, "rounds": 1, "polish_iterations": 8},
    "fit": {"max_iterations": 12},
}
"""Of every rule: much less search than by default, for a quarter of the seconds."""

SHARES = np.linspace(0.2, 1.0, 5)


def _in_a_cube(
    function: Callable[[NDArray[np.float64]], Sequence[NDArray[np.float64]]], *, reference: float
) -> Problem:
    """Return a problem of five parameters from 0 to 1, two objectives and what is at most 0."""

    def outcomes(designs: Sequence[Design]) -> NDArray[np.float64]:
        return np.stack(function(np.array([list(design.values()) for design in designs], dtype=float)), axis=1)

    return FunctionProblem(
        SearchSpace(FloatParameter(name=f"x{place}", low=0.0, high=1.0) for place in range(len(SHARES))),
        [Objective(name=name, reference=reference) for name in ("f1", "f2")],
        [Constraint(name="g", upper=0.0)],
        function=outcomes,
    )


def _budget(X: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    """Both objectives want every parameter large, of which there is only so much to share out."""
    return [*_decays(X), X.mean(axis=1) - 0.4]


def _bent_budget(X: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    return [*_decays(X), (X + 0.3 * X**2).mean(axis=1) - 0.45]


def _decays(X: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    return [np.exp(-3.0 * X * weights).mean(axis=1) for weights in (SHARES, SHARES[::-1])]


def _edge(X: NDArray[np.float64]) -> Sequence[NDArray[np.float64]]:
    """DTLZ2, whose sphere's middle lies beyond a plane."""
    radius = 1.0 + ((X[:, 1:] - 0.5) ** 2).sum(axis=1)
    angle = X[:, 0] * np.pi / 2
    return [radius * np.cos(angle), radius * np.sin(angle), 0.65 - X[:, 1:].mean(axis=1)]


CHOSEN: Mapping[str, Callable[[], Problem]] = {
    "budget": lambda: _in_a_cube(_budget, reference=1.0),
    "bent budget": lambda: _in_a_cube(_bent_budget, reference=1.0),
    "edge": lambda: _in_a_cube(_edge, reference=1.5),
}
"""All have limits of 0 that are active on the whole front."""

COLUMNS = ("problem", "rule", "seed", "feasible", "hypervolume")
NAMES = (*CHOSEN, "welded_beam")


class Median(OutcomeModel):
    """Constraints with a limit of 0 are always compressed, in units of the median distance."""

    def _believed(self, scale: OutcomeScale, X: Tensor, y: Tensor, features: Features) -> OutcomeScale | None:
        return scale


class Wide(OutcomeModel):
    """They are compressed in units of three times the distance that three quarters of the trials keep."""

    def _believed(self, scale: OutcomeScale, X: Tensor, y: Tensor, features: Features) -> OutcomeScale | None:
        return replace(scale, unit=3.0 * float(y.abs().nanquantile(0.75))) if scale.is_guess else scale


RULES: Mapping[str, type[OutcomeModel]] = {"median": Median, "likelihood": OutcomeModel, "wide": Wide}
"""``likelihood`` is the default sampler's own: they are compressed where that makes them likelier."""

BEFORE = "median"


def sampler_of(rule: str, problem: Problem, *, seed: int) -> PolarEhviSampler:
    """Return the default sampler with another rule of what its models see."""

    class Sampler(PolarEhviSampler):
        description: ClassVar[str] = rule

        @cached_property
        def _model(self) -> OutcomeModel:
            return RULES[rule](
                self.space,
                self.objectives,
                self.constraints,
                known=self.exact,
                settings=self.settings.fit,
                compress_tails=self.compress_tails,
            )

    settings = PolarEhviSettings.model_validate(SETTINGS)
    return Sampler(problem.space, problem.objectives, problem.constraints, seed=seed, settings=settings)


def search(problem: Problem, rule: str, *, seed: int) -> list[Trial]:
    """Return the trials of one search."""
    sampler = sampler_of(rule, problem, seed=seed)
    trials: list[Trial] = []
    for number in range(TRIALS):
        (design,) = sampler.suggest(1)
        trials.append(judged(problem, Trial(number=number, design=design, seed=trial_seed(seed, number))))
        sampler.observe(trials[-1:])
    return trials


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the table lacks, then print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/constraint-scales.csv"), help="one row a search")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--problems", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=list(RULES))
    given = parser.parse_args(arguments)
    rows = RowFile(given.out, key=COLUMNS[:3], columns=COLUMNS)
    for seed in given.seeds:
        for name in given.problems:
            for rule in given.rules:
                if (name, rule, seed) not in rows:
                    rows.add([_cell(name, rule, seed)])
                    print(*rows.of((name, rule, seed))[0].values())
                    sys.stdout.flush()
    print(comparison(rows))


def _cell(name: str, rule: str, seed: int) -> dict[str, object]:
    problem = CHOSEN[name]() if name in CHOSEN else build_problem(name)
    trials = search(problem, rule, seed=seed)
    front = Front.of(trials, problem.objectives, problem.constraints)
    feasible = sum(trial.is_feasible(problem.constraints) for trial in trials)
    return dict(zip(COLUMNS, (name, rule, seed, feasible, front.hypervolume), strict=True))


def comparison(rows: Iterable[Row]) -> str:
    """Return for every problem and rule the feasible trials, the hypervolume and its ratio to what was, as Markdown."""
    found = {
        (row["problem"], row["rule"], row["seed"]): (int(row["feasible"]), float(row["hypervolume"])) for row in rows
    }
    lines = []
    for name, rule in product(NAMES, RULES):
        seeds = [seed for problem, own, seed in found
                 if (problem, own) == (name, rule) and (name, BEFORE, seed) in found]  # fmt: skip
        if len(seeds) < 2:
            continue
        feasible, reached = np.array([found[name, rule, seed] for seed in seeds]).T
        before = np.array([found[name, BEFORE, seed][1] for seed in seeds])
        gain, half = mean_and_half_width((reached - before) / before.mean())
        interval = f"{1 + gain:.3f} [{1 + gain - half:.3f}, {1 + gain + half:.3f}]"
        lines.append([name, rule, len(seeds), f"{feasible.mean():.1f}", f"{reached.mean():.4f}", interval])
    heads = [f"feasible of {TRIALS}", "hypervolume", f"over that of {BEFORE}, 95 %"]
    return table(["problem", "rule", "seeds", *heads], lines)


if __name__ == "__main__":
    main()
