"""The most recent results of something that is slow to compute and always comes to the same."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Remembered(Generic[KeyT, ValueT]):
    """Values by key, of which the least recently used are forgotten.

    Args:
        most: How many are kept, at least 1.

    >>> squares = Remembered(1)
    >>> squares.get(3, lambda: 9), squares.get(3, lambda: 0), squares.get(4, lambda: 16), squares.get(3, lambda: 0)
    (9, 9, 16, 0)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[KeyT, ValueT] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: KeyT, compute: Callable[[], ValueT]) -> ValueT:
        """Return the value of a key, computed where it is not remembered."""
        try:
            value = self._values[key]
        except KeyError:
            value = self._values[key] = compute()
            if len(self._values) > self._most:
                self._values.popitem(last=False)
            return value
        self._values.move_to_end(key)
        return value
