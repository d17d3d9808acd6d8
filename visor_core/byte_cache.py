"""A cache bounded by the bytes it holds: the number of pictures says little, one may be a thousand times another."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Values by key, the least recently used out first once `max_bytes` are passed. Not safe for threads.

    The newest value is kept even where it alone passes the limit, so that it is not made again at once; a limit of 0
    keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.held_bytes = 0
        self._held: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        """A value, which counts as used now; None if it is not kept."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def keep(self, key: K, value: V, size: int) -> None:
        """Keep a value of `size` bytes, at the cost of the oldest ones."""
        dropped = self._held.pop(key, None)
        self.held_bytes -= dropped[1] if dropped else 0
        if self.max_bytes == 0:
            return
        self._held[key] = (value, size)
        self.held_bytes += size
        while self.held_bytes > self.max_bytes and len(self._held) > 1:
            self.held_bytes -= self._held.popitem(last=False)[1][1]

    def __len__(self) -> int:
        return len(self._held)
