import math
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from envs.errors import EnvError
from mobo.base.errors import MachineError, StudyError, TrialFailed
from mobo.base.seeds import trial_seed
from mobo.samplers.sobol import SobolSampler
from mobo.space.objectives import Objective
from mobo.space.problem import Evaluation, Feasibility
from mobo.space.search_space import Design, SearchSpace
from mobo.space.trial import Trial, TrialState
from mobo.study.executor import Executor, InProcessExecutor
from mobo.study.loop import Study
from mobo.study.store import Store
from mobo.testing.small_problem import OBJECTIVES, SMALL_SPACE
from tests.mobo import study_process
from tests.mobo.problems_for_tests import SmallProblem

ROOT = Path(__file__).resolve().parents[3]
SEED = 11


def sampler(space: SearchSpace = SMALL_SPACE) -> SobolSampler:
    return SobolSampler(space, OBJECTIVES, seed=SEED)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


@pytest.fixture
def store(path: Path) -> Store:
    return Store.create(path, config_toml="", seed=SEED)


@dataclass(frozen=True)
class Recording(SmallProblem):
    """The small problem with an evaluation of the test's own, and a list of who was evaluated."""

    action: Callable[[Trial], Evaluation] | None = None
    evaluated: list[Trial] = field(default_factory=list)

    def check(self, design: Design) -> Feasibility:
        return Feasibility(feasible=True) if self.action else super().check(design)

    def evaluate(self, trial: Trial) -> Evaluation:
        self.evaluated.append(trial)
        return self.action(trial) if self.action else super().evaluate(trial)


def raising(error: BaseException) -> Callable[[Trial], Evaluation]:
    def action(trial: Trial) -> Evaluation:
        raise error

    return action


def returning(**outcome: float | None) -> Callable[[Trial], Evaluation]:
    return lambda trial: Evaluation(outcome={"error": 0.5, "flash_bytes": 1.0, "ram_bytes": 1.0, **outcome})


def only_trial(store: Store, action: Callable[[Trial], Evaluation]) -> Trial:
    (trial,) = Study(Recording(action=action), sampler(), store, seed=SEED).run(1)
    return trial


def test_a_study_has_every_kind_of_trial_and_each_is_complete(store: Store) -> None:
    problem = Recording()
    trials = Study(problem, sampler(), store, seed=SEED).run(40)
    assert [trial.number for trial in trials] == list(range(40))
    assert [trial.seed for trial in trials] == [trial_seed(SEED, number) for number in range(40)]
    assert {trial.state for trial in trials} == {TrialState.DONE, TrialState.FAILED, TrialState.INFEASIBLE}
    for trial in trials:
        assert trial.started_utc <= trial.finished_utc
        assert {"suggest", "check", "store"} <= set(trial.times_s)
        if trial.state is TrialState.INFEASIBLE:
            assert trial.outcome == {"ram_bytes": 6000.0}
            assert trial.message == "needs 6000 bytes of RAM"
        elif trial.state is TrialState.FAILED:
            assert (trial.outcome, trial.message) == ({}, "the loss became NaN")
        else:
            assert set(trial.outcome) == {"error", "flash_bytes", "ram_bytes", "energy_uj"}
            assert "train" in trial.times_s
    infeasible = [trial.number for trial in trials if trial.state is TrialState.INFEASIBLE]
    assert [trial.number for trial in problem.evaluated] == [n for n in range(40) if n not in infeasible]


def test_a_trial_is_on_disk_before_each_next_step(store: Store, path: Path) -> None:
    seen: list[tuple[str, list[str]]] = []

    def on_disk(step: str) -> None:
        with Store.open(path, read_only=True) as reader:
            seen.append((step, [trial.state.value for trial in reader.trials()]))

    class Watching(SmallProblem):
        def check(self, design: Design) -> Feasibility:
            on_disk("check")
            return Feasibility(feasible=True)

        def evaluate(self, trial: Trial) -> Evaluation:
            on_disk("evaluate")
            return returning()(trial)

    class WatchingSampler(SobolSampler):
        def observe(self, trials: Sequence[Trial]) -> None:
            on_disk("observe")

    watching = WatchingSampler(SMALL_SPACE, OBJECTIVES, seed=SEED)
    Study(Watching(), watching, store, seed=SEED, on_trial=lambda trial: on_disk("told")).run(1)
    assert seen == [
        ("check", ["proposed"]),
        ("observe", ["proposed"]),
        ("evaluate", ["running"]),
        ("told", ["done"]),
        ("observe", ["done"]),
    ]


def test_only_the_trial_that_somebody_is_at_is_running_on_disk(store: Store, path: Path) -> None:
    seen: list[list[str]] = []
    told: list[int] = []

    def evaluate(trial: Trial) -> Evaluation:
        with Store.open(path, read_only=True) as reader:
            seen.append([entry.state.value for entry in reader.trials()])
        if len(seen) == 2:
            raise KeyboardInterrupt
        return returning()(trial)

    def study() -> Study:
        problem = Recording(action=evaluate)
        return Study(problem, sampler(), store, seed=SEED, lag=3, on_start=lambda trial: told.append(trial.number))

    with pytest.raises(KeyboardInterrupt):
        study().run(3)
    assert seen == [["running", "proposed", "proposed"], ["done", "running", "proposed"]]
    # Whoever was at the second one is gone: it waits like the third.
    study().run(3)
    assert seen[2:] == [["done", "running", "proposed"], ["done", "done", "running"]]
    assert told == [0, 1, 1, 2]


def test_finished_trials_are_never_run_again(store: Store) -> None:
    Study(SmallProblem(), sampler(), store, seed=SEED).run(6)
    problem, told = Recording(), list[int]()
    study = Study(problem, sampler(), store, seed=SEED, on_trial=lambda trial: told.append(trial.number))
    assert len(study.run(4)) == 6
    assert (problem.evaluated, told) == ([], [])
    study.run(8)
    assert told == [6, 7]


@pytest.mark.parametrize("state", [TrialState.PROPOSED, TrialState.RUNNING])
def test_an_interrupted_trial_runs_again_with_its_design_and_seed(store: Store, state: TrialState) -> None:
    whole = Study(SmallProblem(), sampler(), store, seed=SEED).run(8)
    # Trial 5 is taken back, with a design that the sampler would not propose.
    design = Design({"x": 0.77, "rate": 0.001, "width": 8})
    store.save(replace(whole[5], design=design, state=state, outcome={}, message=""))
    problem = Recording()
    trials = Study(problem, sampler(), store, seed=SEED).run(8)
    assert [(trial.number, trial.design, trial.seed) for trial in problem.evaluated] == [(5, design, whole[5].seed)]
    assert trials[5].state is TrialState.DONE
    assert trials[:5] + trials[6:] == whole[:5] + whole[6:]


def test_in_parts_or_at_once_is_the_same(store: Store, tmp_path: Path) -> None:
    whole = Study(SmallProblem(), sampler(), store, seed=SEED).run(12)
    with Store.create(tmp_path / "parts.db", config_toml="", seed=SEED) as parts:
        for count in (1, 5, 12):
            trials = Study(SmallProblem(), sampler(), parts, seed=SEED).run(count)
    assert trials == whole


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(1)])
def test_an_interrupted_study_continues_where_it_was(store: Store, tmp_path: Path, interruption: BaseException) -> None:
    def interrupt_third(trial: Trial) -> Evaluation:
        if trial.number == 2:
            raise interruption
        return returning(error=trial.seed / 2**32)(trial)

    with pytest.raises(type(interruption)):
        Study(Recording(action=interrupt_third), sampler(), store, seed=SEED).run(5)
    assert [trial.state.value for trial in store.trials()] == ["done", "done", "running"]

    def action(trial: Trial) -> Evaluation:
        return returning(error=trial.seed / 2**32)(trial)

    resumed = Study(Recording(action=action), sampler(), store, seed=SEED).run(5)
    with Store.create(tmp_path / "whole.db", config_toml="", seed=SEED) as whole:
        assert Study(Recording(action=action), sampler(), whole, seed=SEED).run(5) == resumed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["error", "ram_bytes", "energy_uj"])
def test_an_outcome_that_is_not_finite_fails_the_trial(store: Store, name: str, value: float) -> None:
    trial = only_trial(store, returning(**{name: value}))
    assert trial.state is TrialState.FAILED
    assert trial.message.startswith(f"the outcome '{name}' is {value}; only finite values")
    assert name not in trial.outcome


@pytest.mark.parametrize("name", ["error", "ram_bytes"])
def test_an_unknown_outcome_fails_the_trial_if_it_is_needed(store: Store, name: str) -> None:
    trial = only_trial(store, returning(**{name: None}))
    assert trial.state is TrialState.FAILED
    assert f"the outcome '{name}' is unknown, but an objective or a constraint needs it" in trial.message


def test_a_done_trial_outside_a_constraint_is_done_and_not_feasible(store: Store) -> None:
    trial = only_trial(store, returning(ram_bytes=5001.0))
    assert trial.state is TrialState.DONE
    assert not trial.is_feasible(SmallProblem().constraints)


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def out_of_memory(times: int, error: Exception) -> Callable[[Trial], Evaluation]:
    """Return an evaluation that memory runs out for at first."""
    left = [error] * times

    def action(trial: Trial) -> Evaluation:
        if left:
            raise left.pop()
        return returning()(trial)

    return action


@pytest.mark.parametrize("error", [MemoryError(), OutOfMemoryError("CUDA"), RuntimeError("can't allocate memory: 9")])
def test_a_trial_is_begun_again_where_memory_ran_out(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("mobo.study.evaluation.sleep", pauses.append)
    assert only_trial(store, out_of_memory(2, error)).state is TrialState.DONE
    assert pauses == [5.0, 10.0]


def test_a_trial_that_memory_never_suffices_for_fails_as_expected(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobo.study.evaluation.sleep", lambda pause_s: None)
    trial = only_trial(store, out_of_memory(3, MemoryError("9 GiB")))
    assert (trial.state, trial.message) == (TrialState.FAILED, "9 GiB")


def test_a_machine_that_refuses_fails_no_trial_and_the_study_goes_on_later(store: Store, tmp_path: Path) -> None:
    for where in ("check", "evaluate"):

        def refused(*arguments: object) -> object:
            raise OSError(28, "No space left on device", "models/.2.part")

        problem = SmallProblem()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SmallProblem, where, refused)
            with pytest.raises(MachineError, match=r"No space left on device \(models/\.2\.part\); what is finished"):
                Study(problem, sampler(), store, seed=SEED).run(8)
        assert [trial.state.is_finished for trial in store.trials()] == [False]
    resumed = Study(SmallProblem(), sampler(), store, seed=SEED).run(8)
    with Store.create(tmp_path / "whole.db", config_toml="", seed=SEED) as whole:
        assert Study(SmallProblem(), sampler(), whole, seed=SEED).run(8) == resumed


def test_an_error_that_is_not_the_systems_fails_the_trial(store: Store) -> None:
    trial = only_trial(store, raising(OSError("cannot identify image file")))
    assert trial.message.startswith("unexpected OSError: cannot identify image file\n")


@pytest.mark.parametrize("error", [TrialFailed("no channels left"), EnvError("no channels left")])
def test_an_expected_failure_is_recorded_by_its_text(store: Store, error: Exception) -> None:
    trial = only_trial(store, raising(error))
    assert (trial.state, trial.message) == (TrialState.FAILED, "no channels left")


def test_an_unexpected_failure_is_recorded_with_its_traceback(store: Store) -> None:
    trial = only_trial(store, raising(KeyError("width")))
    assert trial.state is TrialState.FAILED
    assert trial.message.startswith("unexpected KeyError: 'width'\nTraceback")
    assert "in action" in trial.message


def test_a_failing_check_fails_the_trial(store: Store) -> None:
    class BadCheck(SmallProblem):
        def check(self, design: Design) -> Feasibility:
            raise ZeroDivisionError("in the check")

    (trial,) = Study(BadCheck(), sampler(), store, seed=SEED).run(1)
    assert trial.message.startswith("unexpected ZeroDivisionError: in the check\n")


def test_five_surprises_at_the_start_stop_the_study(store: Store) -> None:
    with pytest.raises(StudyError, match=r"first 5 trials all failed in unexpected ways, the last with .unexpected"):
        Study(Recording(action=raising(KeyError("width"))), sampler(), store, seed=SEED).run(9)
    assert [trial.state.value for trial in store.trials()] == ["failed"] * 5


def test_expected_failures_do_not_stop_the_study(store: Store) -> None:
    trials = Study(Recording(action=raising(TrialFailed("diverged"))), sampler(), store, seed=SEED).run(9)
    assert [trial.state.value for trial in trials] == ["failed"] * 9


def test_surprises_after_a_success_do_not_stop_the_study(store: Store) -> None:
    def action(trial: Trial) -> Evaluation:
        return returning()(trial) if trial.number == 0 else raising(KeyError("width"))(trial)

    trials = Study(Recording(action=action), sampler(), store, seed=SEED).run(9)
    assert [trial.state.value for trial in trials] == ["done"] + ["failed"] * 8


def test_another_seed_is_refused(store: Store) -> None:
    with pytest.raises(StudyError, match="has seed 11, not 12; continue it with its own seed"):
        Study(SmallProblem(), sampler(), store, seed=12)


def test_another_space_is_refused(store: Store) -> None:
    Study(SmallProblem(), sampler(), store, seed=SEED).run(1)
    space = SearchSpace([item for item in SMALL_SPACE if item.name != "rate"])
    with pytest.raises(StudyError, match="trial 0 does not belong to the search space: unknown parameter 'rate'"):
        Study(SmallProblem(space=space), sampler(space), store, seed=SEED)


def test_numpy_numbers_become_plain_ones(store: Store) -> None:
    trial = only_trial(store, returning(error=np.float32(0.5), flash_bytes=np.int64(7)))  # type: ignore[arg-type]
    assert [type(trial.outcome[name]) for name in ("error", "flash_bytes")] == [float, int]


class TwoAtATime(InProcessExecutor):
    """Finishes the later one of two trials first."""

    jobs = 2

    def next_finished(self) -> Trial:
        self._waiting.rotate(1)
        return super().next_finished()


@pytest.mark.parametrize(("executor", "lag"), [(InProcessExecutor(SmallProblem()), 1), (TwoAtATime(SmallProblem()), 2)])
def test_suggestion_n_sees_exactly_the_trials_up_to_n_minus_jobs(store: Store, executor: Executor, lag: int) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    class WatchingSampler(SobolSampler):
        def suggest(self, count: int) -> list[Design]:
            finished, pending = self.history.finished, self.history.pending
            seen.append(([trial.number for trial in finished], [trial.number for trial in pending]))
            return super().suggest(count)

    study = Study(SmallProblem(), WatchingSampler(SMALL_SPACE, OBJECTIVES, seed=SEED), store, executor, seed=SEED)
    trials = study.run(7)
    firsts = [max(0, number + 1 - lag) for number in range(7)]
    assert seen == [(list(range(first)), list(range(first, number))) for number, first in enumerate(firsts)]
    assert all(trial.state.is_finished for trial in trials)


def test_the_objectives_of_the_problem_decide_what_is_needed(store: Store) -> None:
    problem = Recording(action=returning(), objectives=(Objective(name="latency_ms", reference=1.0),))
    (trial,) = Study(problem, sampler(), store, seed=SEED).run(1)
    assert "'latency_ms' is unknown" in trial.message


def test_the_start_comes_first_and_the_sampler_is_shown_it(store: Store) -> None:
    start = [Design({"x": 0.25, "rate": 0.01, "width": 8}), Design({"x": 0.75, "rate": 0.01, "width": 8})]
    shown: list[Design] = []

    class WatchingSampler(SobolSampler):
        def suggest(self, count: int) -> list[Design]:
            shown[:] = [trial.design for trial in self.history.finished]
            return super().suggest(count)

    watching = WatchingSampler(SMALL_SPACE, OBJECTIVES, seed=SEED)
    trials = Study(SmallProblem(), watching, store, seed=SEED, start=start).run(3)
    assert [trial.design for trial in trials[:2]] == shown == start
    assert trials[2].design not in start
    assert ["suggest" in trial.times_s for trial in trials] == [False, False, True]


def test_a_study_ends_early_where_it_is_told_and_goes_on_later(store: Store) -> None:
    seen: list[int] = []

    def after_three(trials: Sequence[Trial]) -> bool:
        seen.append(len(trials))
        return len(trials) == 3

    trials = Study(SmallProblem(), sampler(), store, seed=SEED, is_enough=after_three).run(9)
    assert (len(trials), seen) == (3, [0, 1, 2, 3])
    assert all(trial.state.is_finished for trial in trials)
    assert len(Study(SmallProblem(), sampler(), store, seed=SEED).run(9)) == 9


def test_with_several_jobs_it_ends_early_by_what_a_suggestion_would_see(store: Store) -> None:
    executor = TwoAtATime(SmallProblem())
    study = Study(SmallProblem(), sampler(), store, executor, seed=SEED, is_enough=lambda trials: len(trials) == 3)
    trials = study.run(9)
    # The third had ended before the fifth would have begun; the fourth was running and is waited for.
    assert len(trials) == 4
    assert all(trial.state.is_finished for trial in trials)


def test_a_suggestion_is_timed_with_the_clocks_given_being_shown_included(store: Store) -> None:
    now = [0.0]

    class Slow(SobolSampler):
        def observe(self, trials: Sequence[Trial]) -> None:
            now[0] += 1.0
            super().observe(trials)

        def suggest(self, count: int) -> list[Design]:
            now[0] += 10.0
            return super().suggest(count)

    slow = Slow(SMALL_SPACE, OBJECTIVES, seed=SEED)
    clocks = {"suggest": lambda: now[0], "suggest_cpu": lambda: 2 * now[0]}
    trials = Study(SmallProblem(), slow, store, seed=SEED, suggest_clocks=clocks).run(3)
    # Each trial is shown when it is pending and when it has ended.
    assert [trial.times_s["suggest"] for trial in trials] == [10.0, 12.0, 12.0]
    assert [trial.times_s["suggest_cpu"] for trial in trials] == [20.0, 24.0, 24.0]


def test_a_proposal_outside_the_space_is_the_samplers_fault(store: Store) -> None:
    class Outside(SobolSampler):
        def suggest(self, count: int) -> list[Design]:
            return [Design({"x": 2.0, "rate": 0.01, "width": 8})]

    message = "trial 0 does not belong to the search space: parameter 'x' has the value 2.0.*a sampler must propose"
    with pytest.raises(StudyError, match=message):
        Study(SmallProblem(), Outside(SMALL_SPACE, OBJECTIVES, seed=SEED), store, seed=SEED).run(1)
    assert store.trials() == ()


class Attentive(SobolSampler):
    """Proposes by everything it was shown: which trials are finished, with what outcome, and which are pending."""

    def suggest(self, count: int) -> list[Design]:
        shown = [(t.number, t.design.to_json(), t.state.value, sorted(t.outcome.items())) for t in self.history.trials]
        generator = np.random.default_rng(zlib.crc32(repr(shown).encode()))
        return [SMALL_SPACE.decode(generator.random(len(SMALL_SPACE))) for _ in range(count)]


class Shuffled(InProcessExecutor):
    """Finishes trials in a random order; interrupted when asked for one more than it may finish."""

    def __init__(self, *, jobs: int, seed: int, most: int = 1000) -> None:
        super().__init__(SmallProblem())
        self.jobs, self._most = jobs, most
        self._random = random.Random(seed)

    def next_finished(self) -> Trial:
        if self._most == 0:
            raise KeyboardInterrupt
        self._most -= 1
        self._waiting.rotate(self._random.randrange(len(self._waiting)))
        return super().next_finished()


def attentive(path: Path, executor: Executor) -> tuple[Trial, ...]:
    store = Store.open(path) if path.exists() else Store.create(path, config_toml="", seed=SEED)
    with store:
        return Study(SmallProblem(), Attentive(SMALL_SPACE, OBJECTIVES, seed=SEED), store, executor, seed=SEED).run(12)


@pytest.mark.parametrize("jobs", [2, 4])
def test_neither_the_order_of_the_ends_nor_an_interruption_changes_a_parallel_study(jobs: int, tmp_path: Path) -> None:
    whole = attentive(tmp_path / "whole.db", Shuffled(jobs=jobs, seed=0))
    ran = sum(trial.state is not TrialState.INFEASIBLE for trial in whole)
    for most in range(ran):
        path = tmp_path / f"{most}.db"
        with pytest.raises(KeyboardInterrupt):
            attentive(path, Shuffled(jobs=jobs, seed=most, most=most))
        with Store.open(path, read_only=True) as store:
            # What was finished is on disk, whatever trial before it is still running.
            finished = [t for t in store.trials() if t.state in (TrialState.DONE, TrialState.FAILED)]
        assert len(finished) == most
        assert attentive(path, Shuffled(jobs=jobs, seed=most + 1)) == whole
    assert attentive(tmp_path / "other.db", Shuffled(jobs=jobs + 1, seed=0)) != whole


def test_starts_are_announced_once_each_and_only_of_what_runs(store: Store) -> None:
    started: list[int] = []
    study = Study(SmallProblem(), sampler(), store, seed=SEED, on_start=lambda trial: started.append(trial.number))
    trials = study.run(20)
    assert started == [trial.number for trial in trials if trial.state is not TrialState.INFEASIBLE]
    assert len(started) < 20


def test_a_failed_trial_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    only_trial(store, raising(TrialFailed("no channels left")))
    assert caplog.messages == ["trial 0 failed: no channels left"]


def run_killing(path: Path, name: str, trials: int, pause_s: float, kills: Sequence[float], jobs: int) -> int:
    """Run a study in processes of their own, killing one after each delay, then to the end; return how many died."""
    arguments = [str(path), name, str(trials), str(pause_s), str(jobs)]
    command = [sys.executable, "-m", "tests.mobo.study_process", *arguments]
    killed = 0
    for delay_s in kills:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            # The process says when it begins, so that the kills do not all hit the interpreter's start-up.
            assert process.stdout is not None
            assert process.stdout.readline() == "searching\n"
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
    subprocess.run(command, cwd=ROOT, check=True, timeout=240, stdout=subprocess.DEVNULL)
    return killed


def check_killed_equals_whole(
    tmp_path: Path, name: str, trials: int, pause_s: float, kills: Sequence[float], *, jobs: int = 1
) -> None:
    killed = run_killing(tmp_path / "killed.db", name, trials, pause_s, kills, jobs)
    assert killed >= 3, "the processes ended before they could be killed"
    run_killing(tmp_path / "whole.db", name, trials, pause_s, [], jobs)
    with Store.open(tmp_path / "killed.db") as resumed, Store.open(tmp_path / "whole.db") as whole:
        assert len(whole.trials()) == trials
        assert resumed.trials() == whole.trials()


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_killed_study_ends_like_an_unbroken_one(tmp_path: Path, jobs: int) -> None:
    study_process.main(tmp_path / "whole.db", "sobol", 16, 0.0, 1)
    # Of 1.6 s of trials, shared by the jobs.
    assert run_killing(tmp_path / "killed.db", "sobol", 16, 0.1, [0.5 / jobs], jobs) == 1
    with Store.open(tmp_path / "killed.db") as resumed, Store.open(tmp_path / "whole.db") as whole:
        # Sobol's designs follow from their number alone, so that the number of jobs changes nothing.
        assert len(whole.trials()) == 16
        assert resumed.trials() == whole.trials()


@pytest.mark.slow
def test_a_study_killed_at_random_moments_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    delays = random.Random(1)
    check_killed_equals_whole(tmp_path, "sobol", 16, 0.05, [0.3 * delays.random() for _ in range(4)])


@pytest.mark.slow
def test_a_parallel_study_killed_at_random_moments_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    delays = random.Random(3)
    check_killed_equals_whole(tmp_path, "sobol", 16, 0.1, [0.2 + 0.3 * delays.random() for _ in range(4)], jobs=3)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_ax_study_killed_at_random_moments_ends_like_an_unbroken_one(tmp_path: Path, jobs: int) -> None:
    delays = random.Random(2)
    check_killed_equals_whole(tmp_path, "ax", 10, 0.5, [5.0 * delays.random() for _ in range(5)], jobs=jobs)
