"""What was made of some objects, kept as long as the very same objects come again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["KeptByIdentity"]

T = TypeVar("T")


class KeptByIdentity(Generic[T]):
    """A small cache for objects that have no hash, or one that takes as long as the work.

    Nodes of one simulation are handed the same bytes and the same arrays: that is seen from their identity.
    The objects must not be changed, and are kept alive, so that no other gets their place in memory.

    Parameters
    ----------
    most : int
        Entries; the oldest makes room.

    Examples
    --------
    >>> kept, sent = KeptByIdentity(4), b"1 2 3"
    >>> kept.get([sent], lambda: print("read") or sent.split())
    read
    [b'1', b'2', b'3']
    >>> kept.get([sent], lambda: print("read") or sent.split())
    [b'1', b'2', b'3']
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._entries: OrderedDict[tuple[int, ...], tuple[tuple[object, ...], T]] = OrderedDict()

    def get(self, objects: Sequence[object], make: Callable[[], T]) -> T:
        """Give what ``make()`` made of these objects."""
        key = tuple(map(id, objects))
        if key not in self._entries:
            self._entries[key] = tuple(objects), make()
            if len(self._entries) > self.most:
                self._entries.popitem(last=False)
        return self._entries[key][1]
