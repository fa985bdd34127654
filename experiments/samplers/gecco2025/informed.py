"""How few evaluations does a sampler need that was told most errors?

    python -m experiments.samplers.gecco2025.informed

The greedy oracle (:mod:`experiments.samplers.gecco2025.oracle`) knows every error exactly, noise of the training
included; no model can. Here a Gaussian process predicts the error of every design from four fifths of the *other*
designs of the table, more than any search will ever have measured (and with hyperparameters fitted on all), and the
costs are known. It starts with the benchmark's first designs and then takes, one after the other, the design with the
largest expected hypervolume improvement. What it needs is about what the best of all learners with such a model could
need. Every seed has fifths of its own.
"""

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from mobo.base.quiet_libraries import one_thread
from mobo.benchmark.cell_run import initial_designs
from mobo.benchmark.problems.tabular import TabularProblem
from mobo.samplers.model.acquisition import covered, directions, log_hypervolume_improvement
from mobo.samplers.model.features import Features
from mobo.samplers.model.fit_settings import FitSettings
from mobo.samplers.model.surrogate import Surrogate, SurrogateParameters, fit_surrogate_parameters
from mobo.space.pareto import hypervolume

_FOLDS = 5
_RAYS = 256
_NODES = 8
_KNOWN_DEVIATION = 1e-12
# The hyperparameters need no more designs than that; the predictions use all of the other folds.
_FIT = FitSettings(max_points=400, max_iterations=60)


class InformedSearch:
    """The table with a prediction of every error beside it.

    Args:
        problem: The table; its first objective is the error, the others are costs.
    """

    def __init__(self, problem: TabularProblem) -> None:
        self._problem = problem
        trials = problem.trials
        self._designs = [trial.design for trial in trials]
        self._allowed = np.array([all(item.holds(trial.outcome) for item in problem.constraints) for trial in trials])
        self._ideal = [objective.ideal for objective in problem.objectives]
        self._reference = [objective.reference for objective in problem.objectives]
        names = [objective.name for objective in problem.objectives]
        self._outcomes = np.array([[trial.outcome[name] for name in names] for trial in trials], dtype=np.float64)
        self._actual = self._scaled(self._outcomes)
        self._points = torch.from_numpy(np.array([problem.space.encode(design) for design in self._designs]))
        self._features = Features(problem.space)
        # Rows are in the order of the grid, the last ones all alike: the fit shall see a mixture.
        mixed = torch.from_numpy(np.random.default_rng(0).permutation(len(trials)))
        errors = torch.from_numpy(self._outcomes[:, :1])
        self._fitted = fit_surrogate_parameters(
            self._points[mixed], errors[mixed], features=self._features, settings=_FIT
        )

    def _scaled(self, outcomes: NDArray[np.float64]) -> torch.Tensor:
        ideal, reference = np.array(self._ideal), np.array(self._reference)
        return torch.from_numpy((outcomes - ideal) / (reference - ideal))

    def curve(self, *, seed: int, start: int, evaluations: int) -> list[float]:
        """Return the hypervolume after each evaluation from the last of the start on.

        Args:
            seed: Whose first designs, as in the benchmark, and which fifths.
            start: How many first designs.
            evaluations: How many in all.
        """
        mean, deviation = self._believed(seed)
        first = initial_designs(self._problem.space, problem="tabular", seed=seed, count=start)
        done = [self._designs.index(design) for design in first if design in self._designs]
        left = [row for row in np.flatnonzero(self._allowed).tolist() if row not in done]
        curve = []
        for _ in range(evaluations - start + 1):
            feasible = [row for row in done if self._allowed[row]]
            curve.append(hypervolume(self._outcomes[feasible], self._ideal, self._reference))
            done.append(left.pop(self._best(mean[left], deviation[left], self._actual[feasible], seed=len(done))))
        return curve

    def _believed(self, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and standard deviation of every design's scaled outcomes, ``n x m`` each."""
        errors = torch.from_numpy(self._outcomes[:, 0])
        means, deviations = predictions_from_others(self._points, errors, self._features, self._fitted, seed=seed)
        believed = self._outcomes.copy()
        believed[:, 0] = means.numpy()
        spread = torch.full_like(self._actual, _KNOWN_DEVIATION)
        spread[:, 0] = deviations / (self._reference[0] - self._ideal[0])
        return self._scaled(believed), spread

    @staticmethod
    def _best(mean: torch.Tensor, deviation: torch.Tensor, incumbents: torch.Tensor, *, seed: int) -> int:
        rays = directions(mean.shape[1], _RAYS, seed=seed)
        reached = covered(incumbents, rays)
        with torch.no_grad():
            scores = log_hypervolume_improvement(mean, deviation, rays=rays, covered_reach=reached, nodes=_NODES)
        return int(scores.argmax())


def predictions_from_others(
    points: torch.Tensor, errors: torch.Tensor, features: Features, fitted: SurrogateParameters, *, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (of a measurement) of every error, each from the other fifths alone.

    Args:
        points: Designs in the unit cube, ``n x d``.
        errors: Their errors, ``n``.
        features: What the kernel sees of a point.
        fitted: The kernel's hyperparameters.
        seed: Which fifths.
    """
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(points)))
    moments = torch.empty(len(points), 2, dtype=torch.float64)
    with one_thread(), torch.no_grad():
        for held_out in torch.tensor_split(order, _FOLDS):
            others = order[~torch.isin(order, held_out)]
            surrogate = Surrogate(points[others], errors[others].unsqueeze(-1), features=features, parameters=fitted)
            moments[held_out] = torch.cat(surrogate.moments(points[held_out], measured=[0]), dim=-1)
    return moments[:, 0], moments[:, 1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print how many evaluations each asked hypervolume takes, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="+", type=float, help="hypervolumes to reach")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--start", type=int, default=10, help="first designs, shared with the benchmark")
    parser.add_argument("--evaluations", type=int, default=150)
    options = parser.parse_args(arguments)
    search = InformedSearch(TabularProblem())
    curves = [
        search.curve(seed=seed, start=options.start, evaluations=options.evaluations) for seed in range(options.seeds)
    ]
    for target in options.targets:
        counts = [options.start + int(np.argmax(np.array(curve) >= target)) for curve in curves if curve[-1] >= target]
        median = f"median {np.median(counts):g}, from {min(counts)} to {max(counts)}" if counts else "never"
        print(f"{target:.4f}: {median} evaluations, reached in {len(counts)} of {len(curves)} seeds")


if __name__ == "__main__":
    main()
