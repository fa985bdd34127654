import json
import sys
from pathlib import Path

import pytest

from mobo.benchmark import cell_run
from mobo.benchmark.cell_files import CellFolder, CellState
from mobo.benchmark.cell_run import initial_designs, run_cell
from mobo.benchmark.errors import BenchmarkError
from mobo.benchmark.problems import build_problem
from mobo.benchmark.problems.toy_network import COSTS
from mobo.space.search_space import Design
from mobo.space.trial import Trial, TrialState
from tests.mobo.benchmark.small_benchmarks import only_cell


def trials(cell) -> list[Trial]:  # type: ignore[no-untyped-def]
    problem = build_problem(cell.problem.name, cell.problem.settings)
    return CellFolder(cell.folder).read_trials(problem.space)


def record(cell) -> dict[str, object]:  # type: ignore[no-untyped-def]
    data: dict[str, object] = json.loads((cell.folder / "run.json").read_text())
    return data


def test_a_cell_is_a_folder_of_two_plain_files(tmp_path: Path) -> None:
    cell = only_cell(tmp_path)
    result = run_cell(cell)
    assert (result.state, result.evaluations, result.message) == (CellState.DONE, 5, "")
    assert cell.folder == tmp_path / "zdt1" / "sobol" / "seed-0"
    assert sorted(path.name for path in cell.folder.iterdir()) == ["run.json", "trials.csv"]
    told = record(cell)
    assert told["state"] == "done"
    assert told["problem"] == {"label": "zdt1", "name": "zdt1", "settings": {"dim": None, "known_outcomes": []}}
    assert {"python", "botorch", "optuna"} <= set(told["versions"])  # type: ignore[call-overload]


def test_only_what_the_sampler_proposed_has_a_suggestion_time(tmp_path: Path) -> None:
    cell = only_cell(tmp_path)
    run_cell(cell)
    assert ["suggest" in trial.times_s for trial in trials(cell)] == [False] * 3 + [True] * 2
    assert all("evaluate" in trial.times_s for trial in trials(cell))


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
    kept = trials(stopped)[:4]
    CellFolder(stopped.folder).write_trials(kept)
    run_cell(stopped)
    assert trials(stopped) == trials(whole)
    # The times of what was kept are the old ones: it was not run again.
    assert [trial.times_s for trial in trials(stopped)[:4]] == [trial.times_s for trial in kept]


def test_a_stopped_cell_of_a_peer_starts_again(tmp_path: Path) -> None:
    whole = only_cell(tmp_path / "whole", samplers=["optuna_tpe"])
    stopped = only_cell(tmp_path / "stopped", samplers=["optuna_tpe"])
    run_cell(whole)
    run_cell(stopped)
    CellFolder(stopped.folder).write_trials(trials(stopped)[:4])
    run_cell(stopped)
    assert trials(stopped) == trials(whole)


@pytest.mark.parametrize("name", ["sobol", "optuna_tpe"])
def test_a_finished_cell_is_not_run_again(tmp_path: Path, name: str) -> None:
    cell = only_cell(tmp_path, samplers=[name])
    run_cell(cell)
    before = [(cell.folder / name).stat().st_mtime_ns for name in ("trials.csv", "run.json")]
    result = run_cell(cell)
    assert (result.state, result.evaluations) == (CellState.DONE, 5)
    # Nor is it written again: run.json says when and with what it was made.
    assert [(cell.folder / name).stat().st_mtime_ns for name in ("trials.csv", "run.json")] == before


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
    assert record(cell)["message"] == "max_minutes = 1e-09 after 1 evaluations"
    # Not lifted, the cap holds; lifted, the cell goes on.
    assert run_cell(cell).evaluations == 1
    assert run_cell(only_cell(tmp_path)).evaluations == 5


def test_too_many_objectives_skip_a_cell(tmp_path: Path) -> None:
    cell = only_cell(tmp_path, samplers=[{"name": "sobol", "max_objectives": 1}])
    assert run_cell(cell).state is CellState.SKIPPED
    assert record(cell)["message"] == "2 objectives, more than max_objectives = 1"


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
    assert str(record(cell)["message"]).startswith("RuntimeError: the kernel matrix is singular\nTraceback")
    assert len(trials(cell)) == 4
    # The next run tries again.
    assert run_cell(cell).state is CellState.DONE


def test_a_missing_package_fails_the_cell_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    cell = only_cell(tmp_path, samplers=["optuna_tpe"])
    assert run_cell(cell).state is CellState.FAILED
    assert str(record(cell)["message"]).startswith("the package 'optuna' is needed here")
    assert "\n" not in str(record(cell)["message"])


def test_a_proposal_outside_the_space_fails_the_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Outside(BreaksAtTheSecond):
        def suggest(self, count: int) -> list[Design]:
            return [Design({f"x{index}": 2.0 for index in range(1, 7)})]

    monkeypatch.setattr(cell_run, "build_contestant", lambda *args, **options: Outside())
    result = run_cell(only_cell(tmp_path))
    assert result.state is CellState.FAILED
    assert "parameter 'x1' has the value 2.0" in result.message


def test_a_folder_of_another_cell_is_refused_and_left_alone(tmp_path: Path) -> None:
    run_cell(only_cell(tmp_path))
    before = (tmp_path / "zdt1" / "sobol" / "seed-0" / "run.json").read_bytes()
    with pytest.raises(BenchmarkError, match="made with another problem; give another folder"):
        run_cell(only_cell(tmp_path, problems=[{"name": "zdt1", "settings": {"dim": 3}}]))
    assert (tmp_path / "zdt1" / "sobol" / "seed-0" / "run.json").read_bytes() == before


def test_what_is_known_to_be_infeasible_is_an_evaluation_without_objectives(tmp_path: Path) -> None:
    problems = [{"name": "toy_network", "settings": {"known_outcomes": list(COSTS)}}]
    cell = only_cell(tmp_path, evaluations=60, problems=problems)
    run_cell(cell)
    refused = [trial for trial in trials(cell) if trial.state is TrialState.INFEASIBLE]
    assert refused
    assert all(set(trial.outcome) == set(COSTS) and "ram_bytes is" in trial.message for trial in refused)
