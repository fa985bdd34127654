"""Speech Commands v0.02 from its official archive: twelve classes of one-second clips as MFCC maps.

Ten words are classes, all others together are ``_unknown_``, of which as many are drawn as a word has, and stretches of
the background noises are ``_silence_``. The finest maps are computed once and kept in the cache; coarser ones are parts
of them, for a coefficient does not depend on how many there are, nor a frame on how many stand before the next.

Source: P. Warden: Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition (arXiv 1804.03209).
"""

import io
import tarfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from mobo.base.atomic_write import write_bytes
from mobo.tinyml.tasks.archives import archive_for, cache_directory, find_archive, open_tar, tar_content
from mobo.tinyml.tasks.data import Sensor, TaskError
from mobo.tinyml.tasks.data_files import read_arrays
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.parts import Array, Part, RawTask
from mobo.tinyml.tasks.settings import SpeechCommandsSettings
from mobo.tinyml.tasks.wav_folder import read_wav

WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SILENCE, UNKNOWN = "_silence_", "_unknown_"
CLASS_NAMES = (*WORDS, SILENCE, UNKNOWN)
_NOISE_FOLDER, _TEST_LIST = "_background_noise_", "testing_list.txt"
_RATE_HZ = 16000
_FRAME_EVERY_MS, _COEFFICIENTS = 10, 40
# Silent clips begin every tenth of a second; those of ten seconds are one group, as they overlap. Every tenth group of
# a noise is for the test. That makes silence about as frequent as a word.
_SILENCE_HOP, _BLOCK = _RATE_HZ // 10, 10 * _RATE_HZ
_TEST_BLOCKS = 10
_SEED = 0


def load_speech_commands(settings: SpeechCommandsSettings) -> RawTask:
    """Return maps of 49x10, or what is asked for, with speakers as groups and the official test list as the test split.

    Raises:
        TaskError: The archive is missing, broken or holds something else.
    """
    archive = archive_for("speech_commands")
    kept = cache_directory() / f"{archive.file.removesuffix('.tar.gz')}_mfcc_{_FRAME_EVERY_MS}ms.npz"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        new = read_archive(find_archive(archive))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x=new["x"], y=new["y"], group=new["group"], is_test=new["is_test"])
        write_bytes(kept, buffer.getvalue())
    arrays = read_arrays(kept)
    known, test = (_part(arrays, settings, is_test=is_test) for is_test in (False, True))
    return RawTask(str(kept), CLASS_NAMES, known, test, sensor=Sensor(1, rate_hz=_RATE_HZ))


def _part(arrays: Mapping[str, Array], settings: SpeechCommandsSettings, *, is_test: bool) -> Part:
    chosen = arrays["is_test"] == is_test
    maps = arrays["x"][:, :: settings.step_ms // _FRAME_EVERY_MS, : settings.coefficients]
    x = maps[chosen].astype(np.float32)[..., None]
    return Part(x, arrays["y"][chosen].astype(np.int64), arrays["group"][chosen])


def read_archive(path: Path) -> Mapping[str, Array]:
    """Return the clips of the archive at a path as arrays.

    Returns:
        ``x`` maps ``(n, 98, 40)``, ``y`` labels, ``group`` speakers (or stretches of noise), ``is_test``.

    Raises:
        TaskError: The test list is missing, or a clip cannot be read.
    """
    features = Mfcc(_RATE_HZ, _RATE_HZ, _COEFFICIENTS, step_ms=_FRAME_EVERY_MS)
    names, test_names = _names(path)
    chosen = _chosen(names, test_names)
    rows = [
        (features(clip.samples), CLASS_NAMES.index(clip.class_name), clip.group, clip.is_test)
        for clip in _clips(path, chosen, test_names)
    ]
    x, y, groups, is_test = zip(*rows, strict=True)
    return {
        "x": np.stack(x).astype(np.float16),
        "y": np.array(y),
        "group": np.array(groups),
        "is_test": np.array(is_test),
    }


@dataclass(frozen=True, eq=False)
class _Clip:
    samples: npt.NDArray[np.generic]
    class_name: str
    group: str
    is_test: bool


def _names(path: Path) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the names of all clips and of those of the test split."""
    names: list[str] = []
    test_list: str | None = None
    with open_tar(path) as archive:
        for member in archive:
            name = _name(member)
            if name == _TEST_LIST:
                test_list = tar_content(archive, member).decode()
            elif name.endswith(".wav") and not name.startswith(_NOISE_FOLDER):
                names.append(name)
    if test_list is None or not names:
        raise TaskError(f"{path} holds no {_TEST_LIST} or no clips; it is no archive of Speech Commands")
    return tuple(names), frozenset(test_list.split())


def _chosen(names: Sequence[str], test_names: Collection[str]) -> frozenset[str]:
    """Return the clips of the ten words and, in both parts, as many of all others as an average word has."""
    generator = np.random.default_rng(_SEED)
    chosen = {name for name in names if _word(name) in WORDS}
    for is_test in (False, True):
        part = [name for name in names if (name in test_names) == is_test]
        others = sorted(name for name in part if _word(name) not in WORDS)
        count = min(len(others), round((len(part) - len(others)) / len(WORDS)))
        chosen.update(others[index] for index in generator.permutation(len(others))[:count])
    return frozenset(chosen)


def _clips(path: Path, chosen: Collection[str], test_names: Collection[str]) -> Iterator[_Clip]:
    """Yield the chosen clips and all of silence, in the archive's order: going back in it would unpack it anew."""
    with open_tar(path) as archive:
        for member in archive:
            name = _name(member)
            is_noise = name.startswith(_NOISE_FOLDER) and name.endswith(".wav")
            if name not in chosen and not is_noise:
                continue
            rate_hz, samples = read_wav(tar_content(archive, member), f"{path}: {name}")
            if rate_hz != _RATE_HZ:
                raise TaskError(f"{path}: {name} has {rate_hz} samples per second; {_RATE_HZ} are expected")
            if is_noise:
                yield from _silence(name, samples)
            else:
                word = _word(name)
                speaker = PurePosixPath(name).name.partition("_nohash_")[0]
                yield _Clip(samples[:_RATE_HZ], word if word in WORDS else UNKNOWN, speaker, name in test_names)


def _silence(name: str, samples: npt.NDArray[np.generic]) -> Iterator[_Clip]:
    for block, start in enumerate(range(0, len(samples) - _RATE_HZ + 1, _BLOCK)):
        stretch = samples[start : start + _BLOCK]
        for offset in range(0, len(stretch) - _RATE_HZ + 1, _SILENCE_HOP):
            clip = stretch[offset : offset + _RATE_HZ]
            yield _Clip(clip, SILENCE, f"{name}:{block}", block % _TEST_BLOCKS == 0)


def _name(member: tarfile.TarInfo) -> str:
    """Return a member's name without the leading ``./`` of the archive."""
    return str(PurePosixPath(member.name))


def _word(name: str) -> str:
    return PurePosixPath(name).parent.name
