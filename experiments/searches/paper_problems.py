"""The paper's claims about its samplers, on its two problems reduced to seconds a training, with real trainings.

    python -m experiments.searches.paper_problems --out runs/paper-problems

Every cell is a search that can be stopped and goes on: one problem, one sampler, one seed. The samplers of the paper
prune while they train, as its evaluator does, and every design is a training; `ours` is our default beside them: pruned
after the training, which serves further compressions. Each claim gets the mean difference of the hypervolume and its
interval, by Student's t over the seeds; it holds, or does not, where that leaves out 0, and is undecided elsewhere.
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.statistics import mean_and_half_width
from mobo.runs.record import read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.space.pareto import hypervolume_history
from mobo.tinyml.config_file import load_config

STUDIES = Path(__file__).parent / "gecco2025"
PROBLEMS = ("resnet18_cifar10_small", "mobilenetv3_wisdm_small")
OURS = "ours"
ARMS: Mapping[str, tuple[str, ...]] = {
    "ars_mobopt": ("sampler.name=ars_mobopt",),
    "morbo": ("sampler.name=morbo",),
    "nsga2": ("sampler.name=nsga2",),
    "random": ("sampler.name=random",),
    OURS: ("sampler.name=polar_ehvi", "compression.schedule=one-shot", "compression.criterion=taylor"),
}
CLAIMS = (
    ("ars_mobopt", "random"),
    ("ars_mobopt", "nsga2"),
    ("ars_mobopt", "morbo"),
    ("morbo", "random"),
    (OURS, "random"),
    (OURS, "ars_mobopt"),
)
"""Who is said to have the larger hypervolume in the end; the first four are the paper's."""

COLUMNS = ("problem", "arm", "seed", "trials", "trainings", "seconds", "models", "hypervolume")


KEY = COLUMNS[:3]


def cell(out: Path, problem: str, arm: str, seed: int) -> dict[str, object]:
    """Run, or finish, one search; return its row."""
    config = load_config(STUDIES / f"{problem}.toml", [*ARMS[arm], f"seed={seed}"])
    folder = out / f"{problem}-{arm}-{seed}"
    run_search(config, prepare_run(config, out=folder, resume=folder.exists()))
    record = read_run(folder)
    trained = sum(trial.state.value == "done" and not trial.is_child for trial in record.trials)
    seconds = sum(sum(trial.times_s.values()) for trial in record.trials)
    history = hypervolume_history(record.trials, record.config.objectives, record.front.constraints)
    values = (problem, arm, seed, len(record.trials), trained, round(seconds, 1), len(record.front), history[-1])
    return dict(zip(COLUMNS, values, strict=True))


def claims(rows: Iterable[Row]) -> str:
    """Return the means of all arms, and what became of each claim, as Markdown."""
    rows = list(rows)
    means, verdicts = [], []
    for problem, arm in dict.fromkeys((row["problem"], row["arm"]) for row in rows):
        mine = [row for row in rows if (row["problem"], row["arm"]) == (problem, arm)]
        means.append([problem, arm, len(mine), *(float(np.mean([float(row[n]) for row in mine])) for n in COLUMNS[4:])])
    for problem in dict.fromkeys(row["problem"] for row in rows):
        found = {(row["arm"], row["seed"]): float(row["hypervolume"]) for row in rows if row["problem"] == problem}
        for better, worse in CLAIMS:
            pairs = [(value, found[worse, seed]) for (arm, seed), value in found.items()
                     if arm == better and (worse, seed) in found]  # fmt: skip
            if len(pairs) >= 2:
                differences = [ours - theirs for ours, theirs in pairs]
                verdicts.append([problem, f"{better} ahead of {worse}", len(pairs), *verdict(differences)])
    return "\n\n".join(
        [
            table(["problem", "sampler", "seeds", "trainings", "seconds", "models", "hypervolume"], means),
            table(["problem", "claim", "seeds", "difference of the hypervolume, 95 %", "the claim"], verdicts),
        ]
    )


def verdict(differences: Sequence[float]) -> tuple[str, str]:
    """Return the mean of paired differences with its interval, and the word for it.

    >>> verdict([0.1, 0.11, 0.09])
    ('+0.1000 [+0.0752, +0.1248]', 'holds')
    >>> verdict([0.1, -0.1])
    ('+0.0000 [-1.2706, +1.2706]', 'undecided')
    """
    mean, half = mean_and_half_width(np.array(differences))
    word = "undecided" if abs(mean) <= half else "holds" if mean > 0 else "does not hold"
    return f"{mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}]", word


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/paper-problems"))
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", type=Path, help="only print the claims of a file of rows")
    given = parser.parse_args(arguments)
    rows = RowFile(given.table or given.out / "rows.csv", key=KEY, columns=COLUMNS)
    if given.table is None:
        for seed in given.seeds:
            for problem in given.problems:
                for arm in given.arms:
                    if (problem, arm, seed) not in rows:
                        rows.add([cell(given.out, problem, arm, seed)])
    print(claims(rows))


if __name__ == "__main__":
    main()
