"""Every random choice of a study, derived from (study seed, trial number, name of the stream).

A trial's outcome therefore depends neither on the worker that ran it nor on what ran before it.
"""

import zlib

import numpy as np


def derive_seed(study_seed: int, number: int, stream: str) -> int:
    """Return a seed for one purpose of one trial.

    Args:
        study_seed: Seed of the whole study (0 or more).
        number: Number of the trial (0 or more).
        stream: What the numbers are for, e.g. ``"train"``; other names give independent numbers.

    Returns:
        An integer in [0, 2**32), accepted by numpy, torch and scikit-learn alike.

    >>> derive_seed(7, 0, "train") == derive_seed(7, 0, "train")
    True
    >>> derive_seed(7, 0, "train") == derive_seed(7, 0, "agent")
    False
    """
    # crc32 and not hash(): Python salts the hashes of strings in every process.
    sequence = np.random.SeedSequence([study_seed, number, zlib.crc32(stream.encode())])
    return int(sequence.generate_state(1, np.uint32)[0])


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed that a trial carries and its evaluation derives everything from."""
    return derive_seed(study_seed, number, "trial")
