"""A torch network made of layers and the plan by which they are called, as a file of another tool says it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from hw_models.graph.layer_graph import INPUT

_Function = Callable[[Sequence[torch.Tensor]], torch.Tensor]

FUNCTIONS: Mapping[str, _Function] = MappingProxyType(
    {
        "add": lambda x: x[0] + x[1],
        "multiply": lambda x: x[0] * x[1],
        "join": lambda x: torch.cat(list(x), 1),
        "flatten": lambda x: x[0].flatten(1),
        # What moves nothing: a map of one position as a vector, and back; a map as one of one row, a row as a column.
        "vector": lambda x: x[0].squeeze(3).squeeze(2),
        "map": lambda x: x[0][:, :, None, None],
        "row": lambda x: x[0].flatten(2).unsqueeze(2),
        "column": lambda x: x[0].squeeze(2).unsqueeze(3),
    }
)
"""What is no module, by name: maps are N x C x H x W, vectors N x C."""


@dataclass(frozen=True)
class Step:
    """One call.

    Attributes:
        output: Name of the tensor it makes.
        inputs: Names of the tensors it reads.
        function: A key of :data:`FUNCTIONS`; None where the module of the output's name is called.
    """

    output: str
    inputs: tuple[str, ...]
    function: str | None = None


class RebuiltNetwork(nn.Module):
    """The network.

    Args:
        modules: Its layers; each is called once, by the step of its name.
        steps: All calls in order, the last one's output is the network's.
    """

    def __init__(self, modules: Mapping[str, nn.Module], steps: Sequence[Step]) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.steps = tuple(steps)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs, N x outputs, for inputs N x C x H x W."""
        tensors = {INPUT: x}
        for step in self.steps:
            inputs = [tensors[name] for name in step.inputs]
            if step.function is None:
                tensors[step.output] = self.get_submodule(step.output)(*inputs)
            else:
                tensors[step.output] = FUNCTIONS[step.function](inputs)
        return tensors[self.steps[-1].output]
