"""The search command with a stand-in for the search itself, so that no network is trained here."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from hw_models import estimate, load_device, load_runtime
from mobo.base.errors import MoboError
from mobo.cli.app import app
from mobo.runs.directory import RunDirectory
from mobo.space.pareto import Front
from mobo.space.trial import Trial
from mobo.study.store import Store, StoreLock
from mobo.tinyml.config import StudyConfig
from tests.mobo.synthetic_run import CONFIG, TRIALS, files, network, trial

cli = CliRunner()


@dataclass(frozen=True)
class Event:
    kind: str
    trial: Trial
    trial_count: int


class StandIn:
    """Finishes the made-up trials one by one; can stop before one of them as a real search can."""

    def __init__(self) -> None:
        self.calls: list[tuple[Path, bool]] = []
        self.configs: list[StudyConfig] = []
        self.error_before: dict[int, BaseException] = {}
        self.refusal: Exception | None = None

    def run_search(
        self,
        config: StudyConfig,
        run: RunDirectory,
        *,
        resume: bool,
        lock: StoreLock,
        on_event: Callable[[Event], None],
        on_note: Callable[[str], None],
    ) -> Front:
        self.calls.append((run.path, resume))
        self.configs.append(config)
        if self.refusal is not None:
            raise self.refusal
        run.write_config(config.to_toml())
        with Store.open(run.store_path, lock=lock) as store:
            for number in range(len(store.trials()), min(config.trials or len(TRIALS), len(TRIALS))):
                if number in self.error_before:
                    raise self.error_before[number]
                entry = TRIALS[number]
                made_up = trial(config, number, entry)
                on_event(Event("started", made_up, config.trials))
                if made_up.outcome.get("validation_error") is not None:
                    run.save_model(number, files(config, entry))
                store.save(made_up)
                on_event(Event("finished", made_up, config.trials))
            front = Front.of(store.trials(), config.objectives, config.constraints)
            for made_up in front:
                on_event(Event("scoring", made_up, config.trials))
                store.set_test_error(made_up.number, TRIALS[made_up.number].test_error or 0.5)
        return front


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    module = ModuleType("mobo.search")
    module.run_search = stand_in.run_search  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mobo.search", module)
    return stand_in


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "study.toml"
    path.write_text(CONFIG)
    return path


def test_a_search_ends_with_front_pick_times_and_report(search: StandIn, config: Path) -> None:
    result = cli.invoke(app, ["search", str(config)])
    assert result.exit_code == 0, result.output
    out = result.stdout
    assert "searching made-up in runs/made-up-001, 0 of 6 trials done" in out
    assert "6 trials: 4 done, 1 failed, 1 infeasible; hypervolume 0." in out
    assert "front (3 models):" in out
    assert "picked: trial 2, validation error 10.00 %, test error 12.50 %" in out
    assert "rule: lowest validation error among the models that keep every limit; of equals, the lowest latency" in out
    assert "report: runs/made-up-001/report.html" in out
    run = RunDirectory(Path("runs/made-up-001"))
    for path in (run.report_path, run.trials_path, run.front_path, run.config_path, run.store_path):
        assert path.is_file()
    # A log gets the same lines, and no progress bar.
    assert run.log_path.read_text().splitlines() == out.splitlines()
    assert "\x1b" not in out


def test_every_finished_trial_is_one_line(search: StandIn, config: Path) -> None:
    lines = [line for line in cli.invoke(app, ["search", str(config)]).stdout.splitlines() if line.startswith("trial ")]
    # Six trials and the header of the front.
    assert len(lines) == 7
    # 0.5 + 2.0 + 1.0 + 0.001 seconds; the costs are those that `mobo front` shows.
    latency_ms = estimate(network(8), load_device("nucleo-l4r5zi"), load_runtime("tflm-cmsis-nn")).latency_ms
    expected = f"trial 0 done error 30.00 % model flash 3.2 KiB RAM 1.5 KiB latency {latency_ms:.2f} ms 3.5 s"
    assert " ".join(lines[0].split()) == expected
    assert " ".join(lines[4].split()) == "trial 4 failed the loss is NaN <b>in epoch 3</b> 7.5 s"
    assert lines[5].startswith("trial   5  infeasible  ram_bytes is at least 90000")


def test_the_time_split_names_stages_longest_first(search: StandIn, config: Path) -> None:
    lines = cli.invoke(app, ["search", str(config)]).stdout.splitlines()
    start = lines.index("where the time went:")
    # train: 2 + 3 + 4 + 5 + 6 + 7 = 27 s, median 4.5 s; agent 6 s; suggest 3 s; store 0.006 s; 36.006 s in all.
    assert lines[start + 2].split() == ["train", "4.500", "27.0", "s", "75.0"]
    assert [line.split()[0] for line in lines[start + 2 : start + 6]] == ["train", "agent", "suggest", "store"]


def test_options_and_overrides_reach_the_config_and_later_ones_win(search: StandIn, config: Path) -> None:
    cli.invoke(
        app,
        ["search", str(config), "trials=4", "sampler.name=sobol", "--trials", "2", "--seed", "11", "--confirm", "3"],
    )
    text = Path("runs/made-up-001/config.toml").read_text()
    assert "trials = 2" in text
    assert "seed = 11" in text
    assert search.configs[-1].confirm.seeds == 3
    assert 'name = "sobol"' in text


def test_hours_take_the_place_of_trials_unless_both_are_asked_for(search: StandIn, config: Path) -> None:
    result = cli.invoke(app, ["search", str(config), "--hours", "0.5"])
    assert result.exit_code == 0, result.output
    assert "0 trials done, for 0.5 h" in result.stdout
    assert (search.configs[-1].trials, search.configs[-1].hours) == (None, 0.5)
    cli.invoke(app, ["search", str(config), "--hours", "0.5", "--trials", "5"])
    assert (search.configs[-1].trials, search.configs[-1].hours) == (5, 0.5)


def test_runs_are_numbered_and_out_names_one(search: StandIn, config: Path) -> None:
    for _ in range(2):
        assert cli.invoke(app, ["search", str(config), "--trials", "1"]).exit_code == 0
    assert cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "here/there"]).exit_code == 0
    assert [str(path) for path, _ in search.calls] == ["runs/made-up-001", "runs/made-up-002", "here/there"]


def test_an_existing_folder_needs_resume(search: StandIn, config: Path) -> None:
    Path("there").mkdir()
    result = cli.invoke(app, ["search", str(config), "--out", "there"])
    assert result.exit_code == 2
    assert result.stderr == "error: there exists already; continue that run with --resume, or give another --out\n"
    assert search.calls == []


def test_resume_needs_a_run(search: StandIn, config: Path) -> None:
    result = cli.invoke(app, ["search", str(config), "--resume"])
    assert result.exit_code == 2
    assert "there is no run runs/made-up-NNN to resume" in result.stderr
    result = cli.invoke(app, ["search", str(config), "--resume", "--out", "there"])
    assert result.exit_code == 2
    assert "there is no run there to resume" in result.stderr
    assert not Path("there").exists()


def test_ctrl_c_says_how_to_go_on_and_going_on_finishes(search: StandIn, config: Path) -> None:
    search.error_before = {3: KeyboardInterrupt()}
    result = cli.invoke(app, ["search", str(config), "compression.evaluations=8", "--seed", "5"])
    assert result.exit_code == 130
    command = f"mobo search {config} compression.evaluations=8 seed=5 --out runs/made-up-001 --resume"
    assert result.stderr.splitlines()[-1].strip() == command
    search.error_before = {}
    result = cli.invoke(app, command.split()[1:])
    assert result.exit_code == 0, result.output
    assert search.calls == [(Path("runs/made-up-001"), False), (Path("runs/made-up-001"), True)]
    assert "resuming made-up in runs/made-up-001, 3 of 6 trials done" in result.stdout
    assert "6 trials: 4 done" in result.stdout


def test_resume_without_out_takes_the_newest_run(search: StandIn, config: Path) -> None:
    for _ in range(2):
        cli.invoke(app, ["search", str(config), "--trials", "1"])
    cli.invoke(app, ["search", str(config), "--trials", "2", "--resume"])
    assert search.calls[-1] == (Path("runs/made-up-002"), True)


def test_a_resumed_run_may_ask_for_more_trials_and_for_nothing_else(search: StandIn, config: Path) -> None:
    cli.invoke(app, ["search", str(config), "--trials", "1"])
    result = cli.invoke(
        app, ["search", str(config), "--trials", "2", "--resume", "--seed", "4", "objectives.1.reference=9"]
    )
    assert result.exit_code == 2
    assert (
        "was started with another config: seed is 4 now and was 3; objectives.1.reference is 9.0 now and was 65536.0"
        in (result.stderr)
    )
    assert len(search.calls) == 1
    assert cli.invoke(app, ["search", str(config), "--trials", "2", "--resume"]).exit_code == 0
    assert "trials = 2" in Path("runs/made-up-001/config.toml").read_text()


def test_a_run_is_resumed_with_as_many_jobs_as_it_was_started_with(search: StandIn, config: Path) -> None:
    search.error_before = {1: KeyboardInterrupt()}
    result = cli.invoke(app, ["search", str(config), "--jobs", "2"])
    assert "jobs = 2" in Path("runs/made-up-001/config.toml").read_text()
    assert "compute.jobs=2 --out runs/made-up-001 --resume" in result.stderr
    search.error_before = {}
    for options, seen in (([], 1), (["--jobs", "3"], 3)):
        result = cli.invoke(app, ["search", str(config), "--resume", *options])
        assert result.exit_code == 2
        assert f"was started with another config: compute.jobs is {seen} now and was 2." in result.stderr
    result = cli.invoke(app, ["search", str(config), "--resume", "--jobs", "2"])
    assert result.exit_code == 0
    assert "where the time went, 2 workers together:" in result.stdout


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_search_beside_another_one_is_refused_and_changes_nothing(search: StandIn, config: Path) -> None:
    search.error_before = {2: KeyboardInterrupt()}
    cli.invoke(app, ["search", str(config), "--out", "run"])
    Path("run/models/.2.0badc0de.part").mkdir()  # the running search writes it
    before = content(Path("run"))
    with Store.open(Path("run/study.db")):
        result = cli.invoke(app, ["search", str(config), "--trials", "31", "--out", "run", "--resume"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: another process is searching run/study.db")
    assert content(Path("run")) == before
    assert Path("run/models/.2.0badc0de.part").is_dir()


def test_a_resumed_search_that_is_refused_keeps_the_config(search: StandIn, config: Path) -> None:
    cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "run"])
    before = Path("run/config.toml").read_bytes()
    search.refusal = MoboError("the data are gone")
    assert cli.invoke(app, ["search", str(config), "--trials", "2", "--out", "run", "--resume"]).exit_code == 2
    assert Path("run/config.toml").read_bytes() == before


def test_what_killed_writers_left_is_gone_with_the_next_start(search: StandIn, config: Path) -> None:
    cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "run"])
    kept = set(content(Path("run")))
    for name in (".trials.csv.0badc0de.part", ".report.html.0badc0de.part", ".probe.0badc0de"):
        (Path("run") / name).write_text("half")
    Path("run/models/0/.verify.json.0badc0de.part").write_text("half")
    for name in ("models/.7.0badc0de.part", "models/.8.0badc0de.old", "goal/.baseline.0badc0de.part"):
        (Path("run") / name).mkdir(parents=True)
        (Path("run") / name / "weights").write_text("half")
    assert cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "run", "--resume"]).exit_code == 0
    assert set(content(Path("run"))) == kept
    assert not list(Path("run").rglob(".*"))


def test_a_run_killed_before_its_first_trial_is_begun_by_resume(search: StandIn, config: Path) -> None:
    Path("there").mkdir()  # killed between the folder and the config
    assert cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "there", "--resume"]).exit_code == 0
    assert search.calls == [(Path("there"), False)]
    Path("empty").mkdir()  # killed while the store was made
    Path("empty/study.db").touch()
    (Path("empty") / "config.toml").write_text(Path("there/config.toml").read_text())
    assert cli.invoke(app, ["search", str(config), "--trials", "1", "--out", "empty", "--resume"]).exit_code == 0
    assert search.calls[-1] == (Path("empty"), False)


def test_a_study_refused_before_its_first_trial_leaves_no_folder(search: StandIn, config: Path) -> None:
    search.refusal = MoboError("nothing fits 1 KiB; the smallest budget that would do is 3 KiB")
    result = cli.invoke(app, ["search", str(config), "--out", "there"])
    assert result.exit_code == 2
    assert result.stderr == "error: nothing fits 1 KiB; the smallest budget that would do is 3 KiB\n"
    assert not Path("there").exists()


def test_a_study_that_stops_later_keeps_its_folder(search: StandIn, config: Path) -> None:
    search.error_before = {2: MoboError("ten trials in a row failed")}
    assert cli.invoke(app, ["search", str(config), "--out", "there"]).exit_code == 2
    with Store.open(Path("there/study.db"), read_only=True) as store:
        assert len(store.trials()) == 2


def test_a_place_that_cannot_be_written_is_bad_input(search: StandIn, config: Path) -> None:
    Path("file").touch()
    result = cli.invoke(app, ["search", str(config), "--out", "file/run"])
    assert result.exit_code == 2
    assert "error: cannot write file" in result.stderr
    assert "give a folder you may write with --out" in result.stderr


def test_a_mistake_of_ours_keeps_its_traceback(search: StandIn, config: Path) -> None:
    search.error_before = {0: ZeroDivisionError("ours")}
    assert isinstance(cli.invoke(app, ["search", str(config)]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the key"),
        ("trails = 3", "did you mean 'trials'"),
        ("trials = ", "is not valid TOML"),
    ],
)
def test_a_bad_config_is_one_line_per_mistake(search: StandIn, config: Path, text: str, message: str) -> None:
    config.write_text(text)
    result = cli.invoke(app, ["search", str(config)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    assert not Path("runs").exists()


def test_a_search_without_feasible_trials_still_ends_with_a_report(search: StandIn, config: Path) -> None:
    config.write_text(CONFIG.replace("upper = 65536", "upper = 10"))
    result = cli.invoke(app, ["search", str(config)])
    assert result.exit_code == 0, result.output
    assert "the front is empty: no trial is feasible" in result.stdout
    assert Path("runs/made-up-001/report.html").is_file()


def test_a_run_with_more_trials_than_are_asked_for_says_so(search: StandIn, config: Path) -> None:
    cli.invoke(app, ["search", str(config)])
    result = cli.invoke(app, ["search", str(config), "--resume", "--trials", "2"])
    assert "6 trials done, more than the 2 asked for: no new one is proposed" in result.stdout
    assert "of 2" not in result.stdout
