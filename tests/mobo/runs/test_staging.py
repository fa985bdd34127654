from pathlib import Path

import pytest

from mobo.runs.directory import RunDirectoryError
from mobo.runs.staging import check_free, next_path, publish, staged_run


def test_a_run_appears_when_it_is_published_and_nothing_else_does(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "run"
    with staged_run(out, config_toml="a = 1") as staged:
        assert not out.exists()
        made = publish(staged, out, numbered=False)
    assert made.path == out
    assert made.config_path.read_text() == "a = 1"
    assert [path.name for path in out.parent.iterdir()] == ["run"]


def test_an_error_takes_everything_away(tmp_path: Path) -> None:
    def interrupted() -> None:
        with staged_run(tmp_path / "run", config_toml="") as staged:
            staged.save_model(0, {"policy.json": b"{}"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_numbers_go_on_after_the_highest(tmp_path: Path) -> None:
    for name in ("run-002", "run-010", "other-040"):
        (tmp_path / name).mkdir()
    with staged_run(tmp_path / "run", config_toml="") as staged:
        assert publish(staged, tmp_path / "run", numbered=True).path == tmp_path / "run-011"


def test_a_number_that_another_process_took_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if target.name == "run-001":
            target.mkdir()
            (target / "config.toml").touch()
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    with staged_run(tmp_path / "run", config_toml="") as staged:
        assert publish(staged, tmp_path / "run", numbered=True).path.name == "run-002"


def test_a_name_that_was_taken_meanwhile_is_refused_and_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with staged_run(out, config_toml="") as staged:
        out.write_text("mine")
        with pytest.raises(RunDirectoryError, match="exists already"):
            publish(staged, out, numbered=False)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("run", "mine")]


def test_a_dangling_link_is_no_free_place(tmp_path: Path) -> None:
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunDirectoryError, match="exists already"):
        check_free(tmp_path / "run")


def test_a_place_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunDirectoryError, match="give a folder you may write with --out"),
        staged_run(tmp_path / "file" / "run", config_toml=""),
    ):
        pytest.fail("the work began")


def test_the_first_number_is_one(tmp_path: Path) -> None:
    assert next_path(tmp_path / "run") == tmp_path / "run-001"
