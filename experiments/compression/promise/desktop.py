"""Energy of one inference on a desktop core: its measured time times an assumed power."""

from time import process_time

import torch
from torch import nn

ASSUMED_POWER_W = 22.0
"""Power of the desktop core in the story the project retells (22 W down to 0.1 W); assumed here, not measured."""

REPEATS, INFERENCES = 7, 20


@torch.no_grad()
def cpu_ms_per_inference(module: nn.Module, sample: torch.Tensor) -> float:
    """Return the processor time of one inference of one sample on one thread, the least of some repeats.

    Processor time leaves out the time in which other processes had the core; the least repeat is the least disturbed.

    Args:
        module: Float network in evaluation mode.
        sample: 1 x C x H x W.
    """
    module(sample)
    times = []
    for _ in range(REPEATS):
        start = process_time()
        for _ in range(INFERENCES):
            module(sample)
        times.append((process_time() - start) / INFERENCES)
    return 1000 * min(times)
