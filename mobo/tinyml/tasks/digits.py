"""The embedded default task: scikit-learn's handwritten digits."""

import numpy as np
from sklearn.datasets import load_digits as load_bunch

from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import DigitsSettings


def load_digits(settings: DigitsSettings) -> RawTask:
    """Return digits as 8x8 images with one channel, values 0 to 16.

    Source: E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI (1998), as shipped with scikit-learn.
    """
    bunch = load_bunch()
    known = Part(bunch.images.astype(np.float32)[..., None], bunch.target.astype(np.int64))
    return RawTask("scikit-learn's digits", tuple(str(name) for name in bunch.target_names), known)
