"""The user's own network: a ``torch.nn.Module`` that a function of theirs returns, named in the config."""

import inspect
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import parametrize

from hw_models.files import FileError, read_bytes
from hw_models.graph.layer_graph import Shape
from mobo.base.errors import MoboError
from mobo.base.own_code import own_code
from mobo.space.search_space import Parameter
from mobo.tinyml.networks.family import NetworkFamily

_MOST_SHOWN = 4


def load_state(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a state dict; nothing in the file is executed.

    Args:
        network: Changed in place.
        path: What ``torch.save(network.state_dict(), path)`` wrote, or a dict that holds it as ``state_dict``.

    Raises:
        MoboError: It cannot be read, or is that of another network; the message names the keys.
    """
    try:
        found = torch.load(io.BytesIO(read_bytes(path)), weights_only=True, map_location="cpu")
    except FileError as error:
        raise MoboError(f"network.weights: {error}") from error
    except Exception as error:  # torch raises whatever a damaged archive leads its unpickler to
        raise MoboError(
            f"network.weights: {path} cannot be read as a state dict ({type(error).__name__}); write it with "
            "torch.save(network.state_dict(), path): whole modules are code, and are not read"
        ) from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise MoboError(f"network.weights: {path} holds no state dict, names and tensors; save network.state_dict()")
    own = network.state_dict()
    wrong = [f"{name} is missing" for name in own if name not in state]
    wrong += [f"{name} is not in the network" for name in state if name not in own]
    wrong += [
        f"{name} has the shape {tuple(state[name].shape)}, the network's {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if wrong:
        more = f" (and {len(wrong) - _MOST_SHOWN} more)" if len(wrong) > _MOST_SHOWN else ""
        raise MoboError(f"network.weights: {path} is that of another network: {'; '.join(wrong[:_MOST_SHOWN])}{more}")
    if not all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point()):
        raise MoboError(f"network.weights: {path} holds weights that are not finite")
    network.load_state_dict(state)


class OwnModuleFamily(NetworkFamily):
    """One architecture, built by the user's function; nothing of it is searched.

    The module is imported when a network is built, no earlier: only commands that build networks run its code. It is
    looked for where Python looks, and last in the current folder.

    Args:
        target: ``package.module:function``; the function is called with ``(input_shape, output_count)``, where
            ``input_shape`` is ``(height, width, channels)``.
        weights: State dict that the network starts from, instead of the weights that the function gives it.
    """

    def __init__(self, target: str, weights: Path | None = None) -> None:
        self._target, self._weights = target, weights

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
        if self._weights is not None:
            load_state(network, self._weights)
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
