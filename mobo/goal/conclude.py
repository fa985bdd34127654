"""From a run to the verdict on its goal: who is judged, who is chosen, how the chosen one does on the test split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw_models.cost import COST_NAMES
from mobo.base.statistics import error_difference
from mobo.goal.baseline import (
    BASELINE,
    ReferenceNetwork,
    ReferenceNetworks,
    float_mistakes,
    integer_mistakes,
)
from mobo.goal.decision import POINTS, Decision, Judged, decide
from mobo.goal.errors import GoalError
from mobo.goal.reference_description import goal_of
from mobo.goal.verdict import (
    BaselineFigures,
    ChosenFigures,
    Gap,
    NarrowerFigures,
    TestFigures,
    Verdict,
    read_verdict,
    write_verdict,
)
from mobo.runs.directory import RunDirectory
from mobo.runs.record import RunRecord
from mobo.space import columns
from mobo.space.trial import Trial
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.goal_settings import WidthSweepSettings
from mobo.tinyml.model_files import load_quantised
from mobo.tinyml.setup import StudySetup
from mobo.tinyml.tasks.data import TaskData

NARROWER = "narrower"
Mistakes = NDArray[np.bool_]
_ROUNDING = 1e-9
"""Errors are counts over a number of samples; this tells equal ones from those a sample apart."""


def train_baseline(config: StudyConfig, setup: StudySetup, run: RunDirectory, on_note: Callable[[str], None]) -> None:
    """Train the goal's float baseline, unless the run has it already.

    Args:
        config: The study, with its goal.
        setup: Its data, board and engine.
        run: Where the baseline is kept.
        on_note: Called with a line about it.

    Raises:
        MoboError: The baseline cannot be built or trained.
    """
    networks = ReferenceNetworks(config, setup, run)
    description = networks.describe_baseline()
    if networks.saved(BASELINE, description) is None:
        on_note(f"goal: the baseline, a {description.network.family} network, {description.origin}")
    baseline, validation = networks.trained(BASELINE, description), networks.data_of(description.values).validation
    float_error, int8_error = (
        100 * wrong.mean()
        for wrong in (
            float_mistakes(baseline.module, validation),
            integer_mistakes(baseline.quantised, validation),
        )
    )
    on_note(f"goal: validation error of the baseline {float_error:.2f} %, in int8 {int8_error:.2f} %")


def conclude(record: RunRecord, setup: StudySetup, *, finish: bool) -> Verdict:
    """Return what becomes of a run's goal.

    Args:
        record: The run, with its baseline trained.
        setup: The study's data, board and engine.
        finish: Whether to train the width sweep's network, to read the test split and to write ``goal.json``; otherwise
            the run is only looked at, and what an earlier conclusion found of the test split is taken over where it
            chose the same network.

    Raises:
        GoalError: The study has no goal, its baseline is not trained, or no trial is feasible.
        MoboError: A model of the run is missing.
    """
    verdict = _Conclusion(record, setup).verdict(finish=finish)
    if finish:
        write_verdict(record.directory, verdict)
    return verdict


@dataclass(frozen=True)
class _Chosen:
    """A network that meets the goal, with its mistakes on the validation split."""

    trial: Trial
    figures: ChosenFigures
    wrong: Mistakes


class _Conclusion:
    def __init__(self, record: RunRecord, setup: StudySetup) -> None:
        self._record, self._setup = record, setup
        self._goal = goal_of(record.config)
        self._networks = ReferenceNetworks(record.config, setup, record.directory)
        self._baseline = self._saved_baseline()
        # Samples, labels and groups are in one order whatever the input.
        self._groups = setup.data.validation_groups
        self._baseline_wrong = float_mistakes(self._baseline.module, self._data_of(self._baseline).validation)

    def _data_of(self, network: ReferenceNetwork) -> TaskData:
        return self._networks.data_of(network.description.values)

    def _saved_baseline(self) -> ReferenceNetwork:
        baseline = self._networks.saved(BASELINE, self._networks.describe_baseline())
        if baseline is None:
            raise GoalError(
                f"{self._record.directory.path} has no baseline of this goal yet; `mobo search` trains it: resume the "
                "search with --resume"
            )
        return baseline

    def verdict(self, *, finish: bool) -> Verdict:
        feasible = self._feasible()
        trials = {trial.number: trial for trial in self._near(feasible)}
        wrong = {number: self._mistakes(trial) for number, trial in trials.items()}
        decision = decide(
            self._baseline_wrong,
            wrong,
            {number: self._minimised(trial) for number, trial in trials.items()},
            self._groups,
            tolerance=self._goal.tolerance,
            confidence=self._goal.confidence,
        )
        verdict = self._without_chosen(decision, len(feasible))
        if decision.chosen is None:
            return verdict
        number = decision.chosen.trial
        chosen = _Chosen(trials[number], _chosen_figures(trials[number], decision.chosen), wrong[number])
        sweep = self._goal.width_sweep
        narrower = None if sweep is None else self._narrower(chosen, sweep, train=finish)
        return verdict.model_copy(
            update={
                "chosen": chosen.figures,
                "narrower": None if narrower is None else self._narrower_figures(chosen, narrower),
                "test": self._test(chosen, narrower) if finish else self._known_test(number),
            }
        )

    def _feasible(self) -> list[Trial]:
        constraints = self._record.front.constraints
        return [
            trial
            for trial in self._record.trials
            if trial.is_feasible(constraints) and trial.outcome.get(self._goal.minimise) is not None
        ]

    def _near(self, feasible: Sequence[Trial]) -> list[Trial]:
        """Return the trials whose mean error is tolerable; if there is none, the one nearest to it.

        The upper end of an interval lies above the difference itself, so no other trial can meet the goal.
        """
        if not feasible:
            return []
        errors = {trial.number: _outcome(trial, columns.VALIDATION_ERROR) for trial in feasible}
        limit = float(self._baseline_wrong.mean()) + self._goal.tolerance + _ROUNDING
        near = [trial for trial in feasible if errors[trial.number] <= limit]
        return near or [min(feasible, key=lambda trial: (errors[trial.number], trial.number))]

    def _mistakes(self, trial: Trial) -> Mistakes:
        network = load_quantised(self._record.directory.model_directory(trial.number))
        return integer_mistakes(network, self._networks.data_of(trial.design).validation)

    def _minimised(self, trial: Trial) -> float:
        return _outcome(trial, self._goal.minimise)

    def _without_chosen(self, decision: Decision, feasible: int) -> Verdict:
        record, baseline = self._record, self._baseline
        return Verdict(
            study=record.config.name,
            verdict=decision.verdict,
            goal=self._goal,
            trials_finished=len(record.finished),
            trials_asked=len(record.finished) if record.config.trials is None else record.config.trials,
            feasible=feasible,
            samples=len(self._setup.data.validation),
            groups=_count(self._groups),
            baseline=BaselineFigures(
                origin=baseline.description.origin,
                family=str(baseline.description.network.family),
                design=dict(baseline.description.values),
                float_error=float(self._baseline_wrong.mean()),
                int8_error=float(integer_mistakes(baseline.quantised, self._data_of(baseline).validation).mean()),
                float_costs=dict(baseline.float_costs),
                int8_costs=dict(baseline.int8_costs),
            ),
            judged=decision.judged,
            chosen=None,
        )

    def _narrower(self, chosen: _Chosen, sweep: WidthSweepSettings, *, train: bool) -> ReferenceNetwork | None:
        flash_bytes = _outcome(chosen.trial, "flash_model_bytes")
        description = self._networks.fitting_width(self._baseline.description, sweep, flash_bytes)
        return (self._networks.trained if train else self._networks.saved)(NARROWER, description)

    def _narrower_figures(self, chosen: _Chosen, narrower: ReferenceNetwork) -> NarrowerFigures:
        wrong = integer_mistakes(narrower.quantised, self._data_of(narrower).validation)
        flash_bytes = narrower.int8_costs["flash_model_bytes"]
        return NarrowerFigures(
            origin=narrower.description.origin,
            fits=flash_bytes is not None and flash_bytes <= _outcome(chosen.trial, "flash_model_bytes"),
            validation_error=float(wrong.mean()),
            gap=self._gap(chosen.wrong, wrong, self._groups),
            costs=dict(narrower.int8_costs),
        )

    def _test(self, chosen: _Chosen, narrower: ReferenceNetwork | None) -> TestFigures:
        """Read the test split, or take over what was read before for the same networks."""
        known = self._known_test(chosen.trial.number)
        if known is not None and (known.narrower_error is None) == (narrower is None):
            return known
        samples, groups = self._networks.data_of(chosen.trial.design).load_test(), self._setup.data.test_groups
        network = load_quantised(self._record.directory.model_directory(chosen.trial.number))
        wrong = integer_mistakes(network, samples)
        of_baseline = self._data_of(self._baseline).load_test()
        float_wrong = float_mistakes(self._baseline.module, of_baseline)
        narrow = None if narrower is None else self._test_error(narrower)
        return TestFigures(
            trial=chosen.trial.number,
            samples=len(samples),
            groups=_count(groups),
            error=float(wrong.mean()),
            float_error=float(float_wrong.mean()),
            int8_error=float(integer_mistakes(self._baseline.quantised, of_baseline).mean()),
            narrower_error=narrow,
            gap=self._gap(wrong, float_wrong, groups),
        )

    def _test_error(self, network: ReferenceNetwork) -> float:
        return float(integer_mistakes(network.quantised, self._data_of(network).load_test()).mean())

    def _known_test(self, trial: int) -> TestFigures | None:
        known = read_verdict(self._record.directory)
        if known is None or known.test is None or known.test.trial != trial or known.goal != self._goal:
            return None
        return known.test

    def _gap(self, wrong: Mistakes, reference: Mistakes, groups: NDArray[np.generic] | None) -> Gap:
        every_group = np.arange(len(wrong)) if groups is None else groups
        found = error_difference(wrong[None], reference[None], every_group, confidence=self._goal.confidence)
        return Gap(difference=found.points / POINTS, low=found.low / POINTS, high=found.high / POINTS)


def _chosen_figures(trial: Trial, judged: Judged) -> ChosenFigures:
    return ChosenFigures(
        trial=trial.number,
        validation_error=_outcome(trial, columns.VALIDATION_ERROR),
        gap=Gap(difference=judged.difference, low=judged.low, high=judged.high),
        costs={name: trial.outcome.get(name) for name in (*COST_NAMES, columns.DOWNLOAD_BYTES)},
    )


def _outcome(trial: Trial, name: str) -> float:
    value = trial.outcome.get(name)
    if value is None:
        raise GoalError(f"trial {trial.number} is done but has no {name}; the store is damaged")
    return value


def _count(groups: NDArray[np.generic] | None) -> int | None:
    return None if groups is None else len(np.unique(groups))
