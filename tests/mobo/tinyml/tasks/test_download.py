"""Downloading from a server on this machine: whole, interrupted, damaged, absent."""

from pathlib import Path

import pytest

from mobo.tinyml.tasks.archives import ARCHIVES, find_archive
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.download import download
from tests.mobo.tinyml.tasks.archive_files import Server, archive_of, serving

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MOBO_DATA_DIR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def server():
    with serving(CONTENT) as state:
        yield state


def test_a_download_is_whole_and_happens_once(server: Server, cache: Path) -> None:
    archive = archive_of("cifar10", CONTENT, url=server.url)
    seen: list[int] = []
    path = download(archive, progress=seen.append)
    assert path.read_bytes() == CONTENT
    assert seen == sorted(seen)
    assert seen[-1] == len(CONTENT)
    assert download(archive) == find_archive(archive) == path
    assert server.ranges == [None]
    assert [file.name for file in cache.iterdir()] == ["archive.tar.gz"]


def test_an_interrupted_download_goes_on_where_it_stopped(server: Server, cache: Path) -> None:
    archive = archive_of("cifar10", CONTENT, url=server.url)
    server.stops_after = 300_000
    with pytest.raises(TaskError, match=r"stopped at 300,000 of 1,024,000 bytes\. Run mobo tasks --download cifar10"):
        download(archive)
    with pytest.raises(TaskError, match="is not here"):
        find_archive(archive)
    server.stops_after = None
    assert download(archive).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-"]


def test_a_server_without_ranges_sends_it_anew(server: Server, cache: Path) -> None:
    archive = archive_of("cifar10", CONTENT, url=server.url)
    server.stops_after = 300_000
    with pytest.raises(TaskError, match="stopped at"):
        download(archive)
    server.stops_after, server.takes_ranges = None, False
    assert download(archive).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (CONTENT[:-1] + b"?", "has the checksum [0-9a-f]{64}, expected is [0-9a-f]{64}"),
        (
            CONTENT + b"more",
            r"is another file: it has 1,024,004 bytes, http://127\.0\.0\.1:\d+/archive.tar.gz has 1,024,000",
        ),
    ],
)
def test_a_wrong_file_is_deleted(server: Server, cache: Path, sent: bytes, message: str) -> None:
    archive = archive_of("cifar10", CONTENT, url=server.url)
    server.content = sent
    with pytest.raises(TaskError, match=message):
        download(archive)
    assert list(cache.iterdir()) == []
    server.content = CONTENT
    assert download(archive).read_bytes() == CONTENT


def test_an_unreachable_server_is_one_error() -> None:
    with serving(CONTENT) as state:
        url = state.url
    with pytest.raises(TaskError, match=r"cannot be downloaded: .* put archive\.tar\.gz into .*cache yourself"):
        download(archive_of("cifar10", CONTENT, url=url))


def test_an_archive_put_there_by_hand_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = archive_of("cifar10", CONTENT)
    monkeypatch.setenv("MOBO_DATA_DIR", str(tmp_path))
    with pytest.raises(TaskError, match=r"looked at: .*cache.*\); get it with: mobo tasks --download cifar10"):
        find_archive(archive)
    (tmp_path / "archive.tar.gz").write_bytes(CONTENT[:-5])
    with pytest.raises(TaskError, match=r"is truncated: it has 1,023,995 bytes, .* delete it and run"):
        find_archive(archive)
    (tmp_path / "archive.tar.gz").write_bytes(CONTENT)
    assert find_archive(archive) == tmp_path / "archive.tar.gz"


def test_the_official_archives_are_named_by_their_task() -> None:
    assert all(task == archive.task and len(archive.sha256) == 64 for task, archive in ARCHIVES.items())
