"""Three data sets as folders, as somebody with recordings of their own has them: images, sound, motion.

Images are photographs of the compact ``cifar10`` as PNG, motion is ``wisdm`` as CSV files of few people; both need
``MOBO_DATA_DIR``. Sound is **made**: eight words said by forty voices of eSpeak NG (the package ``espeakng-loader``
brings it), in noise; the 48 real recordings of the data folder are too few to learn and to test from.
"""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.io import wavfile
from scipy.signal import resample_poly

from mobo.base.errors import MoboError
from mobo.tinyml.tasks.data_files import find_data_file, read_arrays

_CLASSES, _IMAGES_OF_CLASS = 4, {"train": 500, "test": 200}
_PEOPLE, _AXES = 6, ("x", "y", "z")
_WORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go")
_VOICES = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky", "Lee",
    "Marco", "Mario", "Michael", "Mike", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris",
    "david", "ed", "edward", "grandma", "grandpa", "linda", "f1", "f2", "f3", "f4", "f5", "m1", "m3", "m5", "m7",
    "pablo", "steph",
)  # fmt: skip
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029")
_TAKES, _RATE_HZ, _MOST_DB = 2, 16_000, 15.0
# espeak_AUDIO_OUTPUT, espeak_PARAMETER and encoding of eSpeak NG's speak_lib.h.
_SYNCHRONOUS, _RATE, _PITCH, _UTF8 = 2, 1, 3, 1

_Samples = npt.NDArray[np.int16]
_Generator = np.random.Generator


def write_images(folder: Path) -> None:
    """Write photographs of the first four classes as ``train/<class>/<number>.png``, and so ``test``."""
    arrays = read_arrays(find_data_file(Path("cifar10_subset.npz")))
    for (part, count), label in product(_IMAGES_OF_CLASS.items(), range(_CLASSES)):
        place = folder / part / str(arrays["class_names"][label])
        place.mkdir(parents=True)
        for number in np.flatnonzero(arrays[f"y_{part}"] == label)[:count]:
            Image.fromarray(arrays[f"x_{part}"][number]).save(place / f"{number}.png")


def write_motion(folder: Path) -> None:
    """Write recordings of six people as ``train/<activity>/<person>_<number>.csv``, of all thirteen others ``test``.

    The windows of the file overlap by half; those that follow each other are joined again.
    """
    arrays = read_arrays(find_data_file(Path("wisdm_watch_accel.npz")))
    for part, most in (("train", _PEOPLE), ("test", None)):
        x, y, person = arrays[f"x_{part}"], arrays[f"y_{part}"], arrays[f"subject_{part}"]
        for who, label in product(np.unique(person)[:most], np.unique(y)):
            place = folder / part / str(arrays["class_names"][label])
            place.mkdir(parents=True, exist_ok=True)
            windows = x[(person == who) & (y == label)]
            for number, recording in enumerate(_joined(windows)):
                table = pd.DataFrame(recording.astype(np.float32), columns=list(_AXES))
                table.to_csv(place / f"{who}_{number}.csv", index=False)


def _joined(windows: npt.NDArray[np.generic]) -> Iterator[npt.NDArray[np.generic]]:
    """Yield recordings: each window is followed by the one that begins with its second half."""
    half = windows.shape[1] // 2
    starts = {window[:half].tobytes(): number for number, window in enumerate(windows)}
    following = [starts.get(window[half:].tobytes()) for window in windows]
    seen: set[int] = set()
    for number in [number for number in range(len(windows)) if number not in set(following)]:
        recording = [windows[number][:half]]
        place: int | None = number
        while place is not None and place not in seen:
            seen.add(place)
            recording.append(windows[place][half:])
            place = following[place]
        yield np.concatenate(recording)


def write_sound(folder: Path) -> None:
    """Write words as ``<word>/<voice>_<take>.wav``: one second each, somewhere in it a word, in noise of 0 to 15 dB."""
    say, generator = _synthesiser(), np.random.default_rng(0)
    for word in _WORDS:
        (folder / word).mkdir(parents=True)
    for (number, voice), word, take in product(enumerate(_VOICES), _WORDS, range(_TAKES)):
        accent = _ACCENTS[number % len(_ACCENTS)]
        spoken = say(f"{accent}+{voice}", word, int(generator.integers(130, 210)), int(generator.integers(35, 65)))
        wavfile.write(folder / word / f"{voice.lower()}_{take}.wav", _RATE_HZ, _in_noise(spoken, generator))


def _in_noise(spoken: npt.NDArray[np.float64], generator: _Generator) -> _Samples:
    spoken = spoken[:_RATE_HZ]
    start = int(generator.integers(0, _RATE_HZ - len(spoken) + 1))
    # Low frequencies are louder, as they are in rooms.
    noise = np.fft.irfft(np.fft.rfft(generator.normal(size=_RATE_HZ)) / np.sqrt(1 + np.arange(_RATE_HZ // 2 + 1)))
    decibel = generator.uniform(0, _MOST_DB)
    noise *= np.sqrt((spoken**2).mean() / (noise**2).mean()) / 10 ** (decibel / 20)
    noise[start : start + len(spoken)] += spoken
    return np.asarray(0.7 * 2**15 * noise / np.abs(noise).max(), dtype=np.int16)


def _synthesiser() -> Callable[[str, str, int, int], npt.NDArray[np.float64]]:
    """Return what says a word: of voice, word, words per minute and pitch (0 to 100) the samples at 16 kHz."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise MoboError("the spoken words need a package: pip install espeakng-loader==0.2.4") from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    chunks: list[_Samples] = []

    def keep(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if samples and count:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    callback = kind(keep)
    library.espeak_SetSynthCallback(callback)

    def say(voice: str, word: str, words_per_minute: int, pitch: int) -> npt.NDArray[np.float64]:
        chunks.clear()
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise MoboError(f"eSpeak NG has no voice {voice!r}")
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        text = word.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 1, 0, _UTF8, None, None)
        library.espeak_Synchronize()
        samples = np.concatenate(chunks).astype(np.float64)
        loud = np.flatnonzero(np.abs(samples) > 0.02 * np.abs(samples).max())
        # The callback has to live as long as what calls it.
        assert callback is not None
        return np.asarray(resample_poly(samples[loud[0] : loud[-1] + 1], _RATE_HZ, rate_hz))

    return say


FOLDERS: Mapping[str, Callable[[Path], None]] = {"images": write_images, "sound": write_sound, "motion": write_motion}
"""What writes each, by its name."""
