"""The loop: ask a sampler, run the trial, and have every step on disk before anything else happens."""

import logging
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import perf_counter
from types import MappingProxyType

from mobo.base.errors import MachineError, SpaceError, StudyError, machine_errors
from mobo.base.seeds import trial_seed
from mobo.samplers.base import Sampler
from mobo.space.problem import Problem, Stopping
from mobo.space.search_space import Design
from mobo.space.stopping import StoppingRule
from mobo.space.trial import FinetuningReference, TrainingReference, Trial, TrialState, utc_now
from mobo.space.work import training_part
from mobo.study.counted_order import CountedOrder
from mobo.study.evaluation import failed, is_unexpected
from mobo.study.executor import Executor, InProcessExecutor
from mobo.study.store import TrialStore

_log = logging.getLogger(__name__)

SUGGEST = "suggest"
"""Stage of a trial's times: being shown what came out since the last suggestion, and proposing the design."""

CHECK = "check"
"""Stage of a trial's times: asking what is known of the design without evaluating it."""

CLOCK: Mapping[str, Callable[[], float]] = MappingProxyType({SUGGEST: perf_counter})

# So many surprises at the start, and nothing else, mean that the program is broken, not the designs.
SURPRISES_UNTIL_STOP = 5


class Study:
    """A search that can be killed at any moment and continued as if nothing had happened.

    Args:
        problem: What is searched.
        sampler: Who proposes; a fresh one, it is shown every finished trial of the store.
        store: Where trials are kept, open for writing.
        executor: Where trials run; without one in this process.
        seed: Seed of the study; the store's own.
        lag: A suggestion for trial n sees exactly n + 1 - lag trials, those that end first by their counted seconds;
            without it as many as run at a time. More lets trials go on beside one that takes longer than is counted.
        stopping: Says when a training ends early; without it none does.
        start: Designs that are tried first, whoever the sampler is; it is shown them like its own.
        is_enough: Asked before each new trial, with the finished trials that a suggestion would see by then; the study
            ends early where it says so.
        suggest_clocks: What times a suggestion: clocks in seconds by stage of the trial's times.
        on_start: Called with every trial whose evaluation begins.
        on_trial: Called with every trial this run finishes, after it is on disk.

    Raises:
        StudyError: The store belongs to another seed or another search space, or the lag is below the executor's jobs.
    """

    def __init__(
        self,
        problem: Problem,
        sampler: Sampler,
        store: TrialStore,
        executor: Executor | None = None,
        *,
        seed: int,
        lag: int | None = None,
        stopping: Stopping | None = None,
        start: Sequence[Design] = (),
        is_enough: Callable[[Sequence[Trial]], bool] = lambda trials: False,
        suggest_clocks: Mapping[str, Callable[[], float]] = CLOCK,
        on_start: Callable[[Trial], None] | None = None,
        on_trial: Callable[[Trial], None] | None = None,
    ) -> None:
        self._problem = problem
        self._sampler = sampler
        self._store = store
        self._executor = executor if executor is not None else InProcessExecutor(problem)
        self._seed = seed
        self._lag = self._executor.jobs if lag is None else lag
        self._stopping = stopping
        self._start = tuple(start)
        self._is_enough = is_enough
        self._clocks = suggest_clocks
        self._on_start = on_start
        self._on_trial = on_trial
        self._order = CountedOrder(self._lag)
        self._shown: list[Trial] = []
        self._suggest_s = dict.fromkeys(self._clocks, 0.0)
        self._begin_s: dict[int, float] = {}
        self._ended: dict[int, Trial] = {}
        self._evaluated_here: list[Trial] = []
        if store.seed != seed:
            raise StudyError(
                f"the study in {store.path} has seed {store.seed}, not {seed}; continue it with its own seed"
            )
        if self._lag < self._executor.jobs:
            raise StudyError(
                f"compute.lag is {self._lag}, below the {self._executor.jobs} jobs: a suggestion would wait for trials "
                "that have not begun; give at least as many, or leave it out"
            )
        for trial in store.trials():
            self._check_design(trial, mend="continue a study with the config it was started with")

    def run(self, trial_count: int) -> tuple[Trial, ...]:
        """Bring the study to so many trials and return them all, by number.

        Trials that were proposed or running when an earlier process ended are run again with their design and seed;
        finished ones are neither run nor written again.

        Args:
            trial_count: Number of trials the study shall have, those in the store included.

        Raises:
            StudyError: The first trials all failed in unexpected ways.
            StoreError: The store cannot be written.
            WorkerError: The executor's workers cannot work.
            MachineError: The machine let a trial down; it stays pending, and the next run of the study begins it again.
        """
        stored = {trial.number: trial for trial in self._store.trials()}
        self._shown, self._order = [], CountedOrder(self._lag)
        for number in range(max(trial_count, len(stored))):
            # Waiting for this trial, not for any, keeps what each suggestion sees independent of the timing.
            if number >= self._lag:
                self._show_end_of(self._order.next_end())
            if number not in stored and self._is_enough(self._shown):
                break
            trial = self._started(number, stored.get(number))
            self._order.begin(number, self._counted_s(trial))
            # Shown as pending whatever its state, so that a resumed study sees what an uninterrupted one saw.
            training = trial.training if trial.is_child else None
            pending = replace(trial, state=TrialState.PROPOSED, training=training, finetuned="", outcome={}, message="")
            self._show(pending)
        while self._order:
            self._show_end_of(self._order.next_end())
        return self._store.trials()

    def _started(self, number: int, stored: Trial | None) -> Trial:
        """Begin one trial, or continue it from where the store has it."""
        if stored is not None and stored.state.is_finished:
            self._ended[number] = stored
            return stored
        trial = self._checked(self._proposed(number) if stored is None else self._taken_back(stored))
        if trial.state.is_finished:
            self._ended[number] = self._finished(trial)
            return trial
        self._executor.start(replace(trial, stopping=self._rule_of(trial)), self._begun)
        return trial

    def _counted_s(self, trial: Trial) -> float:
        """Return how long a trial is thought to run; the same whether it is finished already or only begins."""
        work = self._problem.work
        if trial.state is TrialState.INFEASIBLE:
            return 0.0
        if work is None:
            return 1.0
        try:
            with machine_errors():
                training_s = 0.0 if trial.is_child else float(work.training_s([trial.design])[0])
                return training_s + float(work.child_s([trial.design])[0])
        except MachineError:
            raise
        except Exception:  # noqa: BLE001 - a network that cannot be built fails its trial, where that is recorded
            return 0.0

    def _taken_back(self, stored: Trial) -> Trial:
        """Return a pending trial as proposed: whoever ran it is gone, and it may have to wait for its turn."""
        proposed = replace(stored, state=TrialState.PROPOSED)
        return proposed if stored.state is TrialState.PROPOSED else self._saved(proposed)

    def _begun(self, trial: Trial) -> None:
        """Put on disk that somebody is at a trial: until then it waits."""
        begin = perf_counter()
        self._store.save(replace(trial, state=TrialState.RUNNING))
        self._begin_s[trial.number] = perf_counter() - begin
        if self._on_start is not None:
            self._on_start(trial)

    def _rule_of(self, trial: Trial) -> StoppingRule | None:
        """Return what the trial's training is held against, from what its suggestion saw."""
        if self._stopping is None or trial.is_child:
            return None
        return self._stopping.rule(trial.design, trial.seed, self._shown)

    def _show_end_of(self, number: int) -> None:
        """Wait for the end of one trial; whatever else ends meanwhile is on disk at once and kept until its turn."""
        while number not in self._ended:
            trial = self._finished(self._executor.next_finished())
            self._ended[trial.number] = trial
        trial = self._ended.pop(number)
        insort(self._shown, trial, key=lambda shown: shown.number)
        self._show(trial)

    def _show(self, trial: Trial) -> None:
        with self._timed_suggestion():
            self._sampler.observe([trial])

    @contextmanager
    def _timed_suggestion(self) -> Iterator[None]:
        """Add what happens within to the time of the next suggestion."""
        begin = {stage: clock() for stage, clock in self._clocks.items()}
        yield
        for stage, clock in self._clocks.items():
            self._suggest_s[stage] += clock() - begin[stage]

    def _proposed(self, number: int) -> Trial:
        started_utc = utc_now()
        design, times_s = (self._start[number], {}) if number < len(self._start) else self._suggested()
        training = self._training_of(design)
        trial = Trial(
            number=number,
            design=design,
            seed=trial_seed(self._seed, number),
            training=training,
            sibling=self._sibling_of(design, training),
            times_s=times_s,
            started_utc=started_utc,
        )
        self._check_design(trial, mend="a sampler must propose designs of the space it was built with")
        return self._saved(trial)

    def _training_of(self, design: Design) -> TrainingReference | None:
        """Return the first training in view that serves a design: a further compression of a network that there is."""
        work = self._problem.work
        if work is None:
            return None
        part = training_part(design, work.training_names)
        return next(
            (
                trial.training
                for trial in self._shown
                if trial.training is not None and training_part(trial.design, work.training_names) == part
            ),
            None,
        )

    def _sibling_of(self, design: Design, training: TrainingReference | None) -> FinetuningReference | None:
        """Return the trial in view whose fine-tuned network a further compression goes on from."""
        work = self._problem.work
        if work is None or training is None:
            return None
        finetuned = [trial for trial in self._shown if trial.training == training and trial.finetuned]
        place = work.sibling(design, [trial.design for trial in finetuned])
        if place is None:
            return None
        return FinetuningReference(trial=finetuned[place].number, digest=finetuned[place].finetuned)

    def _suggested(self) -> tuple[Design, dict[str, float]]:
        with self._timed_suggestion():
            (design,) = self._sampler.suggest(1)
        times_s, self._suggest_s = self._suggest_s, dict.fromkeys(self._clocks, 0.0)
        return design, times_s

    def _checked(self, trial: Trial) -> Trial:
        """Ask what is known without training: the trial comes back finished if there is nothing to run."""
        start = perf_counter()
        try:
            with machine_errors():
                feasibility = self._problem.check(trial.design)
        except MachineError:
            raise
        except Exception as error:  # noqa: BLE001 - recorded with the trial, and counted
            return failed(trial, error)
        trial = replace(trial, times_s={**trial.times_s, CHECK: perf_counter() - start})
        if feasibility.feasible:
            return trial
        return replace(trial, state=TrialState.INFEASIBLE, outcome=dict(feasibility.known), message=feasibility.reason)

    def _finished(self, trial: Trial) -> Trial:
        """Put a finished trial on disk before anybody hears of it."""
        store_s = trial.times_s.get("store", 0.0) + self._begin_s.pop(trial.number, 0.0)
        trial = self._saved(replace(trial, finished_utc=utc_now(), times_s={**trial.times_s, "store": store_s}))
        if trial.state is TrialState.FAILED:
            _log.warning("trial %d failed: %s", trial.number, trial.message)
        if self._on_trial is not None:
            self._on_trial(trial)
        if trial.state is not TrialState.INFEASIBLE:
            self._evaluated_here.append(trial)
        first = self._evaluated_here[:SURPRISES_UNTIL_STOP]
        if len(first) == SURPRISES_UNTIL_STOP == len(self._evaluated_here) and all(map(is_unexpected, first)):
            summary = trial.message.splitlines()[0]
            raise StudyError(
                f"the first {SURPRISES_UNTIL_STOP} trials all failed in unexpected ways, the last with {summary!r}; "
                f"the full tracebacks are in {self._store.path}: mend the cause and resume"
            )
        return trial

    def _saved(self, trial: Trial) -> Trial:
        """Save a trial and return it with the time that took, which the next save records."""
        start = perf_counter()
        self._store.save(trial)
        took_s = perf_counter() - start
        return replace(trial, times_s={**trial.times_s, "store": trial.times_s.get("store", 0.0) + took_s})

    def _check_design(self, trial: Trial, *, mend: str) -> None:
        try:
            self._problem.space.check(trial.design)
        except SpaceError as error:
            raise StudyError(f"trial {trial.number} does not belong to the search space: {error}; {mend}") from error
