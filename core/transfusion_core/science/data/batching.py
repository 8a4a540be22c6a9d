"""Things gathered until there are enough of them, and then written by a thread of their own while more come."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Self, TypeVar

from transfusion_core.specs.dataset import StoredObject

BATCH_BYTES = 64 << 20
"""Of pieces of packs and shards of pixels."""

Item = TypeVar("Item")
Written = TypeVar("Written")
Keep = Callable[[bytes | bytearray | memoryview, str], StoredObject]
"""Takes bytes, which may change once it is done, and a name into the store, from any thread."""


class Batches(Generic[Item, Written]):
    """Items of one kind. Memory holds two batches at most, and what `write` makes of one."""

    def __init__(self, write: Callable[[int, Sequence[Item]], Written]) -> None:
        """`write` takes a batch and its number, from 0."""
        self._write = write
        self._items: list[Item] = []
        self._size_bytes = 0
        self._written: list[Future[Written]] = []
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, item: Item, *, size_bytes: int) -> None:
        """Add one; what went wrong with an earlier batch is raised here."""
        self.make_room(size_bytes)
        self._items.append(item)
        self._size_bytes += size_bytes

    def make_room(self, size_bytes: int) -> None:
        """Begin another batch, should the next item not fit into this one."""
        if self._items and self._size_bytes + size_bytes > BATCH_BYTES:
            self.end_batch()

    @property
    def number(self) -> int:
        """Of the batch that items are added to. The last but one before it is written."""
        return len(self._written)

    @property
    def size_bytes(self) -> int:
        """Of the items that it has."""
        return self._size_bytes

    def end_batch(self) -> None:
        """Have what there is written; what comes is another batch."""
        if not self._items:
            return
        if self._written:
            self._written[-1].result()
        self._written.append(self._pool.submit(self._write, len(self._written), self._items))
        self._items, self._size_bytes = [], 0

    def end(self) -> list[Written]:
        """What came of each batch."""
        self.end_batch()
        return [each.result() for each in self._written]
