"""One search from config to front: load, check, run the study, score the front once on the test split."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from mobo.config import StudyConfig
from mobo.pareto import Front
from mobo.problem import Evaluation, Feasibility, Problem
from mobo.problems.model_files import load_quantised
from mobo.problems.tinyml import TinyMLProblem
from mobo.run_directory import RunDirectory
from mobo.samplers import build_sampler
from mobo.setup import load_setup
from mobo.space import Design
from mobo.store import Store
from mobo.study import Study
from mobo.tasks.data import TaskData
from mobo.trial import Trial
from mobo.validation import check_before_search


@dataclass(frozen=True)
class SearchEvent:
    """Something worth showing happened.

    Attributes:
        kind: ``started`` and ``finished``: a trial; ``scoring`` and ``scored``: the test error of a trial of the front.
        trial: The trial.
        trial_count: How many trials the study shall have.
    """

    kind: Literal["started", "finished", "scoring", "scored"]
    trial: Trial
    trial_count: int


def run_search(
    config: StudyConfig, run: RunDirectory, *, resume: bool, on_event: Callable[[SearchEvent], None]
) -> Front:
    """Run a study to its number of trials and score its front.

    Args:
        config: The study.
        run: Where everything is written.
        resume: Whether the run's store exists and is continued.
        on_event: Called when a trial starts, is finished, and when a model is scored.

    Raises:
        MoboError, EnvError, HardwareModelError: The study cannot run; nothing that was finished is lost.
    """
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=run.save_model)
    sampler = build_sampler(
        config.sampler.name,
        problem.space,
        problem.objectives,
        problem.constraints,
        seed=config.seed,
        settings=config.sampler.settings,
        known=problem.known,
    )
    check_before_search(problem)

    def tell(kind: Literal["started", "finished", "scoring", "scored"], trial: Trial) -> None:
        on_event(SearchEvent(kind, trial, config.trials))

    with _open_store(config, run, resume=resume) as store:
        study = Study(
            _Announced(problem, lambda trial: tell("started", trial)),
            sampler,
            store,
            seed=config.seed,
            on_trial=lambda trial: tell("finished", trial),
        )
        front = Front.of(study.run(config.trials), problem.objectives, problem.constraints)
        _score(front, store, run, setup.data, tell)
    return front


def _open_store(config: StudyConfig, run: RunDirectory, *, resume: bool) -> Store:
    if resume:
        return Store.open(run.store_path)
    return Store.create(run.store_path, config_toml=config.to_toml(), seed=config.seed)


class _Announced:
    """A problem that says when an evaluation starts."""

    def __init__(self, problem: Problem, announce: Callable[[Trial], None]) -> None:
        self._problem, self._announce = problem, announce
        self.space, self.objectives, self.constraints = problem.space, problem.objectives, problem.constraints
        self.known = problem.known

    def check(self, design: Design) -> Feasibility:
        return self._problem.check(design)

    def evaluate(self, trial: Trial) -> Evaluation:
        self._announce(trial)
        return self._problem.evaluate(trial)


def _score(
    front: Front,
    store: Store,
    run: RunDirectory,
    data: TaskData,
    tell: Callable[[Literal["scoring", "scored"], Trial], None],
) -> None:
    """Read the test split once, for the models of the finished front; it never steers the search."""
    missing = [trial for trial in front.trials if trial.number not in store.test_errors()]
    if not missing:
        return
    samples = data.load_test()
    for trial in missing:
        tell("scoring", trial)
        store.set_test_error(trial.number, load_quantised(run.model_directory(trial.number)).error(samples))
        tell("scored", trial)
