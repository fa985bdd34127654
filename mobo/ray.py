"""One design of a study as a trial of Ray Tune, for its schedulers and dashboards; what searches is then theirs.

::

    config = mobo.load_config(Path("study.toml"))
    space = {"width": tune.choice([8, 12, 16]), "keep": tune.uniform(0.125, 1.0), ...}  # a key for each of [space]
    tune.Tuner(mobo.ray.trainable(config), param_space=space).fit()

Data come from every worker's own ``MOBO_DATA_DIR``. A study whose own sampler shall search runs with ``mobo search
--cluster`` instead.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mobo.base.errors import ConfigError, MoboError, TrialFailed
from mobo.base.seeds import trial_seed
from mobo.space.columns import VALIDATION_ERROR
from mobo.space.search_space import Design
from mobo.space.stopping import StoppingRule
from mobo.space.trial import Trial, TrialState
from mobo.study.evaluation import evaluated
from mobo.tinyml.config import StudyConfig, parse_config
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup

SHARE = "training_share"
"""Metric of every report: which share of the epochs is done; 1 with the last one, of the compressed network."""

FEASIBLE = "feasible"
"""Metric of the last report: 1 where every constraint holds, else 0."""

NUMBER = "trial_number"
"""Key of a Tune config beside the design's: decides the seed of the trial, 0 if left out."""

Metrics = dict[str, float]


def trainable(config: StudyConfig) -> Callable[[Mapping[str, Any]], None]:
    """Return a function for ``ray.tune.Tuner`` that runs one design of a study.

    It takes a value for each searched hyperparameter and reports, at the rungs of the training (``[stopping] rungs``),
    the error on the validation split, and at the end all outcomes of the study. A design that cannot fit reports the
    costs that are known of it, and of the other objectives their reference. The files of a model go to ``model`` in the
    trial's folder. ``[sampler]``, ``trials``, ``jobs`` and ``cluster`` of the study have no say.

    Args:
        config: The study.

    Returns:
        The function. It raises ConfigError for a design that is none of the study's, TrialFailed where a trial failed,
        MachineError as a search does, and MoboError where ``ray.tune`` cannot be imported.

    Raises:
        ConfigError: The study begins with earlier trainings, which lie on one machine.
    """
    if config.start.trainings is not None or config.compression.start_from == "finetuned":
        raise ConfigError(
            "a trial of Ray Tune knows no other one: leave out start.trainings and compression.start_from; or search "
            "with `mobo search --cluster`"
        )
    config_toml = config.to_toml()

    def run_design(values: Mapping[str, Any]) -> None:
        tune = _tune()
        folder = Path(tune.get_context().get_trial_dir()) / "model"
        report_design(config_toml, values, report=tune.report, folder=folder)

    return run_design


def report_design(
    config_toml: str, values: Mapping[str, Any], *, report: Callable[[Metrics], object], folder: Path
) -> None:
    """Run one design and report it; see :func:`trainable`.

    Args:
        config_toml: The study.
        values: The searched hyperparameters, and perhaps ``trial_number``.
        report: Takes the metrics of a rung, and those of the end.
        folder: Where the files of its model go.
    """
    study = _study(config_toml)
    study.files.clear()
    design = Design({name: value for name, value in values.items() if name != NUMBER})
    try:
        study.problem.space.check(design)
    except MoboError as error:
        raise ConfigError(f"the Tune config is no design of the study: {error}") from error
    number = int(values.get(NUMBER, 0))
    rule = _ReportingRule(
        lines={}, carried=1.0, deviation=1.0, own_loss=0.0, smallest_error=1.0, chance=0.0, report=report
    )
    trial = Trial(number=number, design=design, seed=trial_seed(study.seed, number), stopping=rule)
    known = study.problem.check(design)
    if known.feasible:
        trial = evaluated(study.problem, trial)
        if trial.state is not TrialState.DONE:
            raise TrialFailed(trial.message)
    else:
        trial = replace(trial, outcome=known.known)
    references = {item.name: item.reference for item in study.problem.objectives}
    found = {name: float(value) for name, value in trial.outcome.items() if value is not None}
    holds = known.feasible and all(item.holds(trial.outcome) for item in study.problem.constraints)
    if study.files:
        folder.mkdir(parents=True, exist_ok=True)
    for name, content in study.files.items():
        (folder / name).write_bytes(content)
    report({**references, **found, SHARE: 1.0, FEASIBLE: float(holds)})


@dataclass(frozen=True)
class _Study:
    """A study in one worker: its problem, its seed, and the files of the model that was made last."""

    problem: TinyMLProblem
    seed: int
    files: dict[str, bytes] = field(default_factory=dict)


@lru_cache(maxsize=1)
def _study(config_toml: str) -> _Study:
    """Build a study's problem; a worker that gets several designs does so once."""
    config = parse_config(config_toml)
    torch.set_num_threads(config.compute.threads)
    setup = load_setup(config)
    files: dict[str, bytes] = {}

    def keep(number: int, made: Mapping[str, bytes]) -> None:
        files.update(made)

    problem = TinyMLProblem(config, setup.data, setup.device, setup.runtime, save_model=keep)
    return _Study(problem, config.seed, files)


def _tune() -> ModuleType:
    try:
        return import_module("ray.tune")
    except ImportError as error:
        raise MoboError(
            f"a trial of Ray Tune needs it, and it cannot be imported ({error}); install it with "
            '`pip install "ray[tune]"`, the same on every machine'
        ) from error


@dataclass(frozen=True, kw_only=True)
class _ReportingRule(StoppingRule):
    """Reports the rungs and stops nothing: whoever listens may end the process."""

    report: Callable[[Metrics], object]

    def stops(self, rung: float, error: float) -> bool:
        self.report({VALIDATION_ERROR: error, SHARE: rung})
        return False
