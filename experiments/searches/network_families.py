"""Does it pay to make the family of networks a part of the design? Several families together against each alone.

    python -m experiments.searches.network_families --out runs/network-families

Every search is that of `front_per_second` (the same task, limits, references, fine-tuning and processor time), but for
the architectures: each family has the hyperparameters that it comes with, whether alone or among others.
"""

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.searches.front_looks import comparison, read_looks, table, write_looks
from experiments.searches.front_per_second import ARMS, OURS, look_at, search, study_toml
from mobo.runs.record import read_run
from mobo.tinyml.networks.several import FAMILY

TASKS: Mapping[str, tuple[str, ...]] = {
    "keywords": ("ds_cnn", "mobilenet_v3", "residual"),
    "wisdm": ("cnn1d", "mobilenet_v3", "residual"),
    "digits": ("cnn", "mlp"),
    "mnist5k": ("lenet5", "cnn", "mlp"),
    "tracebase": ("cnn1d", "mlp"),
}
"""The families of every task: the one that its study has by default, and general ones; of digits the demo's."""

RECIPES: Mapping[str, Mapping[str, Any]] = {
    "keywords": {"epochs": 15, "label_smoothing": 0.1},
    "wisdm": {"epochs": 6},
    "digits": {"epochs": 12},
    "mnist5k": {"epochs": 10},
    "tracebase": {"epochs": 12},
}
"""What is fixed of the training, as in the studies of `front_per_second`."""

TOGETHER, AND = "together", "+"
ALONE = tuple(dict.fromkeys(family for families in TASKS.values() for family in families))
"""Who searches: all families of a task together, and each alone."""


def arms_of(task: str) -> tuple[str, ...]:
    """Return who searches a task: all its families together, then each alone."""
    return (TOGETHER, *TASKS[task])


def families_toml(task: str, arm: str, seed: int) -> str:
    """Return the study of one task with one family, with several joined by ``+``, or with all of the task."""
    several = TASKS[task] if arm == TOGETHER else tuple(arm.split(AND))
    network = {"families": list(several)} if len(several) > 1 else {"family": arm}
    return study_toml(task, seed, {"network": network, "space": dict(RECIPES[task])})


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/network-families"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", help="families, or several joined by +; by default all together and each")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--table", type=Path, help="only print the table of a file of rows")
    given = parser.parse_args(arguments)
    rows_path = given.table or given.out / "rows.csv"
    if given.table is None:
        for seed in given.seeds:
            for task in given.tasks:
                for arm in given.arms or arms_of(task):
                    _cell(given.out, rows_path, task, seed, arm, given.minutes)
    looks = read_looks(rows_path)
    joined = sorted({arm for _, _, arm in looks if AND in arm})
    print(table(looks, (TOGETHER, *ALONE, *joined)))
    print()
    print(comparison(looks, TOGETHER, ALONE))


def _cell(out: Path, rows_path: Path, task: str, seed: int, arm: str, minutes: float) -> None:
    if (task, seed, arm) in read_looks(rows_path):
        return
    folder = (out / f"{task}-{seed}-{arm}").resolve()
    checkout = Path(__file__).resolve().parents[2]
    search(folder, families_toml(task, arm, seed), ARMS[OURS], checkout=checkout, minutes=minutes)
    looks = look_at(folder, until_minutes=minutes)
    write_looks(rows_path, task, seed, arm, looks)
    record = read_run(folder / "run")
    families = Counter(str(trial.design.get(FAMILY, arm)) for trial in record.front)
    print(
        f"{task} seed {seed} {arm}: test hypervolume {looks[-1].test_hypervolume:.4f}, front {dict(families)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
