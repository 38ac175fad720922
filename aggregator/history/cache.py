"""What was worked out of stored things before, kept in memory up to a bound; the longest unused goes first.

Segments and tail messages never change, so what is kept is right for ever; what a range consists
of is asked anew each time. Keys name the thing itself: who may see it is decided before.
"""

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

BYTES_MAX = 128 * 1024 * 1024
OVERHEAD = 600
"""Bytes of an entry beside its arrays: key, tuple and array heads."""


class Cache:
    """Shared by all requests; no call blocks another for longer than a look-up."""

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return self._bytes

    def get(self, key: Hashable) -> Any | None:
        """What was kept under this key, if it still is."""
        with self._lock:
            found = self._kept.get(key)
            if found is None:
                return None
            self._kept.move_to_end(key)
            return found[0]

    def put(self, key: Hashable, value: object, size: int) -> None:
        """Keep a value of `size` bytes, unless it alone is more than a quarter of all."""
        size += OVERHEAD
        if size > self._bytes_max // 4:
            return
        with self._lock:
            there = self._kept.pop(key, None)
            self._bytes += size - (0 if there is None else there[1])
            self._kept[key] = (value, size)
            while self._bytes > self._bytes_max:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone
