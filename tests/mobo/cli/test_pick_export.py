"""``mobo pick --export --verify``: the picked model's files, what verifying them found, and the report that shows it."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from mobo.export.exported_model import read_export
from mobo.export.tools import INSTALL, TFLM
from mobo.export.verify import c_checks, c_costs
from mobo.runs.directory import RunDirectory
from tests.mobo.export.exportable_run import SCORED, make_exportable_run

pytest.importorskip("tflite_micro", reason=INSTALL[TFLM])
cli = CliRunner()
OWN = "nucleo-l4r5zi"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return make_exportable_run(tmp_path_factory.mktemp("made") / "run")


@pytest.fixture
def run(made: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(made.path, tmp_path / "run")))


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_checks, "EMULATED_CORES", ("cortex-m4",))


def test_the_picked_model_is_exported_verified_and_shown(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--export", str(out), "--verify"])
    assert result.exit_code == 0, result.output
    assert f"picked trial {SCORED}" in result.stdout
    assert "every promise" in result.stdout
    shown = result.stdout[result.stdout.index("exported:") :].splitlines()
    assert len(shown) <= 14
    assert shown[-1] == f"report: {run.report_path}"
    manifest = read_export(out).manifest
    assert (manifest.trial, sorted(manifest.formats)) == (SCORED, ["c", "tflite"])
    found = json.loads((out / "verify.json").read_text())
    assert json.loads((run.model_directory(SCORED) / "verify.json").read_text()) == found
    page = run.report_path.read_text()
    assert "Verified on the desk" in page
    assert "every promise" in page
    assert "planned_arena_bytes" in page


def test_verifying_needs_something_exported(run: RunDirectory) -> None:
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--verify"])
    assert result.exit_code == 2
    assert "give --export DIR too" in result.stderr


def test_without_verify_nothing_is_verified(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--export", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)[0]["trial"] == SCORED
    assert not (out / "verify.json").exists()
    assert not run.report_path.exists()


def test_an_existing_folder_is_refused_and_left_alone(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--export", str(out), "--verify"])
    assert result.exit_code == 2
    assert "exists already" in result.stderr
    assert [path.name for path in out.iterdir()] == ["mine"]
    assert not run.report_path.exists()


def test_when_nothing_fits_nothing_is_exported(run: RunDirectory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--ram-kib", "0.1", "--export", str(out)])
    assert result.exit_code == 1
    assert not out.exists()


def test_a_broken_promise_is_told_by_the_exit_code(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The RAM is promised whatever compiler builds the image.
    monkeypatch.setattr(c_costs, "_FIRMWARE_BYTES", 9)
    result = cli.invoke(app, ["pick", str(run.path), "--device", OWN, "--export", str(tmp_path / "out"), "--verify"])
    assert result.exit_code == 1
    assert "a promise is broken" in result.stdout
    assert "a promise is broken" in run.report_path.read_text()


def test_a_damaged_verification_is_named(run: RunDirectory) -> None:
    (run.model_directory(SCORED) / "verify.json").write_text('{"name": 1}')
    result = cli.invoke(app, ["report", str(run.path)])
    assert result.exit_code == 2
    assert "verify.json cannot be read" in result.stderr
