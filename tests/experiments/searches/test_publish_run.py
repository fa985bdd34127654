"""The page of a run says what its store says."""

from pathlib import Path

import pytest

from experiments.searches.publish_run import publish
from mobo.runs.record import read_run
from tests.mobo.test_search import search


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    search(folder)
    return folder


def test_the_folder_holds_tables_picture_and_page(run: Path, tmp_path: Path) -> None:
    record = read_run(run)
    publish(record, tmp_path / "out", command="mobo search x.toml", beside="Beside: 12.7 %.")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "config.toml", "front.csv", "front.png", "run.json", "trials.csv",
    }  # fmt: skip
    page = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    best = record.front.trials[0]
    assert f"trial {best.number} has a test error of {100 * record.test_errors[best.number]:.2f} %" in page
    assert "Beside: 12.7 %." in page
    assert len((tmp_path / "out" / "front.csv").read_text().splitlines()) == 1 + len(record.front.trials)
