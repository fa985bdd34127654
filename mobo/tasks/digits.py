"""The embedded default task: scikit-learn's handwritten digits."""

import numpy as np
from sklearn.datasets import load_digits

from mobo.tasks.data import Standardisation, TaskData, to_samples
from mobo.tasks.settings import DigitsSettings
from mobo.tasks.splits import cut


def load_digits_task(settings: DigitsSettings) -> TaskData:
    """Return digits as 8x8 images with one channel, values standardised on the train split.

    Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998), as shipped with scikit-learn.
    """
    bunch = load_digits()
    x = bunch.images.astype(np.float32)[..., None]
    y = bunch.target.astype(np.int64)
    test, rest = cut(y, [settings.test_fraction], groups=None, seed=settings.split_seed)
    fractions = [settings.reward_fraction, settings.validation_fraction]
    reward, validation, train = (rest[part] for part in cut(y[rest], fractions, groups=None, seed=settings.split_seed))
    standardisation = Standardisation.of(x[train], "channel")
    return TaskData(
        input_shape=(8, 8, 1),
        class_names=tuple(str(name) for name in bunch.target_names),
        train=to_samples(x[train], y[train], standardisation),
        reward=to_samples(x[reward], y[reward], standardisation),
        validation=to_samples(x[validation], y[validation], standardisation),
        load_test=lambda: to_samples(x[test], y[test], standardisation),
        standardisation=standardisation,
    )
