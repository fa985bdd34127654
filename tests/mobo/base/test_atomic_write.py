from pathlib import Path

import pytest

from mobo.base import atomic_write


def test_the_content_is_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "front.csv"
    atomic_write.write_text(path, "old")
    atomic_write.write_text(path, "größer")
    assert path.read_bytes() == "größer".encode()
    assert [entry.name for entry in tmp_path.iterdir()] == ["front.csv"]


def test_a_failed_write_keeps_the_old_content_and_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "front.csv"
    path.write_text("old")

    def disk_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_write.os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write.write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["front.csv"]


def test_the_new_content_is_complete_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "front.csv"
    path.write_text("old")
    seen: list[tuple[str, bytes]] = []
    rename = Path.replace

    def watched(part: Path, target: Path) -> Path:
        seen.append((target.read_text(), part.read_bytes()))
        return rename(part, target)

    monkeypatch.setattr(Path, "replace", watched)
    atomic_write.write_bytes(path, b"new")
    assert seen == [("old", b"new")]
    assert path.read_bytes() == b"new"


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write.write_text(tmp_path / "nowhere" / "front.csv", "x")
