"""The repeats of a front: what they are, that a stop loses one at most, and what stands in their way."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from envs.compression.evaluator import FinetunedNetwork
from envs.compression.float_network.purpose import Measured
from envs.compression.integer.fast_interpreter import error_of
from envs.compression.policy import CompressionPolicy
from envs.errors import EnvError
from mobo.base.errors import MachineError, StoreError
from mobo.base.seeds import derive_seed
from mobo.base.worker_pool import WorkerPool
from mobo.cli.app import app
from mobo.runs.confirm import ConfirmError, confirm, repeat_seed
from mobo.runs.directory import RunDirectory
from mobo.runs.record import RunRecord, read_run
from mobo.runs.start import prepare_run
from mobo.search import run_search
from mobo.space.confirmation import Repeat
from mobo.space.search_space import Design
from mobo.space.trial import Trial
from mobo.study.store import Store
from mobo.tinyml.config import StudyConfig
from mobo.tinyml.model_names import POLICY, TRAINED
from mobo.tinyml.problem import TinyMLProblem
from mobo.tinyml.setup import load_setup
from mobo.tinyml.trainings import StudyTrainings, Training
from tests.mobo.problems_for_tests import as_of_version
from tests.mobo.small_study import small_config
from tests.mobo.synthetic_run import make_run
from tests.mobo.worker_tasks import InThisProcess

SEARCHED = "compression.method=random"
# A training with three children, of which some go on from others.
FIXED = (
    "compression.method=fixed",
    "compression.start_from=finetuned",
    "sampler.name=polar_ehvi",
    "sampler.settings={initial_trials=4, first_children=3, rays=16, search={pool=32, moves=4, rounds=1}}",
    "trials=4",
)


def searched(folder: Path, *overrides: str) -> RunDirectory:
    config = small_config(*overrides)
    run = RunDirectory.create(folder, config_toml=config.to_toml())
    run_search(config, run)
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return searched(tmp_path_factory.mktemp("confirm") / "run", *FIXED)


@pytest.fixture
def run(finished: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of a finished run, to be changed."""
    return RunDirectory(shutil.copytree(finished.path, tmp_path / "run"))


def problem_of(record: RunRecord) -> TinyMLProblem:
    """The problem of a run, which finds its networks there and keeps nothing."""
    setup = load_setup(record.config)
    return TinyMLProblem(
        record.config,
        setup.data,
        setup.device,
        setup.runtime,
        save_model=lambda number, files: pytest.fail("a repeat is not kept"),
        trainings=lambda designs: StudyTrainings(designs, folder_of=record.directory.model_directory),
    )


def asked(run: RunDirectory, *overrides: str) -> StudyConfig:
    return small_config(*FIXED, "confirm.seeds=2", *overrides)


def repeats(run: RunDirectory) -> tuple[Repeat, ...]:
    with Store.open(run.store_path, read_only=True) as store:
        return store.repeats()


@pytest.fixture(scope="module")
def confirmed(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> tuple[Repeat, ...]:
    """What an unbroken confirmation records."""
    run = RunDirectory(shutil.copytree(finished.path, tmp_path_factory.mktemp("whole") / "run"))
    confirm(asked(run), run)
    return repeats(run)


def test_every_model_of_the_front_is_repeated_and_nothing_else_changes(
    finished: RunDirectory, confirmed: tuple[Repeat, ...]
) -> None:
    record = read_run(finished.path)
    numbers = sorted(trial.number for trial in record.front)
    assert len(numbers) > 1
    assert any(record.done_trial(number).sibling for number in numbers)
    assert [(entry.trial, entry.repeat) for entry in confirmed] == [(n, r) for n in numbers for r in (0, 1)]
    assert [entry.seed for entry in confirmed] == [repeat_seed(0, n, r) for n in numbers for r in (0, 1)]
    assert len({entry.seed for entry in confirmed}) == len(confirmed)
    assert not any(entry.message for entry in confirmed)
    validation = load_setup(record.config).data.validation
    assert {entry.samples for entry in confirmed} == {len(validation)}


@pytest.mark.parametrize("overrides", [FIXED, (SEARCHED,), (*FIXED, "compression.scope=global")])
def test_a_repeat_with_the_trials_own_seed_is_the_trial(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    run = searched(tmp_path / "run", *overrides)
    record = read_run(run.path)
    problem = problem_of(record)
    for trial in record.front:
        training = problem.trainings.of(trial.design, seed=trial.seed, earlier=trial.training)
        policy = CompressionPolicy.from_json((run.model_directory(trial.number) / POLICY).read_text())
        assert problem.repeated(trial, training, policy, seed=trial.seed).error == trial.outcome["validation_error"]


class Stopped(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_confirmation_that_was_stopped_anywhere_ends_like_an_unbroken_one(
    run: RunDirectory, confirmed: tuple[Repeat, ...], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    calls = 0
    original = TinyMLProblem.repeated

    def stops(problem: TinyMLProblem, *arguments: object, **options: object) -> Measured:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return original(problem, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(TinyMLProblem, "repeated", stops)
        with pytest.raises(KeyboardInterrupt):
            confirm(asked(run), run)
    assert len(repeats(run)) == after
    lines: list[str] = []
    confirm(asked(run), run, on_note=lines.append)
    assert repeats(run) == confirmed
    assert len(lines) == 1 + len(confirmed) - after
    confirm(asked(run), run, on_note=lines.append)
    assert repeats(run) == confirmed
    assert lines[-1].endswith(f": 0 of {len(confirmed)} to do")


def test_a_stop_between_a_record_and_the_next_repeat_loses_nothing(
    run: RunDirectory, confirmed: tuple[Repeat, ...]
) -> None:
    def stop(line: str) -> None:
        if line.startswith("trial"):
            raise Stopped

    for done in range(1, len(confirmed) + 1):
        with pytest.raises(Stopped):
            confirm(asked(run), run, on_note=stop)
        assert len(repeats(run)) == done
    assert repeats(run) == confirmed


@pytest.mark.parametrize("pool", [InThisProcess, pytest.param(WorkerPool, marks=pytest.mark.slow)])
def test_workers_find_what_one_process_finds(
    run: RunDirectory, confirmed: tuple[Repeat, ...], monkeypatch: pytest.MonkeyPatch, pool: type
) -> None:
    monkeypatch.setattr("mobo.runs.confirm.WorkerPool", pool)
    confirm(asked(run, "compute.jobs=2"), run)
    assert repeats(run) == confirmed


def test_more_seeds_keep_those_that_are_there(run: RunDirectory, confirmed: tuple[Repeat, ...]) -> None:
    confirm(asked(run, "confirm.seeds=1"), run)
    confirm(asked(run), run)
    assert repeats(run) == confirmed


def test_a_search_confirms_its_front_and_a_resumed_one_only_what_is_missing(
    tmp_path: Path, confirmed: tuple[Repeat, ...]
) -> None:
    run = searched(tmp_path / "run", *FIXED, "confirm.seeds=2")
    assert repeats(run) == confirmed
    lines: list[str] = []
    config = small_config(*FIXED, "confirm.seeds=3")
    assert prepare_run(config, out=run.path, resume=True) == run
    run_search(config, run, resume=True, on_note=lines.append)
    assert set(confirmed) < set(repeats(run))
    count = len(confirmed) // 2
    assert [line for line in lines if "to do" in line] == [
        f"confirming {count} models with 3 further seeds each: {count} of {3 * count} to do"
    ]


def test_a_search_without_a_front_has_nothing_to_confirm(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", SEARCHED, "confirm.seeds=2", "space.learning_rate=1e30", "trials=2")
    assert len(read_run(run.path).front) == 0
    assert repeats(run) == ()


def test_a_failing_repeat_is_recorded_and_the_others_are_made(
    run: RunDirectory, confirmed: tuple[Repeat, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TinyMLProblem.repeated
    bad = confirmed[0].seed

    def diverges(problem: TinyMLProblem, *arguments: object, **options: object) -> Measured:
        if options["seed"] == bad:
            raise EnvError("the fine-tuning diverged")
        return original(problem, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(TinyMLProblem, "repeated", diverges)
    lines: list[str] = []
    confirm(asked(run), run, on_note=lines.append)
    failed = replace(confirmed[0], error=None, message="the fine-tuning diverged")
    assert set(repeats(run)) == {failed, *confirmed[1:]}
    assert any("failed: the fine-tuning diverged" in line for line in lines)
    assert read_run(run.path).confirmed[failed.trial].repeats == 1


def test_with_trainings_the_network_is_trained_anew(run: RunDirectory, confirmed: tuple[Repeat, ...]) -> None:
    for path in run.models_path.glob(f"*/{TRAINED}"):
        path.unlink()
    confirm(asked(run, "confirm.trainings=true"), run)
    again = repeats(run)
    assert all(entry.trained_folds == 1 and entry.error is not None for entry in again)
    assert [entry.seed for entry in again] == [entry.seed for entry in confirmed]
    assert [entry.error for entry in again] != [entry.error for entry in confirmed]
    with pytest.raises(ConfirmError, match=r"with networks trained anew already.*as before \(--trainings\)"):
        confirm(asked(run), run)


def test_with_folds_every_model_is_judged_on_all_that_is_not_test_in_turn(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[tuple[int, int]]] = {}
    trainings = set()

    def repeated(problem: TinyMLProblem, trial: Trial, training: Training, *_: object, **__: object) -> Measured:
        data = problem.designs.data
        seen.setdefault(trial.number, []).append((len(data.validation), len(data.train) + len(data.reward)))
        trainings.add(training.digest)
        return Measured(0.25, None, len(data.validation))

    monkeypatch.setattr(TinyMLProblem, "repeated", repeated)
    confirm(small_config(*FIXED, "confirm.folds=3", "space.epochs=1"), run)
    whole = load_setup(read_run(run.path).config).data
    learnable = len(whole.train) + len(whole.reward) + len(whole.validation)
    for looks in seen.values():
        assert sum(held for held, _ in looks) == learnable
        assert [held + learnt for held, learnt in looks] == [learnable] * 3
    found = repeats(run)
    assert len(found) == 3 * len(read_run(run.path).front)
    assert len(trainings) == len(found)
    assert {(entry.trained_folds, entry.error) for entry in found} == {(3, 0.25)}
    with pytest.raises(ConfirmError, match=r"with 3 folds already, and this asks for the trained .* \(--folds 3\)"):
        confirm(asked(run), run)


def test_with_trainings_the_siblings_are_fine_tuned_anew_from_the_first(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[int, list[Design]] = {}

    def repeated(problem: TinyMLProblem, trial: Trial, *arguments: object, **options: object) -> Measured:
        made[trial.number] = [design for _, design, _ in options["before"]]  # type: ignore[attr-defined]
        return Measured(0.5, None, 100)

    monkeypatch.setattr(TinyMLProblem, "repeated", repeated)
    confirm(asked(run, "confirm.trainings=true"), run)
    record = read_run(run.path)
    for number, designs in made.items():
        chain, trial = [], record.done_trial(number)
        while trial.sibling:
            trial = record.done_trial(trial.sibling.trial)
            chain.append(trial.design)
        assert designs == chain[::-1]
    assert any(made.values())


def test_fine_tuned_anew_a_chain_has_the_error_of_its_parts(finished: RunDirectory) -> None:
    record = read_run(finished.path)
    problem = problem_of(record)
    trial = next(trial for trial in record.finished if trial.sibling)
    assert trial.sibling is not None
    first = record.done_trial(trial.sibling.trial)
    assert first.sibling is None
    policies = [
        CompressionPolicy.from_json((finished.model_directory(number) / POLICY).read_text())
        for number in (first.number, trial.number)
    ]
    training = problem.trainings.of(trial.design, seed=trial.seed, earlier=trial.training)
    found = problem.repeated(trial, training, policies[1], seed=7, before=[(policies[0], first.design, 7)])
    evaluator = problem.evaluator(training, seed=training.seed).reseeded(derive_seed(7, 0, "recovery"))
    compressed, _ = problem.finetuned(evaluator, policies[0], first.design)
    start = FinetunedNetwork(policies[0], compressed.state_dict())
    _, network = problem.finetuned(evaluator, policies[1], trial.design, start=start)
    assert found.error == error_of(network, load_setup(record.config).data.validation)


def test_kinds_of_repeats_are_not_mixed(run: RunDirectory) -> None:
    confirm(asked(run), run)
    with pytest.raises(ConfirmError, match=r"with the trained networks kept already.*\(without --trainings\)"):
        confirm(asked(run, "confirm.trainings=true"), run)


def test_a_run_of_before_trainings_were_shared_is_confirmed(tmp_path: Path) -> None:
    run = searched(tmp_path / "run", SEARCHED)
    confirm(small_config("confirm.seeds=1"), run)
    expected = repeats(run)
    as_of_version(run.store_path, 1)
    confirm(small_config("confirm.seeds=1"), run)
    assert repeats(run) == expected


def without(name: str) -> Callable[[RunDirectory], None]:
    def remove(run: RunDirectory) -> None:
        for path in run.models_path.glob(f"*/{name}"):
            path.unlink()

    return remove


@pytest.mark.parametrize("name", [TRAINED, POLICY])
def test_missing_files_are_named_before_any_work(run: RunDirectory, name: str) -> None:
    without(name)(run)
    with pytest.raises(ConfirmError, match=rf"{re.escape(name)} is missing, and trial \d+ of the front cannot be"):
        confirm(asked(run), run)
    assert repeats(run) == ()


def test_weights_that_are_not_those_of_the_training_stop_it_and_count_for_nothing(
    run: RunDirectory, confirmed: tuple[Repeat, ...]
) -> None:
    paths = sorted(run.models_path.glob(f"*/{TRAINED}"))
    whole = [path.read_bytes() for path in paths]
    for path in paths:
        path.write_bytes(b"damaged")
    with pytest.raises(MachineError, match="cannot be read"):
        confirm(asked(run), run)
    assert repeats(run) == ()
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
    confirm(asked(run), run)
    assert repeats(run) == confirmed


def test_a_run_that_is_being_searched_is_refused(run: RunDirectory) -> None:
    with Store.open(run.store_path), pytest.raises(StoreError, match="another process is searching"):
        confirm(asked(run), run)


def test_no_seeds_and_no_front_are_refused(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ConfirmError, match=r"confirm\.seeds is 0; a confirmation needs at least 1"):
        confirm(asked(run, "confirm.seeds=0"), run)
    empty = make_run(tmp_path / "empty", ())
    with pytest.raises(ConfirmError, match="is empty: none of 0 finished trials is feasible"):
        confirm(asked(run), empty)


def mobo(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_the_command_confirms_a_finished_run_and_writes_its_tables_and_page(
    run: RunDirectory, confirmed: tuple[Repeat, ...]
) -> None:
    result = mobo("confirm", run.path, "--seeds", 2, "--json")
    assert result.exit_code == 0, result.output
    assert repeats(run) == confirmed
    objects = json.loads(result.stdout)
    assert {entry["trial"] for entry in objects} == {entry.trial for entry in confirmed}
    assert all(entry["confirmed_repeats"] == 2 for entry in objects)
    assert f"confirming {len(objects)} models with 2 further seeds each" in result.stderr
    assert "confirmed_error" in run.front_path.read_text(encoding="utf-8").splitlines()[0]
    assert "confirmed error" in run.report_path.read_text(encoding="utf-8")
    again = mobo("confirm", run.path, "--seeds", 2)
    assert f"0 of {len(confirmed)} to do" in again.stdout
    assert "80 % of it" in again.stdout
    assert "rule: lowest confirmed error" in mobo("pick", run.path, "--device", "nucleo-l4r5zi").stdout


def test_the_command_says_how_to_go_on(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(TinyMLProblem, "repeated", interrupted)
    result = mobo("confirm", run.path, "--seeds", 4)
    assert result.exit_code == 130
    assert result.stderr.endswith(f"To go on:\n  mobo confirm {run.path} --seeds 4\n")


def test_bad_input_to_the_command_is_one_line_and_exit_code_2(run: RunDirectory, tmp_path: Path) -> None:
    assert mobo("confirm", run.path, "--seeds", 0).exit_code == 2
    empty = make_run(tmp_path / "empty", ())
    with Store.open(run.store_path):
        cases = [mobo("confirm", tmp_path), mobo("confirm", empty.path), mobo("confirm", run.path)]
    for result, message in zip(cases, ["is not a run", "is empty", "another process is searching"], strict=True):
        assert result.exit_code == 2
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_seeds_follow_from_study_trial_and_repeat() -> None:
    assert repeat_seed(3, 5, 0) == repeat_seed(3, 5, 0)
    grid = {repeat_seed(study, number, repeat) for study in (0, 1) for number in (0, 1) for repeat in (0, 1)}
    assert len(grid) == 8
