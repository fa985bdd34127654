"""The looks at the fronts that `front_per_second` keeps, and what they say of two ways of searching side by side."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobo.base.statistics import mean_and_half_width

COLUMNS = (
    "task",
    "seed",
    "arm",
    "minutes",
    "trials",
    "trainings",
    "validation_hypervolume",
    "test_hypervolume",
    "models",
)
MINUTES = (1, 2, 3, 4, 5, 6, 8, 10)
"""When a front is looked at, in processor time."""


@dataclass(frozen=True, order=True)
class Look:
    """What a search had at one time.

    Attributes:
        minutes: Its processor time.
        trials: Finished by then.
        trainings: Those of them that trained a network.
        validation_hypervolume: Of the front, by the error that chose it.
        test_hypervolume: Of the same front, by the test error.
        models: On the front, those alike counted once.
    """

    minutes: int
    trials: int
    trainings: int
    validation_hypervolume: float
    test_hypervolume: float
    models: int


Looks = Mapping[tuple[str, int, str], Sequence[Look]]
"""The looks of every search in the order of time, by task, seed and arm."""


def read_looks(path: Path) -> Looks:
    """Return the looks that a file of rows holds; none where there is no file."""
    looks: dict[tuple[str, int, str], list[Look]] = {}
    for row in _rows(path):
        look = Look(
            int(row["minutes"]),
            int(row["trials"]),
            int(row["trainings"]),
            float(row["validation_hypervolume"]),
            float(row["test_hypervolume"]),
            int(row["models"]),
        )
        looks.setdefault((row["task"], int(row["seed"]), row["arm"]), []).append(look)
    return {cell: sorted(found) for cell, found in looks.items()}


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_looks(path: Path, task: str, seed: int, arm: str, looks: Iterable[Look]) -> None:
    """Append the looks of one search to a file of rows."""
    is_new = not path.is_file()
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if is_new:
            writer.writerow(COLUMNS)
        writer.writerows((task, seed, arm, *(getattr(look, name) for name in COLUMNS[3:])) for look in looks)


def table(looks: Looks, arms: Iterable[str]) -> str:
    """Return, for every task and arm, the mean hypervolumes and models after each look, as Markdown."""
    heads = ["task", "arm", "seeds", "trials", "trainings", "models"]
    heads += [*(f"test, {minutes} min" for minutes in MINUTES), "validation, end"]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    ordered = list(arms)
    for task in dict.fromkeys(cell[0] for cell in looks):
        for arm in ordered:
            mine = [found for cell, found in looks.items() if (cell[0], cell[2]) == (task, arm)]
            if mine:
                lines.append(f"| {' | '.join([task, arm, *_means(mine)])} |")
    return "\n".join(lines)


def _means(searches: Sequence[Sequence[Look]]) -> list[str]:
    # Searches of other lengths are looked at together only where all of them have got.
    last = [search[-1] for search in searches]
    counts = [f"{np.mean([getattr(look, name) for look in last]):.0f}" for name in ("trials", "trainings", "models")]
    tests = []
    for minutes in MINUTES:
        found = [look.test_hypervolume for search in searches for look in search if look.minutes == minutes]
        tests.append(f"{np.mean(found):.4f}" if len(found) == len(searches) else "-")
    return [str(len(searches)), *counts, *tests, f"{np.mean([look.validation_hypervolume for look in last]):.4f}"]


@dataclass(frozen=True)
class Pair:
    """Two searches of one task and one seed, looked at until the shorter one ended.

    Attributes:
        task: The task.
        seed: Theirs.
        ours: The looks at the one.
        theirs: The looks at the other.
    """

    task: str
    seed: int
    ours: Sequence[Look]
    theirs: Sequence[Look]

    @property
    def hypervolume(self) -> float:
        """The ratio of the test hypervolumes at the end; not finite where the other has none."""
        return _over(self.ours[-1].test_hypervolume, self.theirs[-1].test_hypervolume)

    @property
    def models(self) -> float:
        """The ratio of the numbers of models at the end; not finite where the other has none."""
        return _over(self.ours[-1].models, self.theirs[-1].models)

    @property
    def speed(self) -> float:
        """The other's processor time over that of the first look at which ours has as much test hypervolume.

        Looks are rare, so that it errs against ours. Where ours never has as much, its time counts as the whole.
        """
        goal = self.theirs[-1].test_hypervolume
        reached = [look.minutes for look in self.ours if look.test_hypervolume >= goal]
        return self.theirs[-1].minutes / (reached[0] if reached else self.ours[-1].minutes)

    @property
    def is_reached(self) -> bool:
        """Whether ours ever has what the other has at the end."""
        return any(look.test_hypervolume >= self.theirs[-1].test_hypervolume for look in self.ours)


def _over(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else np.inf if ours else np.nan


def pairs(looks: Looks, ours: str, theirs: str) -> list[Pair]:
    """Return the tasks and seeds that two arms have in common, each cut to the processor time that both used."""
    found = []
    for (task, seed, arm), mine in looks.items():
        other = looks.get((task, seed, theirs))
        if arm != ours or other is None:
            continue
        end = min(mine[-1].minutes, other[-1].minutes)
        cut = [[look for look in search if look.minutes <= end] for search in (mine, other)]
        found.append(Pair(task, seed, *cut))
    return found


def against_the_best(looks: Looks, ours: str, rivals: Sequence[str]) -> list[Pair]:
    """Return the pairs with each task's best rival: the one that ours is farthest behind, or least ahead of.

    The best is chosen afterwards, by the mean logarithm of the ratio over the seeds it has in common with ours, which
    errs against ours; a rival without a front is never the best one.
    """
    found: list[Pair] = []
    for task in dict.fromkeys(cell[0] for cell in looks):
        options = [[pair for pair in pairs(looks, ours, rival) if pair.task == task] for rival in rivals]
        options = [option for option in options if option and all(np.isfinite(pair.hypervolume) for pair in option)]
        if options:
            found += min(options, key=lambda option: float(np.mean(np.log([pair.hypervolume for pair in option]))))
    return found


def comparison(looks: Looks, ours: str, rivals: Sequence[str], *, with_the_best: bool = True) -> str:
    """Return what one arm has over each other, as Markdown: geometric means over pairs, with 95 % intervals.

    Args:
        looks: The looks at every search.
        ours: The one arm.
        rivals: The others.
        with_the_best: Whether there is a row for the best rival of each task.
    """
    lines = [
        f"| {ours}, against | tasks | pairs | test hypervolume at the end | faster, times | never reached | models |",
        "|" + " --- |" * 7,
    ]
    named = [(rival, pairs(looks, ours, rival)) for rival in rivals]
    if with_the_best:
        named.append(("the best of them on each task", against_the_best(looks, ours, rivals)))
    for name, found in named:
        if not found:
            continue
        ratios = [_ratio([getattr(pair, of) for pair in found]) for of in ("hypervolume", "speed", "models")]
        missed = sum(not pair.is_reached for pair in found)
        cells = [name, str(len({pair.task for pair in found})), str(len(found)), *ratios[:2], str(missed), ratios[2]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ratio(ratios: Sequence[float]) -> str:
    if not all(0 < ratio < np.inf for ratio in ratios):
        return "-"  # some search had no front yet
    logs = np.log(np.asarray(ratios, dtype=np.float64))
    if len(logs) == 1:
        return f"{np.exp(logs[0]):.2f}"
    middle, half = mean_and_half_width(logs)
    return f"{np.exp(middle):.2f} [{np.exp(middle - half):.2f}, {np.exp(middle + half):.2f}]"
