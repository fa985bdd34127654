import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mobo.base.errors import TrialFailed
from mobo.benchmark import cell_run
from mobo.benchmark.cell import Cell
from mobo.benchmark.cell_record import CellKey, CellState
from mobo.benchmark.cell_run import initial_designs, run_cell
from mobo.benchmark.cell_store import BenchmarkStore
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.toy_network import COSTS
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from tests.mobo.benchmark.small_benchmarks import cut_short, kept, only_cell


def trials(cell: Cell) -> tuple[Trial, ...]:
    return kept(cell).trials


def test_a_cell_is_a_record_and_its_trials(tmp_path: Path) -> None:
    cell = only_cell(tmp_path)
    result = run_cell(cell)
    assert (result.state, result.evaluations, result.message) == (CellState.DONE, 5, "")
    assert [path.name for path in tmp_path.iterdir()] == ["benchmark.db"]
    told = kept(cell).record
    assert (told.state, told.key) == (CellState.DONE, ("zdt1", "sobol", 0))
    assert (told.problem.name, told.problem.settings) == ("zdt1", {"dim": None, "known_outcomes": []})
    assert {"python", "botorch", "optuna"} <= set(told.versions)
    assert told.started_utc <= told.finished_utc
    assert [trial.state for trial in trials(cell)] == [TrialState.DONE] * 5


def test_only_what_the_sampler_proposed_has_a_suggestion_time(tmp_path: Path) -> None:
    cell = only_cell(tmp_path)
    run_cell(cell)
    assert ["suggest" in trial.times_s for trial in trials(cell)] == [False] * 3 + [True] * 2
    assert ["suggest_cpu" in trial.times_s for trial in trials(cell)] == [False] * 3 + [True] * 2
    assert all({"check", "evaluate"} <= set(trial.times_s) for trial in trials(cell))


@pytest.mark.parametrize("name", ["sobol", "optuna_tpe", "pymoo_nsga2"])
def test_every_sampler_starts_from_the_same_designs(tmp_path: Path, name: str) -> None:
    cell = only_cell(tmp_path, samplers=[name], problems=["toy_network"], seeds=[4])
    run_cell(cell)
    start = initial_designs(build_problem("toy_network").space, problem="toy_network", seed=4, count=3)
    assert [trial.design for trial in trials(cell)[:3]] == start


def test_another_seed_or_problem_has_another_start() -> None:
    space = build_problem("zdt1").space
    starts = [
        initial_designs(space, problem=problem, seed=seed, count=3) for problem, seed in (("a", 0), ("a", 1), ("b", 0))
    ]
    assert len({tuple(start) for start in starts}) == 3


def test_a_stopped_cell_of_ours_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path) -> None:
    whole, stopped = only_cell(tmp_path / "whole"), only_cell(tmp_path / "stopped")
    run_cell(whole)
    run_cell(stopped)
    before = cut_short(stopped, 4)
    run_cell(stopped)
    assert trials(stopped) == trials(whole)
    # The times of what was there are the old ones: it was not run again.
    assert [trial.times_s for trial in trials(stopped)[:4]] == [trial.times_s for trial in before]


def test_a_trial_that_was_running_when_the_cell_was_killed_runs_again(tmp_path: Path) -> None:
    whole, killed = only_cell(tmp_path / "whole"), only_cell(tmp_path / "killed")
    run_cell(whole)
    run_cell(killed)
    last = cut_short(killed, 4)[-1]
    with BenchmarkStore.open(killed.database) as store:
        store.save_trial(killed.key, replace(last, state=TrialState.RUNNING, outcome={}))
    assert run_cell(killed).evaluations == 5
    assert trials(killed) == trials(whole)


@pytest.mark.parametrize("name", ["nsga2", "optuna_tpe"])
def test_a_cell_killed_after_any_write_ends_like_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # Small generations: the last designs depend on what came out of the first ones.
    settings = {"population_trials": 3} if name == "nsga2" else {"startup_trials": 3}
    choice = {"samplers": [{"name": name, "settings": settings}], "evaluations": 6}
    whole = only_cell(tmp_path / "whole", **choice)
    run_cell(whole)
    saved = BenchmarkStore.save_trial
    # A trial is written when it is proposed, when it runs and when it has ended: some of the start, then of the others.
    for write in (0, 4, *range(9, 13), 3 * 6 - 1):
        cell, left = only_cell(tmp_path / str(write), **choice), [write]

        def killed(store: BenchmarkStore, key: CellKey, trial: Trial, left: list[int] = left) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            saved(store, key, trial)

        with monkeypatch.context() as patched:
            patched.setattr(BenchmarkStore, "save_trial", killed)
            with pytest.raises(KeyboardInterrupt):
                run_cell(cell)
        assert kept(cell).record.state is CellState.RUNNING
        assert run_cell(cell).state is CellState.DONE
        assert trials(cell) == trials(whole)


def test_a_stopped_cell_of_a_peer_starts_again(tmp_path: Path) -> None:
    whole = only_cell(tmp_path / "whole", samplers=["optuna_tpe"])
    stopped = only_cell(tmp_path / "stopped", samplers=["optuna_tpe"])
    run_cell(whole)
    run_cell(stopped)
    cut_short(stopped, 4)
    run_cell(stopped)
    assert trials(stopped) == trials(whole)


@pytest.mark.parametrize("name", ["sobol", "optuna_tpe"])
def test_a_finished_cell_is_not_run_again(tmp_path: Path, name: str) -> None:
    cell = only_cell(tmp_path, samplers=[name])
    run_cell(cell)
    before = kept(cell)
    result = run_cell(cell)
    assert (result.state, result.evaluations) == (CellState.DONE, 5)
    # Nor is it written again: its record says when and with what it was made.
    assert kept(cell) == before
    assert [trial.times_s for trial in trials(cell)] == [trial.times_s for trial in before.trials]


def test_more_evaluations_continue_a_finished_cell(tmp_path: Path) -> None:
    run_cell(only_cell(tmp_path))
    first = trials(only_cell(tmp_path))
    run_cell(only_cell(tmp_path, evaluations=8))
    assert trials(only_cell(tmp_path))[:5] == first
    assert len(trials(only_cell(tmp_path))) == 8


def test_an_expensive_sampler_is_capped_not_failed(tmp_path: Path) -> None:
    cell = only_cell(tmp_path, samplers=[{"name": "sobol", "max_evaluations": 4}])
    result = run_cell(cell)
    assert (result.state, result.evaluations, result.message) == (CellState.CAPPED, 4, "max_evaluations = 4")


def test_a_cell_is_capped_by_the_time_of_its_trials(tmp_path: Path) -> None:
    cell = only_cell(tmp_path, max_minutes=1e-9)
    assert run_cell(cell).state is CellState.CAPPED
    assert kept(cell).record.message == "max_minutes = 1e-09 after 1 evaluations"
    # Not lifted, the cap holds; lifted, the cell goes on.
    assert run_cell(cell).evaluations == 1
    assert run_cell(only_cell(tmp_path)).evaluations == 5


def test_too_many_objectives_skip_a_cell(tmp_path: Path) -> None:
    cell = only_cell(tmp_path, samplers=[{"name": "sobol", "max_objectives": 1}])
    assert run_cell(cell).state is CellState.SKIPPED
    assert kept(cell).record.message == "2 objectives, more than max_objectives = 1"


class BreaksAtTheSecond:
    def __init__(self) -> None:
        self.calls = 0

    def suggest(self, count: int) -> list[Design]:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError("the kernel matrix is singular")
        return [Design({f"x{index}": 0.5 for index in range(1, 7)})]

    def observe(self, trials: object) -> None:
        pass


def test_a_sampler_that_breaks_fails_its_cell_and_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = only_cell(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(cell_run, "build_contestant", lambda *args, **options: BreaksAtTheSecond())
        result = run_cell(cell)
    assert (result.state, result.evaluations) == (CellState.FAILED, 4)
    assert kept(cell).record.message.startswith("RuntimeError: the kernel matrix is singular\nTraceback")
    assert len(trials(cell)) == 4
    # The next run tries again.
    assert run_cell(cell).state is CellState.DONE


def test_a_missing_package_fails_the_cell_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    cell = only_cell(tmp_path, samplers=["optuna_tpe"])
    assert run_cell(cell).state is CellState.FAILED
    assert kept(cell).record.message.startswith("the package 'optuna' is needed here")
    assert "\n" not in kept(cell).record.message


def test_a_proposal_outside_the_space_fails_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Outside(BreaksAtTheSecond):
        def suggest(self, count: int) -> list[Design]:
            return [Design({f"x{index}": 2.0 for index in range(1, 7)})]

    monkeypatch.setattr(cell_run, "build_contestant", lambda *args, **options: Outside())
    result = run_cell(only_cell(tmp_path))
    assert result.state is CellState.FAILED
    assert "parameter 'x1' has the value 2.0" in result.message


def test_another_cell_in_its_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    cell = only_cell(tmp_path)
    run_cell(cell)
    before = kept(cell)
    message = r"the cell zdt1 sobol seed 0 in .* was made with another problem; give another folder"
    with pytest.raises(BenchmarkError, match=message):
        run_cell(only_cell(tmp_path, problems=[{"name": "zdt1", "settings": {"dim": 3}}]))
    assert kept(cell) == before


@pytest.mark.parametrize(
    ("error", "state"), [(TrialFailed("diverged"), CellState.DONE), (KeyError("w"), CellState.FAILED)]
)
def test_a_problem_that_breaks_every_time_fails_the_cell_and_designs_that_fail_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, state: CellState
) -> None:
    whole = build_problem("zdt1")

    class Breaks:
        def __getattr__(self, name: str) -> object:
            return getattr(whole, name)

        def evaluate(self, trial: Trial) -> None:
            raise error

    monkeypatch.setattr(cell_run, "build_problem", lambda *args: Breaks())
    cell = only_cell(tmp_path, evaluations=7)
    result = run_cell(cell)
    assert result.state is state
    if state is CellState.FAILED:
        assert result.message.startswith("the first 5 trials all failed in unexpected ways")
        assert f"are in {tmp_path}: mend the cause" in result.message
        assert result.evaluations == 5


def test_what_is_known_to_be_infeasible_is_an_evaluation_without_objectives(tmp_path: Path) -> None:
    problems = [{"name": "toy_network", "settings": {"known_outcomes": list(COSTS)}}]
    cell = only_cell(tmp_path, evaluations=20, problems=problems)
    run_cell(cell)
    refused = [trial for trial in trials(cell) if trial.state is TrialState.INFEASIBLE]
    assert refused
    assert all(set(trial.outcome) == set(COSTS) and "ram_bytes is" in trial.message for trial in refused)
