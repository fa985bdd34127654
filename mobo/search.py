"""One search from config to front: run the study, score the front once; then what is asked of the front."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Literal

import numpy as np
import torch

from envs.compression.float_network.purpose import Classification
from envs.compression.integer.fast_interpreter import FastInterpreter
from mobo.base.errors import StoreError, machine_errors
from mobo.base.rare_collections import collecting_rarely
from mobo.goal.conclude import conclude, train_baseline
from mobo.runs.adopted import Adopted, adopted_trainings, fitting_start
from mobo.runs.cluster import ClusterTrials
from mobo.runs.confirm import confirm
from mobo.runs.directory import RunDirectory
from mobo.runs.earlier import earlier_digest, earlier_studies, first_designs
from mobo.runs.identity import ModelKeeper, adopted_digest, check_inputs, input_digests
from mobo.runs.mistakes import mistakes_of
from mobo.runs.record import read_run
from mobo.runs.retention import MIB, ModelRetention
from mobo.runs.retrain import retrain
from mobo.runs.start import claimed
from mobo.runs.time_split import trial_seconds
from mobo.samplers import build_sampler
from mobo.space.earlier_study import EarlierStudy
from mobo.space.pareto import Front
from mobo.space.trial import Trial
from mobo.study.executor import Executor, InProcessExecutor, ProcessExecutor, WorkerExecutor
from mobo.study.loop import Study
from mobo.study.store import Store, StoreLock
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.designs import Designs
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.smallest import check_before_search
from mobo.tinyml.trainings import StudyTrainings

# Where only the time ends a study.
_MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class SearchEvent:
    """Something worth showing happened.

    Attributes:
        kind: ``started`` and ``finished``: a trial; ``scoring`` and ``scored``: the test error of a trial of the front.
        trial: The trial.
        trial_count: How many trials the study shall have; None where the time decides.
    """

    kind: Literal["started", "finished", "scoring", "scored"]
    trial: Trial
    trial_count: int | None


@machine_errors()
def run_search(
    config: StudyConfig,
    run: RunDirectory,
    *,
    resume: bool = False,
    lock: StoreLock | None = None,
    on_event: Callable[[SearchEvent], None] = lambda event: None,
    on_note: Callable[[str], None] = lambda line: None,
) -> Front:
    """Run a study to its number of trials and score its front; confirm it, train it again, judge its goal if asked.

    Args:
        config: The study.
        run: Where everything is written.
        resume: Whether the run may have trials, which are then continued.
        lock: What :func:`mobo.runs.start.claimed` gave for the run, where the caller holds it; without it the run is
            claimed here.
        on_event: Called when a trial starts, is finished, and when a model is scored.
        on_note: Called with a line about what is done beside the trials.

    Raises:
        MachineError: The machine let the study down: no space, no right to write, a kept file that is gone. What is
            finished is kept, every other trial is pending, and the resumed run ends as an undisturbed one.
        MoboError, EnvError, HardwareModelError: The study cannot run; nothing that was finished is lost.
    """
    with claimed(config, run) if lock is None else nullcontext(lock) as held:
        with Store.open(run.store_path, lock=held) as store:
            if store.trials() and not resume:
                raise StoreError(f"{store.path} holds a study already; resume it or choose another place")
        with collecting_rarely():
            return _searched(config, run, held, on_event=on_event, on_note=on_note)


def _searched(
    config: StudyConfig,
    run: RunDirectory,
    lock: StoreLock,
    *,
    on_event: Callable[[SearchEvent], None],
    on_note: Callable[[str], None],
) -> Front:
    """Do what :func:`run_search` says in a run that is this process's own."""
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    for note in setup.data.notes:
        on_note(f"data: {note}")
    adopted = adopted_trainings(config, setup.data.input_shape)
    earlier = earlier_studies(config, setup.data.input_shape)
    identity = _identity(config, run, setup, adopted, earlier, lock)
    problem = _problem(config, setup, run, adopted, identity)
    sampler = build_sampler(
        config.sampler.chosen,
        problem.space,
        problem.objectives,
        problem.constraints,
        seed=config.seed,
        settings=config.sampler.settings,
        known=problem.known,
        work=problem.work,
        earlier=earlier,
    )
    check_before_search(problem)
    if config.goal is not None:
        # First, so that a baseline that cannot be trained is known before any trial.
        train_baseline(config, setup, run, on_note)

    def tell(kind: Literal["started", "finished", "scoring", "scored"], trial: Trial) -> None:
        on_event(SearchEvent(kind, trial, config.trials))

    with Store.open(run.store_path, lock=lock) as store:
        # Only now that nothing was refused: a resumed run may ask for more trials than it was started with.
        run.write_config(config.to_toml())
        retention = _retention(config, run, problem, store)

        def finished(trial: Trial) -> None:
            tell("finished", trial)
            if config.goal is None:
                retention.after(trial)

        with _executor(config, run, setup, problem, adopted, identity, on_note) as executor:
            study = Study(
                problem,
                sampler,
                store,
                executor,
                seed=config.seed,
                lag=config.compute.lag,
                stopping=problem.stopping,
                start=[
                    *fitting_start(problem, adopted.start),
                    *first_designs(problem, earlier, config.start.designs),
                ],
                is_enough=_time_is_up(config, store),
                on_start=lambda trial: tell("started", trial),
                on_trial=finished,
            )
            front = Front.of(
                study.run(_MOST_TRIALS if config.trials is None else config.trials),
                problem.objectives,
                problem.constraints,
            )
        _score(front, store, run, problem.designs, tell)
        on_note(f"models: {retention.total_bytes / MIB:.1f} MiB in {run.models_path}")
    if config.confirm.repeats and len(front):
        confirm(config, run, lock=lock, setup_of=lambda config: setup, on_note=on_note)
    if config.retrain.front and len(front):
        retrain(config, run, lock=lock, setup_of=lambda config: setup, on_note=on_note)
    if config.goal is not None:
        conclude(read_run(run.path), setup, finish=True)
    return front


def _retention(config: StudyConfig, run: RunDirectory, problem: TinyMLProblem, store: Store) -> ModelRetention:
    return ModelRetention(
        run, problem.objectives, problem.constraints, limit_mib=config.keep.models_mib, trials=store.trials()
    )


def _time_is_up(config: StudyConfig, store: Store) -> Callable[[Sequence[Trial]], bool]:
    """Return what tells whether the study's hours are over, those of the processes before this one included."""
    if config.hours is None:
        return lambda trials: False
    before_s = sum(trial_seconds(trial) for trial in store.trials() if trial.state.is_finished) / config.compute.jobs
    begin, limit_s = monotonic(), 3600 * config.hours
    return lambda trials: before_s + monotonic() - begin >= limit_s


def _identity(
    config: StudyConfig,
    run: RunDirectory,
    setup: StudySetup,
    adopted: Adopted,
    earlier: Sequence[EarlierStudy],
    lock: StoreLock,
) -> str:
    """Return what the models of the study are marked with, once its inputs are known to be those it was begun with."""
    begun_with = adopted_digest(adopted.start, adopted.folders or {}) | earlier_digest(earlier)
    with Store.open(run.store_path, lock=lock) as store:
        check_inputs(store, input_digests(config, setup.data) | begun_with)
        return store.identity


def _problem(
    config: StudyConfig, setup: StudySetup, run: RunDirectory, adopted: Adopted, identity: str
) -> TinyMLProblem:
    return TinyMLProblem(
        config,
        setup.data,
        setup.device,
        setup.runtime,
        save_model=ModelKeeper(run, identity),
        trainings=partial(StudyTrainings, folder_of=run.model_directory, adopted=adopted.folders),
        trained=adopted.folders or (),
    )


def _executor(
    config: StudyConfig,
    run: RunDirectory,
    setup: StudySetup,
    problem: TinyMLProblem,
    adopted: Adopted,
    identity: str,
    on_note: Callable[[str], None],
) -> AbstractContextManager[Executor]:
    if config.compute.cluster is not None:
        return WorkerExecutor(
            ClusterTrials(
                config,
                setup,
                run,
                adopted,
                save_model=ModelKeeper(run, identity),
                training_names=problem.work.training_names,
                on_note=on_note,
            )
        )
    if config.compute.jobs == 1:
        return nullcontext(InProcessExecutor(problem))
    build = partial(_problem_in_worker, config.to_toml(), run.path, identity)
    return ProcessExecutor(build, jobs=config.compute.jobs)


def _problem_in_worker(config_toml: str, path: Path, identity: str) -> TinyMLProblem:
    """Build a worker's problem from the config; the data is loaded, not sent."""
    config = parse_config(config_toml)
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    adopted = adopted_trainings(config, setup.data.input_shape)
    return _problem(config, setup, RunDirectory(path), adopted, identity)


def _score(
    front: Front,
    store: Store,
    run: RunDirectory,
    designs: Designs,
    tell: Callable[[Literal["scoring", "scored"], Trial], None],
) -> None:
    """Read the test split once, for the models of the finished front; it never steers the search."""
    missing = [trial for trial in front.trials if trial.number not in store.test_errors()]
    if not missing:
        return
    for trial in missing:
        tell("scoring", trial)
        data = designs.data_of(trial.design)
        samples = data.load_test()
        folder = run.model_directory(trial.number)
        logits = FastInterpreter(load_quantised(folder)).logits(samples.x)
        if isinstance(samples.purpose, Classification):
            # First, so that a killed process leaves no error without them.
            answers = np.argmax(logits.numpy(), axis=1)
            mistakes_of(answers, samples.y.numpy(), data.class_names, data.test_groups).write(folder)
        store.set_test_error(trial.number, samples.purpose.error(logits, samples.x, samples.y))
        tell("scored", trial)
