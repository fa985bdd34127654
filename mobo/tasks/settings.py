"""What a config may say about a task; frozen, unknown keys forbidden, no data touched."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0.0, lt=0.5)]


class _Splits(BaseModel):
    """How much of the training data is set apart, and by which seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward_fraction: Fraction = 0.15
    validation_fraction: Fraction = 0.2
    test_fraction: Fraction = 0.2
    split_seed: int = 0


class DigitsSettings(_Splits):
    """Handwritten digits of scikit-learn: 1,797 images of 8x8 in 10 classes, no download.

    Attributes:
        name: Always ``"digits"``.
        test_fraction: Part of all images that is the test split.
        validation_fraction: Part of the rest on which designs are judged.
        reward_fraction: Part of the rest on which the agent's reward is computed.
        split_seed: Seed of the split, apart from the study's seed so that studies stay comparable.
    """

    name: Literal["digits"] = "digits"


class NpzSettings(_Splits):
    """Your own arrays in an .npz file: x_train, y_train, optional x_test, y_test and group ids.

    Attributes:
        name: Always ``"npz"``.
        file: Path of the file; a relative one is looked up in the current folder, then in the folder
            ``MOBO_DATA_DIR`` names.
        layout: Meaning of the axes after the first: ``hwc`` an image, ``hw`` a map with one channel (a spectrogram),
            ``length_channels`` a
            signal with channels last, ``length`` a signal with one channel. Needed where it is ambiguous (two axes).
        standardise: ``channel`` subtracts the mean of each channel and divides by its deviation; ``column`` does so
            for each column
            of a map (each coefficient of an MFCC); ``none`` leaves values alone. Always computed on the train split.
        group_key: Name of the array with one group id per training sample (speaker, subject, device). With it no
            group is on both sides of a split.
        test_group_key: The same for the test arrays; checked to be disjoint from the training groups.
        test_fraction: Part set apart as the test split where the file has no x_test.
    """

    name: Literal["npz"]
    file: Path
    layout: Literal["hwc", "hw", "length_channels", "length"] | None = None
    standardise: Literal["channel", "column", "none"] = "channel"
    group_key: str | None = None
    test_group_key: str | None = None


TaskSettings = Annotated[DigitsSettings | NpzSettings, Field(discriminator="name")]
TASKS: Mapping[str, type[DigitsSettings] | type[NpzSettings]] = MappingProxyType(
    {"digits": DigitsSettings, "npz": NpzSettings}
)
