"""What a task's settings ask of the chip before the network, and the input that this gives, without any data."""

from hw_models.front_end import FrontEndWork, ImageWork, MfccWork, WindowWork
from mobo.tinyml.tasks.compact import SPEECH_HZ
from mobo.tinyml.tasks.data import Sensor, TaskError
from mobo.tinyml.tasks.mfcc import Mfcc
from mobo.tinyml.tasks.settings import (
    AnomalySettings,
    CsvFolderSettings,
    DaliacSettings,
    ImageFolderSettings,
    KeywordsSettings,
    SpeechCommandsSettings,
    SplitSettings,
    WavFolderSettings,
    WisdmSettings,
)
from mobo.tinyml.tasks.wav_folder import wav_features


def front_end_work(settings: SplitSettings, sensor: Sensor | None) -> FrontEndWork:
    """Return the work of a task's front end.

    Args:
        settings: The task's.
        sensor: What gives its samples.

    Raises:
        TaskError: The settings make no sense with that sensor, or the task has no front end whose cost is known.
    """
    standardise = settings.standardise if settings.mean is None else "channel"
    if isinstance(settings, AnomalySettings):
        settings = settings.of
    if sensor is None:
        raise TaskError("the task has no front end whose costs are known; task.front_end = 'auto' leaves it out")
    if isinstance(settings, WavFolderSettings) and sensor.rate_hz is not None:
        return mfcc_work(wav_features(settings, sensor.rate_hz), standardise)
    if isinstance(settings, KeywordsSettings | SpeechCommandsSettings):
        features = Mfcc(SPEECH_HZ, SPEECH_HZ, settings.coefficients, step_ms=settings.step_ms)
        return mfcc_work(features, standardise)
    if isinstance(settings, CsvFolderSettings | DaliacSettings | WisdmSettings):
        rows = settings.window // settings.every
        # Every channel has a unit of its own.
        constants = sensor.channels * (rows if standardise == "column" else 1)
        return WindowWork(rows, sensor.channels, constants)
    assert isinstance(settings, ImageFolderSettings)
    if sensor.size is None:
        raise TaskError(
            "the images are of several sizes, those of a camera are not, so what making them smaller takes on the chip "
            "is unknown; scale them first"
        )
    channels = 3 if settings.colour == "rgb" else 1
    # A colour camera whose images are grey all over gives grey ones where no colours are asked for.
    source = (*sensor.size, max(channels, sensor.channels))
    return ImageWork(source, (*(settings.size or sensor.size), channels), 1 if standardise == "none" else channels)


def mfcc_work(features: Mfcc, standardise: str) -> MfccWork:
    """Return the work of some features, standardised by coefficient (``column``) or as a whole."""
    return MfccWork(
        sample_rate_hz=features.sample_rate_hz,
        clip_samples=features.clip_samples,
        frames=features.frames,
        frame_samples=features.window,
        fft_length=features.fft_length,
        coefficients=features.coefficients,
        highest_hz=features.highest_hz,
        stage_rows=features.coefficients if standardise == "column" else 1,
    )
