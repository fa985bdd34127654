"""Large folders: read once, then from the cache, to the same samples; and samples that stay on disk."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from envs.compression.float_network.stored_inputs import StoredInputs, in_memory
from mobo.base.errors import MachineError
from mobo.runs.identity import samples_digest
from mobo.tinyml.tasks import class_folders, folder_cache, load_task
from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.settings import FolderSettings, ImageFolderSettings, WavFolderSettings
from tests.mobo.tinyml.tasks.class_folder_files import write_images, write_wavs

KINDS: dict[str, tuple[Callable[[Path], None], Callable[[Path], FolderSettings]]] = {
    "images": (write_images, lambda folder: ImageFolderSettings(name="image_folder", folder=folder)),
    "wavs": (write_wavs, lambda folder: WavFolderSettings(name="wav_folder", folder=folder, clip_s=0.1)),
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "folders"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every folder count as one that is worth keeping."""
    monkeypatch.setattr(class_folders, "KEPT_FROM_FILES", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_from_the_cache_is_what_was_read(
    kind: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, settings = KINDS[kind]
    write(tmp_path / kind)
    read = load_task(settings(tmp_path / kind))
    assert not cache.exists()
    monkeypatch.setattr(class_folders, "KEPT_FROM_FILES", 1)
    load_task(settings(tmp_path / kind))
    (entry,) = cache.iterdir()
    monkeypatch.setattr(class_folders, "_samples", None)  # nothing is read any more
    kept = load_task(settings(tmp_path / kind))
    assert samples_digest(kept) == samples_digest(read)
    assert kept.counts == read.counts
    monkeypatch.setattr(folder_cache, "HELD_BYTES", 0)
    on_disk = load_task(settings(tmp_path / kind))
    assert isinstance(on_disk.train.x, StoredInputs)
    for split in ("train", "reward", "validation"):
        torch.testing.assert_close(
            in_memory(getattr(on_disk, split).x), in_memory(getattr(read, split).x), rtol=1e-6, atol=1e-6
        )
        assert torch.equal(getattr(on_disk, split).y, getattr(read, split).y)
    assert torch.equal(on_disk.load_test().y, read.load_test().y)
    assert entry.is_dir()


@pytest.mark.usefixtures("large")
def test_a_changed_file_or_setting_is_another_entry(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "images"
    write_images(folder)
    for size, changed in ((None, False), (None, True), ((3, 3), False)):
        if changed:
            os.utime(folder / "low" / "0.png", ns=(0, 0))
        load_task(ImageFolderSettings(name="image_folder", folder=folder, size=size, split_seed=len(str(size))))
    assert len(list(cache.iterdir())) == 3


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("damage", ["values", "rest"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, cache: Path, damage: str) -> None:
    write, settings = KINDS["images"]
    write(tmp_path / "images")
    before = samples_digest(load_task(settings(tmp_path / "images")))
    (entry,) = cache.iterdir()
    (path,) = (path for path in entry.iterdir() if damage in path.name)
    path.write_bytes(path.read_bytes()[:-7])
    left = [cache / ".old.part", cache / ".new.part"]
    for folder in left:
        folder.mkdir()
    os.utime(left[0], ns=(0, 0))
    assert samples_digest(load_task(settings(tmp_path / "images"))) == before
    # Another process may be at the newer one.
    assert [folder.exists() for folder in left] == [False, True]


@pytest.mark.usefixtures("large")
def test_the_least_recently_used_goes_where_room_is_needed(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, settings = KINDS["images"]
    for place, name in enumerate("abc"):
        write(tmp_path / name)
        load_task(settings(tmp_path / name))
        if place == 0:
            size = sum(path.stat().st_size for path in next(cache.iterdir()).iterdir())
            monkeypatch.setattr(folder_cache, "CACHE_BYTES", 5 * size // 2)
        for entry in cache.iterdir():
            os.utime(entry, ns=(1, entry.stat().st_mtime_ns - 10**9))
    assert len(list(cache.iterdir())) == 2
    monkeypatch.setattr(folder_cache, "CACHE_BYTES", 10)
    write(tmp_path / "d")
    with pytest.raises(TaskError, match=r"at most 10 are kept: make them smaller, or fewer"):
        load_task(settings(tmp_path / "d"))
    assert len(list(cache.iterdir())) == 2


@pytest.mark.usefixtures("large")
def test_files_that_do_not_go_together_leave_nothing(tmp_path: Path, cache: Path) -> None:
    write_wavs(tmp_path / "wavs")
    write_wavs(tmp_path / "wavs" / "low", files=1, rate_hz=8000)
    with pytest.raises(TaskError, match="all files must have one rate"):
        load_task(WavFolderSettings(name="wav_folder", folder=tmp_path / "wavs", clip_s=0.1))
    assert list(cache.iterdir()) == []


@pytest.mark.usefixtures("large")
def test_a_cache_that_cannot_be_written_is_the_machines_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, settings = KINDS["images"]
    write(tmp_path / "images")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOBO_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(
        MachineError, match=r"prepared samples cannot be kept in .* MOBO_CACHE_DIR names another folder"
    ):
        load_task(settings(tmp_path / "images"))


def test_moments_of_stored_samples_standardise_alike() -> None:
    values = np.random.default_rng(0).normal(50, 9, (30, 4, 5, 1)).astype(np.float32)
    mean, deviation = StoredInputs(values).moments((0, 1))
    np.testing.assert_allclose(mean, values.mean(axis=(0, 1), keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(deviation, values.std(axis=(0, 1), keepdims=True), rtol=1e-6)
