"""Run in a process of its own, to be killed: create or continue a study of the small problem.

Usage: python -m tests.mobo.study_process STORE SAMPLER TRIALS PAUSE_S
"""

import sys
from pathlib import Path

from mobo.samplers import build_sampler
from mobo.store import Store
from mobo.study import Study
from tests.mobo.problems_for_tests import SmallProblem

SEED = 11


def main(path: Path, sampler_name: str, trials: int, pause_s: float) -> None:
    problem = SmallProblem(pause_s=pause_s)
    settings = {"initial_trials": 5} if sampler_name == "ax" else {}
    sampler = build_sampler(
        sampler_name, problem.space, problem.objectives, problem.constraints, seed=SEED, settings=settings
    )
    exists = path.exists() and path.stat().st_size > 0
    store = Store.open(path) if exists else Store.create(path, config_toml="", seed=SEED)
    with store:
        print("searching", flush=True)
        Study(problem, sampler, store, seed=SEED).run(trials)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
