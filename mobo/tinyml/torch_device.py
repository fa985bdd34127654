"""Which device of torch a study's trials compute on."""

import torch

from mobo.base.errors import MachineError


def torch_device(asked: str) -> str:
    """Return ``"cpu"`` or ``"cuda"`` for what a config asks for; ``"auto"`` is a GPU where torch sees one.

    A GPU is told to repeat itself, and to compute float32 as float32.

    Raises:
        MachineError: A GPU is asked for where torch sees none.
    """
    if asked == "cpu" or (asked == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise MachineError(
            f'compute.device is "{asked}", and torch {torch.__version__} sees no GPU here; install a build of torch '
            'for CUDA, let a trial have one (compute.resources.gpus on a cluster), or take device = "cpu" or "auto"'
        )
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    return "cuda"
