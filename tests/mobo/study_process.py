"""Run in a process of its own, to be killed: create or continue a study of the small problem.

Usage: python -m tests.mobo.study_process STORE SAMPLER TRIALS PAUSE_S JOBS
"""

import sys
from functools import partial
from pathlib import Path

from mobo.samplers import build_sampler
from mobo.study.executor import ProcessExecutor
from mobo.study.loop import Study
from mobo.study.store import Store
from tests.mobo.problems_for_tests import SmallProblem

SEED = 11


def main(path: Path, sampler_name: str, trials: int, pause_s: float, jobs: int) -> None:
    problem = SmallProblem(pause_s=pause_s)
    settings = {"initial_trials": 5} if sampler_name == "ax" else {}
    sampler = build_sampler(
        sampler_name, problem.space, problem.objectives, problem.constraints, seed=SEED, settings=settings
    )
    exists = path.exists() and path.stat().st_size > 0
    store = Store.open(path) if exists else Store.create(path, config_toml="", seed=SEED)
    with store, ProcessExecutor(partial(SmallProblem, pause_s=pause_s), jobs=jobs) as executor:
        print("searching", flush=True)
        Study(problem, sampler, store, executor if jobs > 1 else None, seed=SEED).run(trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
