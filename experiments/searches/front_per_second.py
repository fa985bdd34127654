"""How good a front each way of searching has after how much processor time, on five tasks and one network.

    python -m experiments.searches.front_per_second --house <checkout of the older commit> --out runs/front-per-second

Every search is a process of its own (`mobo search`, one job, one thread) that is stopped when it has used its processor
time, imports and all; Linux counts it (`/proc/<pid>/stat`). Whatever is finished is kept, and a command that finds an
unfinished cell starts it anew. The deciding figure is the hypervolume by *test* error of the front that the validation
error chose; the validation hypervolume stands beside it. Arms marked *house* run in the older checkout.
"""

import argparse
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import tomlkit

from envs.compression.integer.fast_interpreter import error_of
from experiments.searches.front_looks import MINUTES, Look, comparison, read_looks, table, write_looks
from mobo.base.errors import StoreError
from mobo.benchmark.peers import PEERS
from mobo.runs.record import read_run
from mobo.samplers.base import NoSettings
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.known_outcomes import KnownOutcomes
from mobo.space.objectives import Constraint, Objective
from mobo.space.pareto import Front, hypervolume, outcomes
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.study.store import Store
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.tasks import load_task

STUDIES = Path(__file__).parent / "studies" / "front_per_second.toml"
_POLL_S = 0.5
# Two models nearer than this in every objective count once.
_ALIKE = 0.02


@dataclass(frozen=True)
class Arm:
    """One way of searching.

    Attributes:
        overrides: What it changes about a study.
        house: Whether it runs in the older checkout.
        families: Whether it searches the families that do best, where a task has such beside its one family.
    """

    overrides: tuple[str, ...]
    house: bool = False
    families: bool = False


FIXED = "compression.method=fixed"
STEPS = "space.finetune_steps={type='ordinal', values=[125, 250, 500, 1000]}"
LONGER_STEPS = "space.finetune_steps={type='ordinal', values=[125, 250, 500, 1000, 2000]}"
# What the older commit does by default.
AGENTS = "space.policy={type='categorical',values=['agent_flash','agent_ram','agent_latency']}"
GREEDY = "space.policy={type='categorical',values=['uniform','greedy_ram','greedy_latency']}"
GROWTH = "space.keep_growth={type='float', low=0.25, high=4.0, log=true}"
NARROW = "space.narrow_share={type='float', low=0.2, high=1.0, when={weight_bits=[4]}, otherwise=1.0}"
HOUSE_STEPS = "compression.finetune.steps=250"
ARMS: Mapping[str, Arm] = {
    "by the second": Arm((FIXED, STEPS)),
    "by the second, graded": Arm((FIXED, STEPS, GROWTH)),
    "by the second, families": Arm((FIXED, STEPS, GROWTH), families=True),
    "by the second, graded and mixed": Arm((FIXED, STEPS, GROWTH, NARROW)),
    "by the second, graded, plain CNN": Arm(
        (FIXED, STEPS, GROWTH, "network.family=cnn", "space.width={type='ordinal', values=[4, 8, 12, 16, 24, 32]}")
    ),
    "by the second, graded, going on": Arm((FIXED, STEPS, GROWTH, "compression.start_from=finetuned")),
    "by the second, graded, to 2,000 steps": Arm((FIXED, LONGER_STEPS, GROWTH)),
    "by the second, going on": Arm((FIXED, STEPS, "compression.start_from=finetuned")),
    "by the second, trainings stopped": Arm((FIXED, STEPS, "stopping.chance=0.05")),
    "house fixed": Arm((FIXED,), house=True),
    "house agent": Arm(("compression.method=sac", "compression.evaluations=12"), house=True),
    "house algorithm, new code": Arm((FIXED, HOUSE_STEPS, "sampler.settings.per_second=false")),
    "house algorithm, 125 to 1,000 steps": Arm((FIXED, STEPS, "sampler.settings.per_second=false")),
    "by the second, agent": Arm(("compression.method=sac", "compression.evaluations=12", STEPS)),
    "by the second, pretrained agent": Arm((FIXED, STEPS, AGENTS)),
    "by the second, uniform or greedy": Arm((FIXED, STEPS, GREEDY)),
    "by the second, 250 steps": Arm((FIXED, HOUSE_STEPS)),
    "optuna tpe": Arm((FIXED, STEPS, "sampler.class=experiments.searches.front_per_second:OptunaTpe")),
    "optuna tpe, graded": Arm((FIXED, STEPS, GROWTH, "sampler.class=experiments.searches.front_per_second:OptunaTpe")),
    "optuna tpe, families": Arm(
        (FIXED, STEPS, GROWTH, "sampler.class=experiments.searches.front_per_second:OptunaTpe"), families=True
    ),
    "optuna tpe, families, taught": Arm(
        (FIXED, STEPS, GROWTH, "sampler.class=experiments.searches.front_per_second:OptunaTpeTaught"), families=True
    ),
    "optuna nsga2": Arm((FIXED, STEPS, "sampler.class=experiments.searches.front_per_second:OptunaNsga2")),
    "random": Arm((FIXED, STEPS, "sampler.name=random")),
}
DIGITS_ONLY = ("optuna nsga2", "random", "by the second, graded, plain CNN")
ONE_NETWORK = "digits-tight"
ONE_NETWORK_ARMS = (
    "by the second",
    "by the second, graded",
    "by the second, agent",
    "by the second, pretrained agent",
    "by the second, uniform or greedy",
)
"""The task that asks nothing but how one network is compressed, and who is asked."""

OURS = "by the second, families"
RIVALS = (
    "house fixed", "house agent", "optuna tpe", "optuna tpe, graded", "optuna tpe, families",
    "optuna tpe, families, taught", "optuna nsga2", "random",
)  # fmt: skip
"""What the best rival of a task is chosen from: what users had before, and other samplers."""
OURS_OTHERWISE = tuple(arm for arm in ARMS if arm.startswith("by the second"))
"""Settings of today's code, of which all but one are not what the demo does."""


class OptunaTpe:
    """Optuna's TPE, told of constraints; what cannot fit is refused by the study before a training, as for all."""

    peer = "optuna_tpe"
    description = "Optuna's TPE"
    Settings = NoSettings

    def __init__(
        self,
        space: SearchSpace,
        objectives: Sequence[Objective],
        constraints: Sequence[Constraint] = (),
        *,
        seed: int,
        settings: NoSettings | None = None,
        known: KnownOutcomes | None = None,
    ) -> None:
        peer = PEERS[self.peer]
        self._sampler = peer.build(space, objectives, constraints, seed=seed, settings=peer.Settings())

    def suggest(self, count: int) -> list[Design]:
        """Return what Optuna proposes."""
        return self._sampler.suggest(count)

    def observe(self, trials: Sequence[Trial]) -> None:
        """Tell Optuna."""
        self._sampler.observe(trials)


class OptunaTpeTaught(OptunaTpe):
    """The same, told of what was refused as a design that breaks its constraints and errs as much as is worth having.

    Otherwise Optuna takes such a trial for one that failed, and learns nothing from it.
    """

    description = "Optuna's TPE, taught what is refused"

    def __init__(self, space: SearchSpace, objectives: Sequence[Objective], *args: Any, **kwargs: Any) -> None:
        super().__init__(space, objectives, *args, **kwargs)
        self._worst = {item.name: item.reference for item in objectives}

    def observe(self, trials: Sequence[Trial]) -> None:
        """Tell Optuna, of refused designs their known costs and the worst error."""
        super().observe([self._told(trial) for trial in trials])

    def _told(self, trial: Trial) -> Trial:
        if trial.state is not TrialState.INFEASIBLE:
            return trial
        return replace(trial, state=TrialState.DONE, outcome=self._worst | dict(trial.outcome))


class OptunaNsga2(OptunaTpe):
    """Optuna's NSGA-II."""

    peer = "optuna_nsga2"
    description = "Optuna's NSGA-II"


def study_toml(
    task: str, seed: int, changes: Mapping[str, Any] = MappingProxyType({}), *, families: bool = False
) -> str:
    """Return the study of one task, whole sections of it changed.

    Args:
        task: Its name.
        seed: Of the search.
        changes: Sections in the place of its own.
        families: Whether it searches the families that do best, where the task has such beside its one family.
    """
    given = tomllib.loads(STUDIES.read_text())[task]
    several = given.pop("families", {})
    given |= (several if families else {}) | dict(changes)
    limits = given.pop("limits")
    objectives = [
        {"name": VALIDATION_ERROR, "reference": limits["error"]},
        {"name": "flash_model_bytes", "unit": "bytes", "reference": limits["flash_bytes"]},
        {"name": "latency_ms", "unit": "ms", "reference": limits["latency_ms"]},
    ]
    constraints = [
        {"name": "flash_model_bytes", "unit": "bytes", "upper": limits["flash_bytes"]},
        {"name": "ram_bytes", "unit": "bytes", "upper": limits["ram_bytes"]},
        {"name": "latency_ms", "unit": "ms", "upper": limits["latency_ms"]},
    ]
    study: dict[str, Any] = {
        "name": task,
        "seed": seed,
        "trials": 100_000,
        "device": {"name": "nucleo-l4r5zi"},
        **given,
        "objectives": objectives,
        "constraints": constraints,
    }
    return tomlkit.dumps(study)


def search(folder: Path, study: str, arm: Arm, *, checkout: Path, minutes: float) -> None:
    """Run one search until its processor time is used; the folder then holds the run and ``clock.csv``.

    Args:
        folder: Made anew.
        study: The study as TOML, see :func:`study_toml`.
        arm: Who searches.
        checkout: Whose code.
        minutes: Of processor time.

    Raises:
        RuntimeError: It ended by itself.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config, run = folder / "study.toml", folder / "run"
    config.write_text(study)
    threads = {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "ONEDNN_MAX_CPU_ISA": os.environ.get("ONEDNN_MAX_CPU_ISA", "AVX"),
    }
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        **(threads if arm.house else {**threads, "ONEDNN_MAX_CPU_ISA": ""}),
    }
    environment = {name: value for name, value in environment.items() if value}
    command = [
        sys.executable,
        "-c",
        "from mobo.cli.app import main; main()",
        "search",
        str(config),
        *arm.overrides,
        "--out",
        str(run),
    ]
    clock: list[tuple[int, float]] = []
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=checkout, env=environment, stdout=log, stderr=log)
        try:
            while (spent_s := processor_s(process.pid)) < 60 * minutes:
                if process.poll() is not None:
                    raise RuntimeError(f"{folder} ended by itself; see log.txt there")
                finished = finished_trials(run)
                clock += [(number, spent_s) for number in range(len(clock), finished)]
                time.sleep(_POLL_S)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with (folder / "clock.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("finished", "processor_s"), *clock])


def processor_s(pid: int) -> float:
    """Return the processor time of a process, in seconds; infinite where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def finished_trials(run: Path) -> int:
    """Return how many trials of a running search are finished."""
    try:
        with Store.open(run / "study.db", read_only=True) as store:
            return sum(trial.state.is_finished for trial in store.trials())
    except StoreError:
        return 0


def look_at(folder: Path, *, until_minutes: float) -> list[Look]:
    """Return the looks at the front of a search that was stopped."""
    record = read_run(folder / "run")
    with (folder / "clock.csv").open() as stream:
        seconds = [float(row["processor_s"]) for row in csv.DictReader(stream)]
    samples = load_task(record.config.task).load_test()
    errors: dict[int, float] = {}
    looks = []
    for minutes in (minutes for minutes in MINUTES if minutes <= until_minutes):
        trials = [trial for trial in record.trials if trial.state.is_finished]
        trials = trials[: sum(spent_s <= 60 * minutes for spent_s in seconds)]
        front = Front.of(trials, record.config.objectives, record.front.constraints)
        for trial in front:
            if trial.number not in errors:
                network = load_quantised(record.directory.model_directory(trial.number))
                errors[trial.number] = error_of(network, samples)
        trained = sum(trial.state.value == "done" and not trial.is_child for trial in trials)
        test = hypervolume_on_test(front, errors)
        looks.append(Look(minutes, len(trials), trained, front.hypervolume, test, different_models(front)))
    return looks


def hypervolume_on_test(front: Front, errors: Mapping[int, float]) -> float:
    """Return a front's hypervolume with its models' test errors in the place of those they were chosen by."""
    Y = outcomes(front.trials, front.objectives)
    place = [item.name for item in front.objectives].index(VALIDATION_ERROR)
    Y[:, place] = [errors[trial.number] for trial in front]
    return hypervolume(Y, [item.ideal for item in front.objectives], [item.reference for item in front.objectives])


def different_models(front: Front) -> int:
    """Return how many models a front has, those that are alike in every objective counted once."""
    span = np.array([item.reference - item.ideal for item in front.objectives])
    kept: list[Any] = []
    for row in front.outcomes / span:
        if all((abs(row - other) > _ALIKE).any() for other in kept):
            kept.append(row)
    return len(kept)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/front-per-second"))
    parser.add_argument("--house", type=Path, help="checkout of the commit to compare with")
    parser.add_argument("--tasks", nargs="+", default=list(tomllib.loads(STUDIES.read_text())))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS))
    parser.add_argument("--minutes", type=float, default=MINUTES[-1])
    parser.add_argument("--ours", choices=list(ARMS), default=OURS, help="the arm that others are held against")
    parser.add_argument("--table", type=Path, help="only print the table of a file of rows")
    given = parser.parse_args(arguments)
    rows_path = given.table or given.out / "rows.csv"
    if given.table is None:
        for seed in given.seeds:
            for task in given.tasks:
                for arm in given.arms:
                    if _is_asked(task, arm):
                        _cell(given, rows_path, task, seed, arm)
    looks = read_looks(rows_path)
    print(table(looks, ARMS))
    print()
    print(comparison(looks, given.ours, RIVALS))
    print()
    others = [arm for arm in OURS_OTHERWISE if arm != given.ours]
    print(comparison(looks, given.ours, others, with_the_best=False))


def _is_asked(task: str, arm: str) -> bool:
    if task == ONE_NETWORK:
        return arm in ONE_NETWORK_ARMS
    return task == "digits" or arm not in DIGITS_ONLY


def _cell(given: argparse.Namespace, rows_path: Path, task: str, seed: int, arm: str) -> None:
    if (task, seed, arm) in read_looks(rows_path):
        return
    if ARMS[arm].house and given.house is None:
        raise SystemExit(f"the arm {arm!r} runs in an older checkout; name one with --house, or choose other --arms")
    checkout = given.house if ARMS[arm].house else Path(__file__).resolve().parents[2]
    folder = given.out / f"{task}-{seed}-{arm.replace(' ', '-').replace(',', '')}"
    study = study_toml(task, seed, families=ARMS[arm].families)
    search(folder.resolve(), study, ARMS[arm], checkout=checkout.resolve(), minutes=given.minutes)
    looks = look_at(folder, until_minutes=given.minutes)
    write_looks(rows_path, task, seed, arm, looks)
    end = looks[-1]
    print(
        f"{task} seed {seed} {arm}: {end.trials} trials, {end.trainings} trainings, "
        f"test hypervolume {end.test_hypervolume:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
