import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from mobo.cli.app import app
from mobo.cli.goal_text import verdict_lines
from mobo.goal.verdict import write_verdict
from mobo.runs.directory import RunDirectory
from tests.mobo.goal.goal_study import GOAL_TEXT, made_up
from tests.mobo.synthetic_run import make_run


def mobo(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("goal")
    (folder / "study.toml").write_text(GOAL_TEXT, encoding="utf-8")
    result = mobo("search", str(folder / "study.toml"), "--trials", "2", "--out", str(folder / "run"))
    assert result.exit_code == 0, result.output
    return folder / "run", result.stdout


def test_a_search_ends_with_what_the_command_prints(run: tuple[Path, str]) -> None:
    folder, printed = run
    result = mobo("goal", str(folder))
    assert result.exit_code == 0
    assert result.stdout.startswith("goal: least flash_model_bytes at an error at most 90.00 points above")
    assert result.stdout in printed
    assert result.stdout.strip() in (folder / "log.txt").read_text(encoding="utf-8")


def test_json_is_the_verdict_with_its_ratios(run: tuple[Path, str]) -> None:
    folder, _ = run
    (found,) = json.loads(mobo("goal", str(folder), "--json").stdout)
    written = json.loads((folder / "goal.json").read_text(encoding="utf-8"))
    assert {name: found[name] for name in written} == written
    costs = [found[name]["costs"]["ram_bytes"] for name in ("chosen",)]
    assert found["int8_ratios"]["ram_bytes"] == pytest.approx(found["baseline"]["int8_costs"]["ram_bytes"] / costs[0])


def test_the_chosen_model_is_picked_and_exported(run: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = run
    chosen = json.loads((folder / "goal.json").read_text(encoding="utf-8"))["chosen"]["trial"]
    result = mobo("pick", str(folder), "--device", "nucleo-l4r5zi", "--goal", "--export", str(tmp_path / "out"))
    assert result.exit_code == 0, result.output
    assert f"picked trial {chosen} for nucleo-l4r5zi" in result.stdout
    assert "rule: the model that the goal of the run chose" in result.stdout
    assert (tmp_path / "out").is_dir()


def test_a_run_without_a_goal_says_what_to_do(tmp_path: Path) -> None:
    folder = str(make_run(tmp_path / "run").path)
    result = mobo("goal", folder)
    assert result.exit_code == 2
    assert "the study 'made-up' has no goal; add a table [goal] to its config" in result.stderr
    result = mobo("pick", folder, "--device", "nucleo-l4r5zi", "--goal")
    assert result.exit_code == 2
    assert "has no goal.json" in result.stderr


def test_a_goal_that_chose_nothing_picks_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    write_verdict(run, made_up(met=False))
    result = mobo("pick", str(run.path), "--device", "nucleo-l4r5zi", "--goal")
    assert result.exit_code == 2
    assert "is undecidable, so it chose no model" in result.stderr


def test_a_picked_goal_must_keep_the_limits(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    chosen = made_up().chosen
    assert chosen is not None
    write_verdict(run, made_up().model_copy(update={"chosen": chosen.model_copy(update={"trial": 2})}))
    asked = ["pick", str(run.path), "--device", "nucleo-l4r5zi", "--goal"]
    assert json.loads(mobo(*asked, "--json").stdout)[0]["trial"] == 2
    assert json.loads(mobo(*asked[:-1], "--flash-model-kib", "4", "--json").stdout)[0]["trial"] != 2
    result = mobo(*asked, "--flash-model-kib", "4")
    assert result.exit_code == 1
    assert "no model of this run fits" in result.stderr


def test_validation_tells_the_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(GOAL_TEXT, encoding="utf-8")
    result = mobo("validate", "study.toml")
    assert result.exit_code == 0
    assert "baseline: residual, trained, 8,628 bytes in int8; batch_size 64" in result.stdout
    assert "width sweep in int8: width=2 5,488 bytes, width=8 6,770 bytes" in result.stdout
    assert [path.name for path in Path().iterdir()] == ["study.toml"]
    result = mobo("validate", "study.toml", "goal.baseline_design={widht=2}")
    assert result.exit_code == 2
    assert "goal.baseline_design: unknown hyperparameter 'widht'" in result.stderr


def test_a_bad_baseline_is_refused_before_any_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(GOAL_TEXT, encoding="utf-8")
    result = mobo("search", "study.toml", "goal.baseline_design={widht=2}")
    assert result.exit_code == 2
    assert "unknown hyperparameter 'widht'" in result.stderr
    assert not any(Path("runs").iterdir())


class TestText:
    def test_met(self) -> None:
        lines = verdict_lines(made_up())
        assert lines[0].endswith("at most 1.00 points above the baseline's, with 95 % confidence: met")
        assert lines[1] == (
            "baseline: lenet5, trained; validation error 2.50 % in float, 2.75 % in int8 (200 samples of 12 groups)"
        )
        assert "trial 4, validation error 3.00 %, +0.50 [-1.00, +0.90] points" in lines[2]
        assert ["ram_bytes", "0.4", "KiB", "-", "-", "0.8", "KiB", "2.0"] in [
            row.split() for row in lines[3].split("\n")
        ]
        assert "width=4 in int8, model flash 0.9 KiB; validation error 8.00 %" in lines[4]
        assert "chosen 4.00 %, float baseline 3.00 %, int8 3.50 %, width sweep 10.00 %" in lines[5]

    def test_undecidable_says_why(self) -> None:
        text = "\n".join(verdict_lines(made_up(met=False)))
        assert "the nearest of 3 is trial 7: +2.00 [-2.00, +6.00] points. Half the width of an interval, 4.00" in text
        assert "200 samples of 12 groups cannot decide; use a larger validation split or a larger tolerance" in text

    def test_not_met_and_unfinished(self) -> None:
        text = "\n".join(verdict_lines(made_up(met=False, verdict="not met", finished=1)))
        assert "so far 1 of 3 trials are finished" in text
        assert "cannot decide" not in text

    def test_what_the_end_of_the_search_does_is_said(self) -> None:
        lines = verdict_lines(made_up().model_copy(update={"narrower": None, "test": None}))
        assert lines[-2:] == (
            "width sweep: not trained yet; the end of the search does it",
            "test split: not read yet; the end of the search does it",
        )

    def test_no_model_at_all(self) -> None:
        none = made_up(met=False, verdict="not met").model_copy(update={"judged": ()})
        assert verdict_lines(none)[-1].startswith("no trial is feasible yet")


def test_the_folder_of_a_verdict_is_written_whole(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    write_verdict(run, made_up())
    assert [path.name for path in tmp_path.iterdir()] == ["goal.json"]
