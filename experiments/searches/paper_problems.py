"""The paper's claims about its samplers, on its two problems reduced to seconds a training, with real trainings.

    python -m experiments.searches.paper_problems --out runs/paper-problems
    python -m experiments.searches.paper_problems --out runs/paper-problems --tell
    python -m experiments.searches.paper_problems --page results/searches/paper_problems

Every cell is a search that can be stopped and goes on: one problem, one sampler, one seed. The samplers of the paper
prune while they train, as its evaluator does, and every design is a training; `ours` is our default beside them: pruned
after the training, which serves further compressions, and proposed by what they bring per second; `ours, a training
each` asks what a sample brings, whatever it takes, as the others do. Each claim gets the mean difference of the
hypervolume and its interval, by Student's t over the seeds; it holds, or does not, where that leaves out 0, and is
undecided elsewhere.

``--tell`` writes down what `mobo validate` tells of both problems as they are in the paper and reduced, and what share
of its reference each cost takes in the smallest and in the largest design; where the data of a whole problem are not at
hand it is told of random values of their shape and number. ``--page`` writes the page of a folder's rows.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobo.base.atomic_write import write_text
from mobo.base.errors import MoboError
from mobo.base.markdown import table
from mobo.base.rows import Row, RowFile
from mobo.base.statistics import mean_and_half_width
from mobo.runs.record import read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.space.pareto import hypervolume_history
from mobo.space.search_space import Design
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.config_file import load_config
from mobo.tinyml.hyperparameters import KEEP
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.tasks.data import TaskError
from mobo.validation import validate

STUDIES = Path(__file__).parent / "gecco2025"
PROBLEMS = ("resnet18_cifar10_small", "mobilenetv3_wisdm_small")
OURS, ALONE = "ours", "ours, a training each"
_OURS = ("sampler.name=polar_ehvi", "compression.schedule=one-shot", "compression.criterion=taylor")
ARMS: Mapping[str, tuple[str, ...]] = {
    "ars_mobopt": ("sampler.name=ars_mobopt",),
    "morbo": ("sampler.name=morbo",),
    "nsga2": ("sampler.name=nsga2",),
    "random": ("sampler.name=random",),
    OURS: _OURS,
    ALONE: (*_OURS, "sampler.settings.per_second=false"),
}
CLAIMS = (
    ("ars_mobopt", "random"),
    ("ars_mobopt", "nsga2"),
    ("ars_mobopt", "morbo"),
    ("morbo", "random"),
    (OURS, "random"),
    (OURS, "ars_mobopt"),
    (ALONE, "random"),
    (ALONE, "ars_mobopt"),
)
"""Who is said to have the larger hypervolume in the end; the first four are the paper's."""

COLUMNS = ("problem", "arm", "seed", "trials", "trainings", "seconds", "models", "hypervolume")
KEY = COLUMNS[:3]

COSTS = ("flash_image_bytes", "ram_bytes", "macs")
SPANS = tuple(f"{name}_{end}" for name in COSTS for end in ("low", "high"))
TOLD_COLUMNS = ("problem", "data", "train", "trial_s", "hours", *SPANS)
ROWS, TOLD = "rows.csv", "told.csv"


@dataclass(frozen=True)
class WholeProblem:
    """A problem as the paper has it, and what stands in for its data where they are not at hand.

    Attributes:
        shape: Of a sample: height, width, channels.
        classes: Number of classes.
        samples: To train, to judge and, where ``tested`` is 0, to test with.
        tested: Samples of the test split that the data have of their own.
    """

    shape: tuple[int, int, int]
    classes: int
    samples: int
    tested: int


WHOLE: Mapping[str, WholeProblem] = {
    "resnet18_cifar10": WholeProblem((32, 32, 3), 10, 50_000, 10_000),
    # Windows of five seconds of 19 subjects' recordings, about.
    "mobilenetv3_daliac": WholeProblem((1, 1024, 24), 13, 3_850, 0),
}


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


def tell(problem: str, folder: Path) -> dict[str, object]:
    """Return what `mobo validate` tells of a problem, and how much of its reference each cost takes."""
    config, data = load_config(STUDIES / f"{problem}.toml"), "its own"
    try:
        setup = load_setup(config)
    except TaskError:
        if problem not in WHOLE:
            raise
        config, data = _stood_in(problem, folder), "random values"
        setup = load_setup(config)
    told = validate(config)
    known = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    reference = {item.name: item.reference for item in known.objectives}
    middle = known.designs.hyperparameters.middles()[0]
    ends = [known.check(Design({**middle, KEEP: known.space[KEEP].decode(place)})).known for place in (0.0, 1.0)]
    shares = [costs[name] / reference[name] for name in COSTS for costs in ends]
    seconds = (told.seconds_per_trial_estimate, told.total_seconds_estimate / 3600)
    return dict(zip(TOLD_COLUMNS, (problem, data, len(setup.data.train), *seconds, *shares), strict=True))


def _stood_in(problem: str, folder: Path) -> StudyConfig:
    """Return a whole problem's config with random values in the place of its data."""
    whole, generator, path = WHOLE[problem], np.random.default_rng(0), folder / f"{problem}.npz"
    arrays: dict[str, Any] = {}
    for split, count in (("train", whole.samples), ("test", whole.tested)):
        if count:
            arrays[f"x_{split}"] = generator.integers(0, 256, (count, *whole.shape), dtype=np.uint8)
            arrays[f"y_{split}"] = np.arange(count) % whole.classes
    np.savez(path, **arrays)
    return load_config(STUDIES / f"{problem}.toml", [f"task={{name='npz', file='{path}', layout='hwc'}}"])


def claims(rows: Iterable[Row]) -> str:
    """Return the means of all arms, and what became of each claim, as Markdown."""
    rows = list(rows)
    means = []
    for problem, arm in dict.fromkeys((row["problem"], row["arm"]) for row in rows):
        mine = [row for row in rows if (row["problem"], row["arm"]) == (problem, arm)]
        numbers = (float(np.mean([float(row[name]) for row in mine])) for name in COLUMNS[4:])
        means.append([problem, arm, len(mine), *numbers])
    return "\n\n".join(
        [
            table(["problem", "sampler", "seeds", "trainings", "seconds", "models", "hypervolume"], means),
            table(["problem", "claim", "seeds", "difference of the hypervolume, 95 %", "the claim"], judged(rows)),
        ]
    )


def judged(rows: Iterable[Row]) -> list[list[object]]:
    """Return every claim that has two seeds at least: problem, claim, seeds, difference and the word for it."""
    rows, verdicts = list(rows), list[list[object]]()
    for problem in dict.fromkeys(row["problem"] for row in rows):
        found = {(row["arm"], row["seed"]): float(row["hypervolume"]) for row in rows if row["problem"] == problem}
        for better, worse in CLAIMS:
            pairs = [(value, found[worse, seed]) for (arm, seed), value in found.items()
                     if arm == better and (worse, seed) in found]  # fmt: skip
            if len(pairs) >= 2:
                differences = [ours - theirs for ours, theirs in pairs]
                verdicts.append([problem, f"{better} ahead of {worse}", len(pairs), *verdict(differences)])
    return verdicts


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


def told_table(rows: Iterable[Row]) -> str:
    """Return what `mobo validate` told, and the shares of the references, as Markdown."""
    shown = []
    for row in rows:
        spans = [
            f"{float(row[low]):.3f} to {float(row[high]):.3f}"
            for low, high in zip(SPANS[::2], SPANS[1::2], strict=True)
        ]
        shown.append(
            [
                row["problem"],
                row["data"],
                row["train"],
                f"{float(row['trial_s']):.0f}",
                f"{float(row['hours']):.1f}",
                *spans,
            ]
        )
    heads = ["problem", "data", "samples to train on", "s a trial", "hours", "flash", "RAM", "MACs"]
    return table(heads, shown)


def page(folder: Path) -> str:
    """Return the page of the rows of a folder.

    Raises:
        MoboError: The folder lacks one of the two files, or they are not what this script writes.
    """
    rows = list(RowFile(folder / ROWS, key=KEY, columns=COLUMNS))
    told = list(RowFile(folder / TOLD, key=TOLD_COLUMNS[:1], columns=TOLD_COLUMNS))
    for name, found in ((ROWS, rows), (TOLD, told)):
        if not found:
            raise MoboError(f"{folder / name} has no rows; `--out` writes them, with `--tell` those of {TOLD}")
    words = Counter(str(row[-1]) for row in judged(rows))
    count = f"{words['holds']} hold, {words['does not hold']} do not hold, {words['undecided']} are undecided"
    seeds = len({row["seed"] for row in rows})
    hours = sum(float(row["seconds"]) for row in rows) / 3600
    trials = " or ".join(sorted({row["trials"] for row in rows}))
    missing = [problem for problem in PROBLEMS if problem not in {row["problem"] for row in rows}]
    not_run = f"**Not run yet: {', '.join(missing)}.** " if missing else ""
    return f"""# The paper's claims about its samplers, on its two problems made small

`python -m experiments.searches.paper_problems` (needs `MOBO_DATA_DIR`): {len(rows)} searches of {trials} samples,
{seeds} seeds, {hours:.1f} hours in all. Of the claims {count}.
{not_run}With so few seeds an interval is wide, so *undecided* is
what to expect; nothing here says that two samplers are equal.

{claims(rows)}

Every number of the first table is a mean over the seeds. *trainings*: samples that trained a network; the others of
`ours` compress one that is there already, so as many samples take less work. *seconds*: of the clock, from suggestion
to last file; what else ran on the machine is in them. *hypervolume*: of the feasible samples, by their errors on the
validation split, as a share of the box between ideal and reference. The samplers of the paper prune while they train
(AGP), as its evaluator does; ours prune afterwards. `ours` buys what promises most per second, so that its samples are
cheap ones; `ours, a training each` what promises most per sample, as the others do.

## The problems whole, and how they were made small

What `mobo validate` tells (`--tell`) on this machine, one trial at a time, when it has nothing else to do; on one GPU:
run by nobody. Where the data are *random values*, these stand in for the official ones, by shape and number. The last
three columns say which share of its reference each cost takes, from the smallest design to the largest.

{told_table(told)}

Where a share hardly changes, the objective decides nothing, and where it stays far below 1, nor does the constraint,
which is as large: the hypervolume is then mostly that of the smallest error.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/paper-problems"))
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--table", type=Path, help="only print the claims of a file of rows")
    parser.add_argument("--tell", action="store_true", help="only write down the hours that all four problems are told")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="only write README.md beside the rows of a folder")
    given = parser.parse_args(arguments)
    if given.page is not None:
        write_text(given.page / "README.md", page(given.page))
        return
    if given.tell:
        told = RowFile(given.out / TOLD, key=TOLD_COLUMNS[:1], columns=TOLD_COLUMNS)
        for problem in (*WHOLE, *PROBLEMS):
            if problem not in told:
                with tempfile.TemporaryDirectory() as folder:
                    told.add([tell(problem, Path(folder))])
        print(told_table(told))
        return
    rows = RowFile(given.table or given.out / ROWS, key=KEY, columns=COLUMNS)
    if given.table is None:
        for seed in given.seeds:
            for problem in given.problems:
                for arm in given.arms:
                    if (problem, arm, seed) not in rows:
                        rows.add([cell(given.out, problem, arm, seed)])
    print(claims(rows))


if __name__ == "__main__":
    main()
