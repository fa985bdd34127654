"""Calls and modules, collected one by one, and changes of shape: what a file says is there before any arithmetic.

A file says channels first or last and flattens in its own order. A :class:`Value` therefore knows what the axes of the
file's tensor mean, and of a flattened map in which order its elements stand.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import prod

from torch import nn

from hw_models.graph.layer_graph import INPUT, Shape
from mobo.tinyml.networks.files.rebuilt import Step
from mobo.tinyml.networks.files.values import RefusedError, Value

_LARGEST_TENSOR = 2**24
_LONGEST_NAME = 40

_AXES_LAST = ("c", "wc", "hwc")
_AXES_FIRST = ("c", "cw", "chw")


class Steps:
    """Collects layers and calls.

    Args:
        channels_last: Whether tensors whose axes nobody named have their channels last.
    """

    def __init__(self, *, channels_last: bool) -> None:
        self._default_axes = _AXES_LAST if channels_last else _AXES_FIRST
        self._modules: dict[str, nn.Module] = {}
        self._steps: list[Step] = []
        self._names = {INPUT}

    def input(self, sizes: Sequence[int | None], shape: Shape) -> Value:
        """Return the input.

        Args:
            sizes: As the file has them, without that of the samples; None for one it leaves open.
            shape: Height, width and channels of the task's inputs.

        Raises:
            RefusedError: The file reads others.
        """
        letters = [axis for axis, size in zip("hwc", shape, strict=True) if size > 1]
        offered = (self._default_axes[len(sizes) - 1], *_AXES_FIRST, *_AXES_LAST) if 1 <= len(sizes) <= 3 else ()
        # Of a signal with one channel some files have one axis only.
        for axes in (*(axes for axes in offered if len(axes) == len(sizes)), *(letters if len(letters) == 1 else ())):
            value = Value(INPUT, shape, axes)
            if (
                len(axes) == len(sizes)
                and prod(value.sizes) == prod(shape)
                and all(size in (None, own) for size, own in zip(sizes, value.sizes, strict=True))
            ):
                return value
        said = " x ".join("?" if size is None else str(size) for size in sizes)
        raise RefusedError(
            f"it reads {said} per sample; the task's inputs are {shape[0]} x {shape[1]} x {shape[2]} (height, width, "
            "channels): let the task make what the network was trained on"
        )

    def flattened(self, source: Value) -> Value:
        """Return a vector of all elements in the file's order."""
        if source.is_vector:
            return replace(source, axes="c")
        if source.is_one_position:
            return replace(self.as_vector(source), axes="c")
        made = self.call("flatten", (source,), f"{source.name}_flat", (1, 1, prod(source.shape)))
        return replace(made, axes="c", is_vector=True, flattened=(source.axes, source.shape))

    def reshaped(self, source: Value, sizes: Sequence[int]) -> Value:
        """Return the same elements, in the file's order, with other sizes (without that of the samples)."""
        if prod(sizes) != prod(source.shape) or not 1 <= len(sizes) <= 3:
            raise RefusedError(f"it makes {tuple(sizes)} of {source.sizes} per sample")
        if tuple(sizes) == source.sizes:
            return source
        axes = self._axes_of(source, len(sizes))
        if len(sizes) > 1:
            by_letter = dict(zip(axes, sizes, strict=True))
            shape = (by_letter.get("h", 1), by_letter.get("w", 1), by_letter["c"])
            if shape == source.shape and not source.flattened:
                return replace(source, axes=axes)
            height, width, channels = source.shape
            if shape == (1, height * width, channels) and not source.is_vector:
                return replace(self.call("row", (source,), f"{source.name}_row", shape), axes=axes)
            if shape == (width, height, channels) and height == 1 and not source.is_vector:
                return replace(self.call("column", (source,), f"{source.name}_column", shape), axes=axes)
        large = [position for position, size in enumerate(sizes) if size > 1]
        if len(large) > 1:
            raise RefusedError(f"it makes {tuple(sizes)} of {source.sizes} per sample, which moves elements")
        vector = self.flattened(source)
        place = large[0] if large else len(sizes) - 1
        return replace(vector, axes=next(axes for axes in self._axes(len(sizes)) if axes[place] == "c"))

    def transposed(self, source: Value, order: Sequence[int]) -> Value:
        """Return the same elements with the file's axes (from 0 for the first behind the samples) in another order."""
        if sorted(order) != list(range(len(source.axes))):
            raise RefusedError("it moves the samples to another axis")
        return replace(source, axes="".join(source.axes[axis] for axis in order))

    def as_vector(self, source: Value) -> Value:
        """Return a map of one position as what torch has as N x C."""
        if source.is_vector:
            return source
        made = self.call("vector", (source,), f"{source.name}_vector", source.shape)
        return replace(made, is_vector=True)

    def as_map(self, source: Value) -> Value:
        """Return a vector as a map of one position."""
        if not source.is_vector:
            return source
        if source.flattened is not None:
            raise RefusedError("it reads a flattened map; only a dense layer can")
        return self.call("map", (source,), f"{source.name}_map", source.shape)

    def layer(
        self, source: Value, wish: str, module: nn.Module, shape: Shape, *, never_negative: bool = False
    ) -> Value:
        """Append a module; ``shape`` is that of its output, ``wish`` what it would be called."""
        check_size(shape)
        name = self._name(wish)
        self._modules[name] = module
        self._steps.append(Step(name, (source.name,)))
        return Value(name, shape, source.axes, never_negative=never_negative)

    def call(
        self, function: str, sources: tuple[Value, ...], wish: str, shape: Shape, *, both_ways: bool = False
    ) -> Value:
        """Append what is no module; ``both_ways`` for functions of maps and vectors."""
        check_size(shape)
        name = self._name(wish)
        self._steps.append(Step(name, tuple(source.name for source in sources), function))
        return Value(
            name,
            shape,
            max((source.axes for source in sources), key=len),
            is_vector=both_ways and sources[0].is_vector,
            never_negative=all(source.never_negative for source in sources),
        )

    def _axes(self, count: int) -> tuple[str, ...]:
        """Return what so many axes may be, the most usual first."""
        both = (self._default_axes, _AXES_FIRST, _AXES_LAST)
        # The channels of a vector may stand in the middle, too, but no file says so.
        return tuple(dict.fromkeys((*(axes[count - 1] for axes in both), "wch"[:count])))

    def _axes_of(self, source: Value, count: int) -> str:
        if len(source.axes) == 1:
            return self._default_axes[count - 1]
        return (_AXES_LAST if source.axes.endswith("c") else _AXES_FIRST)[count - 1]

    def _name(self, wish: str) -> str:
        """Return a name for a module: letters and digits of what the file says, each name once."""
        plain = re.sub(r"\W+", "_", wish.split(";")[0], flags=re.ASCII).strip("_")[-_LONGEST_NAME:].strip("_")
        stem = plain if plain and not plain[0].isdigit() else f"layer_{plain}".rstrip("_")
        name, number = stem, 1
        while name in self._names or hasattr(nn.Module, name):
            name, number = f"{stem}_{number}", number + 1
        self._names.add(name)
        return name


def check_size(shape: Shape) -> None:
    """Refuse a map that is empty, or larger than anything meant for a microcontroller."""
    if min(shape) < 1:
        raise RefusedError(f"it gives a map of {shape[0]} x {shape[1]} x {shape[2]}; its input is too small for it")
    if prod(shape) > _LARGEST_TENSOR:
        raise RefusedError(f"it gives {prod(shape):,} numbers; at most {_LARGEST_TENSOR:,} are taken")
