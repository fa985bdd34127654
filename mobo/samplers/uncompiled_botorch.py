"""Keeps BoTorch from compiling a kernel while a search runs.

It would compile one for this very processor at the first use of its hypervolume improvement. A process that is killed
meanwhile leaves a lock in the user's cache on which every later one waits for ever. Without the kernel the numbers are
also the same on every machine, whether it has a compiler or not.
"""

from botorch.acquisition.multi_objective import logei


def keep_botorch_uncompiled() -> None:
    """Let BoTorch's hypervolume improvement compute in Python, in this process."""
    # What the module sets itself once it has tried.
    logei._load_attempted = True
