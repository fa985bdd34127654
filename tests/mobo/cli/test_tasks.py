"""``mobo tasks --download``."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mobo.cli.app import app
from tests.mobo.tinyml.tasks.archive_files import archive_of, serving

cli = CliRunner()


def test_an_archive_is_downloaded_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(5000)
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path))
    with serving(content) as server:
        archive = archive_of("cifar10", content, url=server.url)
        monkeypatch.setattr("mobo.tinyml.tasks.archives.ARCHIVES", {"cifar10": archive})
        result = cli.invoke(app, ["tasks", "--download", "cifar10"])
    assert result.exit_code == 0
    assert f"{tmp_path / 'archive.tar.gz'}: 5,000 bytes, checksum right" in result.output
    assert (tmp_path / "archive.tar.gz").read_bytes() == content


def test_a_task_without_an_archive_is_bad_input() -> None:
    result = cli.invoke(app, ["tasks", "--download", "cifar"])
    assert result.exit_code == 2
    assert "unknown task with an archive to download 'cifar'; did you mean 'cifar10'" in result.output
