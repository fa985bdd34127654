"""What stopping trainings early would have saved and cost: the rule, replayed on finished runs that stopped none.

    python -m experiments.searches.early_stopping runs/digits-0 runs/digits-1 --chance 0.05 0.2

Every training of a run is held against the rule that it would have had, made from the trials that its suggestion saw;
one that is stopped has no children any more. The search itself is not run anew: without the stopped trainings it would
have had time for others, which is not counted, and the trainings that the later rules learn from are the run's own.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mobo.runs.record import RunRecord, read_run
from mobo.space.pareto import Front
from mobo.space.trial import Trial, TrialState
from mobo.tinyml.early_stopping import EarlyStopping, rung_name
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup


@dataclass(frozen=True)
class Replay:
    """What one rule would have done to one run.

    Attributes:
        trainings: Trainings after the first ones, which every rule lets end.
        stopped: How many of them it would have stopped.
        wrong: How many of those have a child, or themselves stand, on the run's last front.
        saved: Share of the run's training seconds, as counted, that it would have saved.
        carried: How much of the logarithm of its network's error a child keeps, by the last rule; NaN without one.
        hypervolume: Of the run without the stopped trainings and their children, by that of the whole run.
    """

    trainings: int
    stopped: int
    wrong: int
    saved: float
    carried: float
    hypervolume: float


def stopping_of(record: RunRecord, chance: float, worth: float) -> tuple[EarlyStopping, TinyMLProblem]:
    """Return what would have stopped the trainings of a run, with every training at risk.

    Raises:
        SystemExit: Its costs are not known before a training.
    """
    changes = {"chance": chance, "worth": worth, "finished_share": 0.0}
    config = record.config.model_copy(update={"stopping": record.config.stopping.model_copy(update=changes)})
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=lambda number, files: None)
    if problem.stopping is None:
        raise SystemExit(f"{record.directory.path}: costs are known only after a training, so no rule can be made")
    return problem.stopping, problem


def replay(record: RunRecord, chance: float, worth: float) -> Replay:
    """Hold every training of a run against its rule."""
    stopping, problem = stopping_of(record, chance, worth)
    if (record.config.compute.lag or record.config.compute.jobs) > 1:
        raise SystemExit(f"{record.directory.path}: give runs of one job; of others it is not told here who saw what")
    trained = [trial for trial in record.finished if trial.state is TrialState.DONE and not trial.is_child]
    stopped: dict[int, float] = {}
    at_risk, carried = 0, math.nan
    for trial in trained:
        seen = [other for other in record.finished if other.number < trial.number]
        rule = stopping.rule(trial.design, trial.seed, seen)
        if rule is None:
            continue
        at_risk, carried = at_risk + 1, rule.carried
        errors = {rung: trial.outcome.get(rung_name(rung)) for rung in sorted(rule.lines)}
        ends = [rung for rung, error in errors.items() if error is not None and rule.stops(rung, error)]
        if ends:
            stopped[trial.number] = ends[0]
    seconds = dict(zip((trial.number for trial in trained), _training_s(problem, trained), strict=True))
    saved_s = sum((1.0 - rung) * seconds[number] for number, rung in stopped.items())
    left = [trial for trial in record.finished if _trained_in(trial) not in stopped]
    front = Front.of(left, record.front.objectives, record.front.constraints)
    wrong = {_trained_in(trial) for trial in record.front} & stopped.keys()
    return Replay(
        at_risk,
        len(stopped),
        len(wrong),
        saved_s / sum(seconds.values()),
        carried,
        front.hypervolume / record.front.hypervolume,
    )


def _training_s(problem: TinyMLProblem, trials: Sequence[Trial]) -> list[float]:
    seconds: list[float] = problem.work.training_s([trial.design for trial in trials]).tolist()
    return seconds


def _trained_in(trial: Trial) -> int | None:
    return None if trial.training is None else trial.training.trial


def wilson(count: int, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson; everything where nothing was seen.

    >>> [round(end, 3) for end in wilson(1, 20)]
    [0.009, 0.236]
    """
    if not total:
        return 0.0, 1.0
    z = 1.96
    share = count / total
    middle, half = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return (middle - half) / (1 + z * z / total), (middle + half) / (1 + z * z / total)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one row for every chance and worth, over all runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of finished runs with stopping.chance = 0")
    parser.add_argument("--chance", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--worth", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    given = parser.parse_args(arguments)
    records = [read_run(path) for path in given.runs]
    for record in records:
        carried = replay(record, given.chance[0], 0.0).carried
        print(f"{record.config.name}: a child keeps {carried:.2f} of its network's log error")
    print()
    print("| chance | worth | trainings | stopped | saved | wrongly | 95 % | hypervolume kept, least |")
    print("|" + " --- |" * 8)
    for worth in given.worth:
        for chance in given.chance:
            replays = [replay(record, chance, worth) for record in records]
            trainings, stopped, wrong = (
                sum(getattr(item, name) for item in replays) for name in ("trainings", "stopped", "wrong")
            )
            saved = sum(item.saved for item in replays) / len(replays)
            low, high = wilson(wrong, stopped)
            kept = min(item.hypervolume for item in replays)
            print(
                f"| {chance:g} | {worth:g} | {trainings} | {stopped} | {100 * saved:.0f} % | {wrong} | "
                f"{100 * low:.0f} to {100 * high:.0f} % | {kept:.4f} |"
            )


if __name__ == "__main__":
    main()
