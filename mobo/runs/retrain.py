"""The last training: the models of a finished front once more, on the samples that the search held back to choose by.

The search trains on the train split alone. Once the front stands nothing is chosen by the reward split any more, and if
asked nothing by the validation split, so what is delivered may learn from them. Design, policy, recipe and seed are the
trial's, the values are standardised as before: the new model has the layers and the costs of the old one. It is judged
on the test split, which then chooses nothing either.

Every model is on disk as soon as it is made, so a phase that was stopped goes on with what is missing, and ends with
the same models.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from envs.compression.float_network.purpose import Reconstruction
from envs.compression.float_network.samples import LabelledSamples
from envs.compression.float_network.stored_inputs import joined
from envs.compression.integer.fast_interpreter import error_of, measured_error
from envs.compression.integer.network_file import network_from_bytes
from envs.compression.integer.weight_coding import encode_network
from hw_models.graph.layer_graph import LayerGraph
from mobo.base.errors import MachineError, MoboError, machine_errors
from mobo.base.worker_pool import WorkerDied, WorkerPool, each_result
from mobo.runs.candidates import read_graph
from mobo.runs.confirm import jobs_here, kept_policy, siblings_of
from mobo.runs.directory import RunDirectory
from mobo.runs.identity import check_inputs, input_digests, owner
from mobo.runs.record import RunRecord, read_run
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.confirmation import DESCRIBED, Retrained
from mobo.space.trial import TrainingReference, Trial
from mobo.study.evaluation import failed, lost, persistently
from mobo.study.store import Store, StoreLock
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.inputs import Inputs
from mobo.tinyml.model_names import GRAPH, OWNER, POLICY, QUANTISED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import StudySetup, load_setup
from mobo.tinyml.tasks.data import TaskData
from mobo.tinyml.trainings import Training


class RetrainError(MoboError):
    """The front of a run cannot be trained again as asked; the message says why and what to do."""


@dataclass(frozen=True)
class _Task:
    """Trials that share a training, each with the siblings that go before it."""

    trials: tuple[tuple[Trial, tuple[Trial, ...]], ...]


@dataclass(frozen=True)
class _Made:
    """What became of one trial: the files of its model, or why there are none."""

    trial: Trial
    files: Mapping[str, bytes]
    message: str = ""


@machine_errors()
def retrain(
    config: StudyConfig,
    run: RunDirectory,
    *,
    lock: StoreLock | None = None,
    setup_of: Callable[[StudyConfig], StudySetup] = load_setup,
    on_note: Callable[[str], None] = lambda line: None,
) -> None:
    """Train the models of the run's front that were not yet trained again, and keep each beside that of the search.

    What was trained again on other splits is replaced. A model whose training fails is recorded with the message, and
    the others are made.

    Args:
        config: The run's, with a ``[retrain]`` that says on which splits.
        run: The run; nobody may be searching it.
        lock: The run's lock, where the caller holds it.
        setup_of: Loads what the config names; called once it is clear that there is something to do.
        on_note: Called with a line before the first model and after every one.

    Raises:
        RetrainError: An empty front, a model whose files are gone, or networks that trained anew cost something else.
        StoreError: Another process is searching the run.
        MachineError: The machine let a training down; it is done when the command is given again.
        MoboError, HardwareModelError: The run or what its config names cannot be used.
    """
    splits = ("train", "reward", *(("validation",) if config.retrain.validation else ()))
    with Store.open(run.store_path, lock=lock) as store:
        record = read_run(run.path)
        _check(record, config)
        missing = [trial for trial in record.front if not _is_kept(record.retrained.get(trial.number), splits)]
        on_note(
            f"training {len(record.front)} models again on {' and '.join(splits)}: {len(missing)} of "
            f"{len(record.front)} to do"
        )
        if not missing:
            return
        torch.set_num_threads(config.compute.threads)
        setup = setup_of(config)
        check_inputs(store, input_digests(config, setup.data))
        judge = _Judge(Inputs(config, setup.data), splits)
        for made in _made(config, run, _tasks(record, missing), setup):
            described = judge.described(made)
            marks = {OWNER: owner(store.identity, made.trial.number).encode()}
            run.save_retrained(
                made.trial.number, {**made.files, **marks, DESCRIBED: described.model_dump_json(indent=1).encode()}
            )
            on_note(_line(described, record))


def _is_kept(entry: Retrained | None, splits: Sequence[str]) -> bool:
    return entry is not None and entry.splits == tuple(splits)


def _check(record: RunRecord, config: StudyConfig) -> None:
    """Refuse a run whose front cannot be trained again, before any work."""
    path, settings = record.directory.path, config.compression
    if not len(record.front):
        raise RetrainError(
            f"the front of {path} is empty: none of {len(record.finished)} finished trials is feasible, so there is no "
            "model to train again; search on"
        )
    if settings.low_rank != ("none",) and settings.rank_by == "energy":
        raise RetrainError(
            f'{path} was searched with compression.rank_by = "energy": networks trained anew would be split otherwise '
            'and cost something else; search with rank_by = "ratio"'
        )
    for trial in record.front:
        for number in (trial.number, *(sibling.number for sibling in siblings_of(record, trial))):
            for name in (POLICY, GRAPH):
                file = record.directory.model_directory(number) / name
                if not file.is_file():
                    raise RetrainError(
                        f"{file} is missing, and trial {trial.number} of the front cannot be trained again without "
                        "it; restore a copy of the run"
                    )


def _tasks(record: RunRecord, trials: Sequence[Trial]) -> list[_Task]:
    """Return the trials in groups that share a training."""
    groups: dict[int, list[tuple[Trial, tuple[Trial, ...]]]] = {}
    for trial in trials:
        trained_by = trial.number if trial.training is None else trial.training.trial
        groups.setdefault(trained_by, []).append((trial, siblings_of(record, trial)))
    return [_Task(tuple(group)) for group in groups.values()]


def _made(config: StudyConfig, run: RunDirectory, tasks: Sequence[_Task], setup: StudySetup) -> Iterator[_Made]:
    jobs = jobs_here(config, len(tasks))
    if jobs == 1:
        retrainer = _Retrainer(config, run, setup)
        for task in tasks:
            yield from retrainer(task)
        return
    with WorkerPool[_Task, tuple[_Made, ...]](partial(_retrainer_in_worker, config.to_toml(), run), jobs=jobs) as pool:
        for task, result in each_result(pool, tasks, jobs=jobs):
            if isinstance(result, WorkerDied):
                yield from (_Made(trial, {}, lost(trial, result.reason).message) for trial, _ in task.trials)
            else:
                yield from result


class _Retrainer:
    """Trains models of one run again.

    Args:
        config: The run's.
        run: The run.
        setup: What the config names.
    """

    def __init__(self, config: StudyConfig, run: RunDirectory, setup: StudySetup) -> None:
        self._run = run
        self._trained: tuple[_Task, Training] | None = None
        self._problem = TinyMLProblem(
            config,
            setup.data,
            setup.device,
            setup.runtime,
            save_model=lambda number, files: None,
            change=partial(_with_all_samples, with_validation=config.retrain.validation),
        )

    def __call__(self, task: _Task) -> tuple[_Made, ...]:
        """Make the models of one training; what goes wrong is in a message, a failure of the machine is raised."""
        return tuple(self._attempted(trial, siblings, task) for trial, siblings in task.trials)

    def _attempted(self, trial: Trial, siblings: Sequence[Trial], task: _Task) -> _Made:
        try:
            return persistently(lambda: self._model(trial, siblings, task))
        except MachineError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded with the model
            return _Made(trial, {}, failed(trial, error).message)

    def _model(self, trial: Trial, siblings: Sequence[Trial], task: _Task) -> _Made:
        policy = kept_policy(self._run, trial)
        made = self._problem.made_again(
            trial,
            self._training(trial, task),
            policy,
            seed=trial.seed,
            before=[(kept_policy(self._run, sibling), sibling.design, sibling.seed) for sibling in siblings],
        )
        _check_same_layers(read_graph(self._run, trial.number), made[1].graph, trial.number)
        return _Made(trial, self._problem.files_of(trial, made, policy))

    def _training(self, trial: Trial, task: _Task) -> Training:
        """Return the training of a trial, done anew for the first of those that share it."""
        first = task.trials[0][0]
        seed = first.seed if first.training is None else first.training.seed
        if self._trained is None or self._trained[0] != task:
            self._trained = (task, self._problem.trainings.of(first.design, seed=seed))
        digest = self._trained[1].digest
        return self._problem.trainings.of(
            trial.design, seed=seed, earlier=TrainingReference(trial=first.number, seed=seed, digest=digest)
        )


def _retrainer_in_worker(config_toml: str, run: RunDirectory) -> _Retrainer:
    """Build a worker's retrainer from the config; the data is loaded, not sent."""
    config = parse_config(config_toml)
    torch.set_num_threads(config.compute.threads)
    return _Retrainer(config, run, load_setup(config))


def _with_all_samples(data: TaskData, *, with_validation: bool) -> TaskData:
    return replace(data, train=all_samples(data, with_validation=with_validation))


def all_samples(data: TaskData, *, with_validation: bool) -> LabelledSamples:
    """Return what the last training uses: train and reward, and if asked validation; of anomalies none."""
    parts = [data.train, data.reward, *([data.validation] if with_validation else [])]
    whole = LabelledSamples(
        joined(tuple(part.x for part in parts)), torch.cat([part.y for part in parts]), data.train.purpose
    )
    return whole.subset(torch.nonzero(whole.y == 0)[:, 0]) if isinstance(whole.purpose, Reconstruction) else whole


def _check_same_layers(before: LayerGraph, now: LayerGraph, number: int) -> None:
    """Make sure that what was searched and costed is what was trained again."""
    if before.to_dict() != now.to_dict():
        raise RetrainError(
            f"trial {number} trained again has other layers than before, so other costs; the code of the network was "
            "changed since the run: use the version it was made with"
        )


class _Judge:
    """Measures the models that were made.

    Args:
        inputs: Of the run's designs.
        splits: What the models were trained on.
    """

    def __init__(self, inputs: Inputs, splits: tuple[str, ...]) -> None:
        self._inputs, self._splits = inputs, splits

    def described(self, made: _Made) -> Retrained:
        """Return what is known of a model, its errors among it."""
        splits, data = self._splits, self._inputs.data(made.trial.design)
        samples = len(all_samples(data, with_validation="validation" in splits))
        described = Retrained(trial=made.trial.number, splits=splits, samples=samples, message=made.message)
        if made.message:
            return described
        network = network_from_bytes(made.files[QUANTISED])
        errors: dict[str, float | None] = {"test_error": error_of(network, data.load_test())}
        if "validation" not in splits:
            measured = measured_error(network, data.validation)
            errors |= {"validation_error": measured.error, "validation_standard_error": measured.standard_error}
        return described.model_copy(update=errors | {"download_bytes": len(encode_network(network))})


def _line(described: Retrained, record: RunRecord) -> str:
    head = f"trial {described.trial:>3}  trained again"
    if described.test_error is None:
        return f"{head}: failed, {described.message.splitlines()[0]}"
    scale = record.config.error_scale
    searched = record.done_trial(described.trial).outcome[VALIDATION_ERROR] or 0.0
    tested = record.test_errors.get(described.trial)
    before = "" if tested is None else f" (of the searched model {scale.text(tested)})"
    validation = (
        ""
        if described.validation_error is None
        else f", {scale.called('validation')} {scale.text(described.validation_error)} ({scale.text(searched)})"
    )
    return f"{head}  {scale.called('test')} {scale.text(described.test_error)}{before}{validation}"
