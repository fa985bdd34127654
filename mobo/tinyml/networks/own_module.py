"""The user's own network: a ``torch.nn.Module`` that a function of theirs returns, named in the config."""

import inspect
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError
from mobo.base.own_code import own_code
from mobo.space.search_space import Parameter
from mobo.tinyml.networks.family import NetworkFamily


class OwnModuleFamily(NetworkFamily):
    """One architecture, built by the user's function; nothing of it is searched.

    The module is imported when a network is built, no earlier: only commands that build networks run its code. It is
    looked for where Python looks, and last in the current folder.

    Args:
        target: ``package.module:function``; the function is called with ``(input_shape, output_count)``, where
            ``input_shape`` is ``(height, width, channels)``.
    """

    def __init__(self, target: str) -> None:
        self._target = target

    def parameters(self, input_shape: Shape) -> tuple[Parameter, ...]:
        """Return nothing: the function alone decides the architecture."""
        return ()

    def build(self, values: Mapping[str, float | int | str | bool], input_shape: Shape, output_count: int) -> nn.Module:
        """Return what the function returns.

        Raises:
            MoboError: The module cannot be imported, has no such function, or the function takes other arguments,
                returns no module, or one whose weights are not plain float32 tensors.
        """
        function = own_code(self._target, key="network.module", kind="function")
        try:
            inspect.signature(function).bind(input_shape, output_count)
        except TypeError as error:
            raise MoboError(
                f"network.module {self._target!r} is called with (input_shape, output_count), which it does not take: "
                f"{error}"
            ) from error
        network = function(input_shape, output_count)
        if not isinstance(network, nn.Module):
            raise MoboError(
                f"network.module {self._target!r} returned a {type(network).__name__}; it must return a torch.nn.Module"
            )
        for name, part in network.named_modules():
            self._check_weights(name, part)
        for parameter in network.parameters():
            # Weights in another memory order decide in which one convolutions run (envs.one_dnn).
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
        return network

    def _check_weights(self, name: str, part: nn.Module) -> None:
        """Refuse weights that pruning could not cut: those that are computed by something else, or not on the CPU."""
        if parametrize.is_parametrized(part) or part._forward_pre_hooks or part._forward_hooks:
            raise MoboError(
                f"network.module {self._target!r}: module {name!r} has a hook or a parametrisation (weight norm, "
                "spectral norm); remove it, the target has plain weights only"
            )
        for tensor_name, tensor in part.named_parameters(recurse=False):
            if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
                raise MoboError(
                    f"network.module {self._target!r}: {name}.{tensor_name} is {tensor.dtype} on {tensor.device}; "
                    "build the network in float32 on the CPU, compute.device says where it trains"
                )
