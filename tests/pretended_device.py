"""A device of torch that is none: its tensors are held by the CPU, but do not mix with those that are on the CPU.

torch knows the type of device, and nothing is built for it.

So a test finds the code that would fail on a GPU where there is no GPU. What is computed there is what the CPU computes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from tests.conftest import PRETENDED

_MAY_MIX = ("index", "index_put", "index_put_", "copy_", "_foreach_copy_")


class _Elsewhere(torch.Tensor):
    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "_Elsewhere":
        made: _Elsewhere = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(PRETENDED, 0),
        )
        made.held = held
        return made

    @property
    def data(self) -> torch.Tensor:  # type: ignore[override]
        """The same without its history; torch's own would not know whose it is."""
        return self.detach()

    @data.setter
    def data(self, value: torch.Tensor) -> None:
        assert isinstance(value, _Elsewhere)
        torch.Tensor.data.__set__(self, value)
        self.held = value.held

    def __getitem__(self, key: Any) -> Any:
        # Of a list torch would make a tensor on this device, and not ask anybody.
        return super().__getitem__(torch.tensor(key) if isinstance(key, list) else key)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"_Elsewhere({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _held(value: Any) -> Any:
    return value.held if isinstance(value, _Elsewhere) else value


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func.__name__.partition(".")[0]
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
    is_there = any(isinstance(tensor, _Elsewhere) for tensor in tensors)
    here = [tensor for tensor in tensors if not isinstance(tensor, _Elsewhere) and tensor.ndim]
    if is_there and here and name not in _MAY_MIX:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, but found {PRETENDED} and cpu")
    asked = kwargs.get("device")
    if asked is not None:
        is_there = torch.device(asked).type == PRETENDED
        kwargs = kwargs | {"device": "cpu"} if is_there else kwargs
    wrappers = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, _Elsewhere)}
    held_args, held_kwargs = tree_map(_held, (args, kwargs))
    found = func(*held_args, **held_kwargs)
    if name == "_to_copy" and asked is not None and found is held_args[0]:
        found = found.clone()

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        known = wrappers.get(id(value))
        return known if known is not None else _Elsewhere(value) if is_there else value

    return tree_map(wrapped, found)


@contextmanager
def pretended_device() -> Iterator[str]:
    """Let the device be there."""
    with _Mode():
        yield PRETENDED
