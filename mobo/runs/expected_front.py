"""The front of a run by what is expected of its models' errors: no lucky measurement is taken at its word.

What was measured stays in the store. A Gaussian process of the error over the designs, told how noisy every measurement
is, draws each towards what its neighbours let expect, and the models that no other one beats by that are the front.
"""

from typing import Any

from mobo.base.errors import MoboError
from mobo.runs.adopted import hyperparameters_of
from mobo.runs.candidates import saved_graphs
from mobo.runs.front_table import front_object
from mobo.runs.record import RunRecord
from mobo.samplers.model.expected_outcomes import Expected, as_expected, expected_outcomes
from mobo.space.columns import EXPECTED, VALIDATION_ERROR
from mobo.space.pareto import Front
from mobo.space.trial import TrialState

# Of the normal distribution: 80 % lie nearer to the mean.
_DEVIATIONS = 1.2816


class ExpectedFrontError(MoboError):
    """Nothing can be expected of a run's errors beyond what was measured."""


def expected_front_objects(record: RunRecord) -> tuple[dict[str, Any], ...]:
    """Return the front by expected errors, as :meth:`~mobo.runs.record.RunRecord.front_objects` does the measured one.

    The keys :data:`mobo.space.columns.EXPECTED` stand behind the others.

    Raises:
        ExpectedFrontError: No trial tells the standard error of its error, or no model is on disk.
    """
    done = [trial for trial in record.trials if trial.state is TrialState.DONE]
    if not any(trial.standard_error(VALIDATION_ERROR) for trial in done):
        raise ExpectedFrontError(
            f"no trial of {record.directory.path} tells the standard error of its validation error: the run is of "
            "before they were kept, or its error is no share of samples; drop --expected, or confirm its models with "
            "`mobo confirm`"
        )
    graphs = saved_graphs(record).by_trial
    if not graphs:
        raise ExpectedFrontError(f"no model of {record.directory.path} is on disk; restore a copy of the run")
    space = hyperparameters_of(record.config, next(iter(graphs.values())).input_shape).space
    objectives = [item for item in record.config.objectives if item.name == VALIDATION_ERROR]
    expected = expected_outcomes(space, done, objectives)
    front = Front.of(as_expected(done, expected), record.config.objectives, record.front.constraints)
    measured = {trial.number: trial for trial in done}
    return tuple(
        {
            **front_object(measured[trial.number], record.test_errors, record.confirmed, record.retrained),
            **_expected_object(expected[trial.number][VALIDATION_ERROR]),
        }
        for trial in front
    )


def _expected_object(expected: Expected) -> dict[str, float]:
    reach = _DEVIATIONS * expected.deviation
    values = (max(0.0, end) for end in (expected.mean, expected.mean - reach, expected.mean + reach))
    return dict(zip(EXPECTED, values, strict=True))
