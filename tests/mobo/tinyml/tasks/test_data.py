import numpy as np
import torch

from mobo.tinyml.tasks.data import Standardisation, to_samples


def test_samples_are_the_raw_values_with_channels_last_in_memory():
    raw = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    samples = to_samples(raw, np.arange(4), Standardisation.of(raw, "none"))
    torch.testing.assert_close(samples.x, torch.from_numpy(raw.transpose(0, 3, 1, 2).copy()))
    assert samples.x[:2].stride() == (90, 1, 18, 3)
