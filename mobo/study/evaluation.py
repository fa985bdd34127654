"""Running one trial: it comes back finished whatever its design does; a failure of the machine is not its design's."""

import gc
import logging
import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral
from time import sleep
from typing import TypeVar

from envs.errors import EnvError
from hw_models.errors import HardwareModelError
from mobo.base.errors import MachineError, TrialFailed, TrialStopped, machine_errors
from mobo.base.worker_pool import ATTEMPTS
from mobo.space.objectives import outcome_names
from mobo.space.problem import Evaluation, Problem
from mobo.space.trial import TrainingReference, Trial, TrialState

MEMORY_PAUSE_S = 5.0
"""How long is waited before a work is begun again for which memory ran out, times the attempts so far."""

Result = TypeVar("Result")

_UNEXPECTED = "unexpected "

_log = logging.getLogger(__name__)


def evaluated(problem: Problem, trial: Trial) -> Trial:
    """Evaluate a trial's design and return the trial done, stopped or failed.

    Every exception of the evaluation but a MachineError fails the trial and is recorded in its message; expected ones
    (TrialFailed, EnvError, HardwareModelError, out of memory) as their text, others with their traceback. An outcome
    that is missing though an objective or constraint needs it, or that is not finite, fails the trial too: no sampler
    shall learn from it.

    Raises:
        MachineError: The operating system refused something, or a kept file is gone; the trial is as it was.
    """
    try:
        evaluation = persistently(lambda: problem.evaluate(trial))
    except MachineError:
        raise
    except TrialStopped as stop:
        times_s = {**trial.times_s, **stop.times_s}
        return replace(trial, state=TrialState.STOPPED, outcome=stop.outcome, message=str(stop), times_s=times_s)
    except Exception as error:  # noqa: BLE001 - recorded with the trial, and counted by the study
        return failed(trial, error)
    return judged(problem, trial, evaluation)


def persistently(work: Callable[[], Result]) -> Result:
    """Do a work, again where memory ran out: another process may have had it. The last attempt's error is raised.

    Args:
        work: The same each time it is called.

    Raises:
        MachineError: The operating system refused something.
    """
    for attempt in range(1, ATTEMPTS):
        try:
            with machine_errors():
                return work()
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            _log.warning("memory ran out (%s); begun again (attempt %d of %d)", error, attempt + 1, ATTEMPTS)
        # Only here, when the frames of the attempt are gone, can what they held be freed.
        gc.collect()
        sleep(MEMORY_PAUSE_S * attempt)
    with machine_errors():
        return work()


def judged(problem: Problem, trial: Trial, evaluation: Evaluation) -> Trial:
    """Return a trial with what its evaluation gave: done, or failed by an outcome that is not finite or missing."""
    times_s = {**trial.times_s, **evaluation.times_s}
    names = outcome_names(problem.objectives, problem.constraints)
    finite = {
        name: _plain(value) for name, value in evaluation.outcome.items() if value is None or math.isfinite(value)
    }
    message = _refusal(evaluation.outcome, names)
    state = TrialState.FAILED if message else TrialState.DONE
    training = trial.training
    if training is None and evaluation.checkpoint and state is TrialState.DONE:
        training = TrainingReference(trial=trial.number, seed=trial.seed, digest=evaluation.checkpoint)
    return replace(
        trial,
        state=state,
        training=training,
        finetuned=evaluation.finetuned if state is TrialState.DONE else "",
        outcome=finite,
        message=message,
        times_s=times_s,
    )


def failed(trial: Trial, error: Exception) -> Trial:
    """Return the trial as failed, with the error in its message."""
    if _is_expected(error):
        message = str(error) or type(error).__name__
    else:
        trace = "".join(traceback.format_exception(error))
        message = f"{_UNEXPECTED}{type(error).__name__}: {error}\n{trace}"
    return replace(trial, state=TrialState.FAILED, outcome={}, message=message)


def lost(trial: Trial, reason: str) -> Trial:
    """Return the trial as failed because the process that ran it is gone."""
    return replace(trial, state=TrialState.FAILED, outcome={}, message=f"{_UNEXPECTED}end: {reason}")


def is_unexpected(trial: Trial) -> bool:
    """Return whether a trial failed by an exception nobody foresaw: rather the program's fault than the design's."""
    return trial.state is TrialState.FAILED and trial.message.startswith(_UNEXPECTED)


def _is_expected(error: Exception) -> bool:
    return _is_out_of_memory(error) or isinstance(error, TrialFailed | EnvError | HardwareModelError)


def _is_out_of_memory(error: Exception) -> bool:
    # Torch's error is known by name so that recognising it does not import torch; on a CPU it has none of its own.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and any(
        text in str(error) for text in ("can't allocate memory", "not enough memory")
    )


def _refusal(outcome: Mapping[str, float | None], needed: tuple[str, ...]) -> str:
    """Return why an outcome cannot be used, or an empty text."""
    for name, value in outcome.items():
        if value is not None and not math.isfinite(value):
            return f"the outcome {name!r} is {float(value)}; only finite values can be compared (did training diverge?)"
    for name in needed:
        if outcome.get(name) is None:
            return f"the outcome {name!r} is unknown, but an objective or a constraint needs it"
    return ""


def _plain(value: object) -> float | None:
    """Return a Python number for a numpy one, which JSON could not hold."""
    if value is None:
        return None
    return int(value) if isinstance(value, Integral) else float(value)  # type: ignore[arg-type]
