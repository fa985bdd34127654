"""A mapping that cannot be changed, can be hashed and can be sent to another process."""

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Self, TypeVar

V_co = TypeVar("V_co", covariant=True)


class FrozenMapping(Mapping[str, V_co]):
    """Names mapped to values; equal to any mapping with the same items, whatever their order.

    ``types.MappingProxyType`` would do, but it can neither be hashed nor be sent to a worker process.

    >>> sizes = FrozenMapping({"flash_bytes": 1024})
    >>> sizes["flash_bytes"], sizes == {"flash_bytes": 1024}
    (1024, True)
    """

    __slots__ = ("_hash", "_items")

    def __init__(self, items: Mapping[str, V_co]) -> None:
        self._items = dict(items)
        self._hash: int | None = None

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, V_co]]]:
        # The hash stays behind: that of a text is another one in every process.
        return type(self), (self._items,)

    def __getitem__(self, name: str) -> V_co:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    # Those of the base class go through a method call per name, which a search asks for millions of times.
    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._items.keys()

    def values(self) -> ValuesView[V_co]:
        """Return the values."""
        return self._items.values()

    def items(self) -> ItemsView[str, V_co]:
        """Return the pairs."""
        return self._items.items()

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __eq__(self, other: object) -> bool:
        # Nearly always so, and then nothing need be copied.
        if isinstance(other, FrozenMapping):
            return bool(self._items == other._items)
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._items == dict(other)

    def __hash__(self) -> int:
        # Kept, for a search looks the same designs up many times.
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"
