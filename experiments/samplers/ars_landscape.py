"""The paths of ARS-MOBOpt's policies over the paper's two-dimensional landscape.

    python -m experiments.samplers.ars_landscape --out results/samplers/ars_sensitivity/landscape.png

As the authors' slides show them: the landscape, what was evaluated, and where trained policies lead. With one objective
the Pareto set is one point, so that a proposal has one policy; drawn are five, trained from there with other seeds. The
landscape is reconstructed from that figure.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mobo.base.atomic_write import write_bytes
from mobo.base.seeds import derive_seed
from mobo.benchmark.figures import png
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.toy_landscape import SIDE, landscape
from mobo.samplers.ars_mobopt.choice import searched
from mobo.samplers.ars_mobopt.sampler import ArsMoboptSampler
from mobo.samplers.ars_mobopt.settings import ArsSettings
from mobo.samplers.history import History
from mobo.samplers.model.outcome_model import OutcomeModel
from mobo.space.trial import Trial, TrialState

STAGES = (10, 20, 40)
"""How many evaluations there are where the policies are drawn."""
_PATHS = 5

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Stage:
    """What is drawn of one stage, in the landscape's units.

    Attributes:
        evaluated: All points so far, ``n x 2``.
        paths: The paths of policies trained with other seeds, their starts included, each ``(h + 1) x 2``.
    """

    evaluated: Points
    paths: tuple[Points, ...]


def stages(settings: ArsSettings, *, seed: int) -> list[Stage]:
    """Run the sampler and return what its policies do at every stage."""
    problem = build_problem("toy_landscape", {})
    sampler = ArsMoboptSampler(problem.space, problem.objectives, (), seed=seed, settings=settings)
    history, found = History(), []
    for number in range(max(STAGES)):
        (design,) = sampler.suggest(1)
        pending = Trial(number=number, design=design, seed=number)
        outcome = problem.evaluate(pending).outcome
        trial = Trial(number=number, design=design, seed=number, state=TrialState.DONE, outcome=outcome)
        sampler.observe([trial])
        history.observe([trial])
        if len(history) in STAGES:
            model = OutcomeModel(problem.space, problem.objectives, (), known=None, settings=settings.fit)
            beliefs = model.beliefs(history)
            searches = [searched(beliefs, settings, seed=derive_seed(seed, path, "path")) for path in range(_PATHS)]
            paths = [torch.cat([one.starts.unsqueeze(1), one.rollouts.points], dim=1)[0] for one in searches]
            evaluated = np.array([problem.space.encode(trial.design) for trial in history.trials])
            found.append(Stage(SIDE * evaluated, tuple(SIDE * path.numpy() for path in paths)))
    return found


def figure_of(found: Sequence[Stage]) -> Figure:
    """Return the landscape, once for every stage."""
    figure = Figure(figsize=(4.6 * len(found), 4.6), layout="constrained")
    side = np.linspace(0.0, SIDE, 129)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    heights = landscape(grid).reshape(len(side), len(side))
    for place, stage in enumerate(found, start=1):
        axes = figure.add_subplot(1, len(found), place)
        axes.contourf(side, side, heights, levels=24, cmap="viridis")
        _draw(axes, stage)
    return figure


def _draw(axes: Axes, stage: Stage) -> None:
    axes.scatter(stage.evaluated[:, 0], stage.evaluated[:, 1], s=14, color="white", edgecolors="black", linewidths=0.6)
    for path in stage.paths:
        axes.plot(path[:, 0], path[:, 1], color="tab:red", linewidth=1.2, marker=".", markersize=4)
    best = stage.paths[0][0]
    axes.scatter(best[0], best[1], s=70, marker="*", color="tab:orange", edgecolors="black", linewidths=0.6)
    axes.set_title(f"{len(stage.evaluated)} evaluations", fontsize=10)
    axes.set(xlim=(0, SIDE), ylim=(0, SIDE), xlabel="x1", ylabel="x2")


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/samplers/ars_sensitivity/landscape.png"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    found = stages(ArsSettings(initial_trials=8), seed=given.seed)
    write_bytes(given.out, png(figure_of(found)))
    best = [float(landscape(stage.evaluated).min()) for stage in found]
    print("lowest point after", ", ".join(f"{n}: {low:.2f}" for n, low in zip(STAGES, best, strict=True)))


if __name__ == "__main__":
    main()
