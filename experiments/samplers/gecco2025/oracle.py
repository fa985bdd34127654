"""How few evaluations could reach a hypervolume on the table at all?

    python -m experiments.samplers.gecco2025.oracle

A greedy oracle that knows every error picks, one after the other, the design that adds most to the hypervolume. No
sampler that must learn the errors can be quicker, so its counts say how hard a target is.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from mobo.benchmark.problems.tabular import TabularProblem
from mobo.space.pareto import hypervolume


def greedy_curve(problem: TabularProblem) -> list[float]:
    """Return the hypervolume after each greedy pick, until the exact front is complete."""
    ideal, reference = [o.ideal for o in problem.objectives], [o.reference for o in problem.objectives]
    left = problem.front.outcomes
    picked, curve = np.empty((0, left.shape[1])), list[float]()
    while len(left):
        values = [hypervolume(np.vstack([picked, row]), ideal, reference) for row in left]
        best = int(np.argmax(values))
        picked, left = np.vstack([picked, left[best]]), np.delete(left, best, axis=0)
        curve.append(values[best])
    return curve


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the greedy oracle's curve, and how many picks each asked hypervolume takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", type=float, help="hypervolumes to reach")
    options = parser.parse_args(arguments)
    curve = greedy_curve(TabularProblem())
    print(f"exact front: {len(curve)} designs, hypervolume {curve[-1]:.4f}")
    for count in (10, 20, 30, 40, 50, 60):
        if count <= len(curve):
            print(f"after {count} picks: {curve[count - 1]:.4f} ({curve[count - 1] / curve[-1]:.1%})")
    for target in options.targets:
        reached = [index for index, value in enumerate(curve, start=1) if value >= target]
        print(f"{target:.4f}: {reached[0] if reached else 'never'}")


if __name__ == "__main__":
    main()
