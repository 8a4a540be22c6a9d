"""Work by several threads whose results come in the order of what they were made from."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def ahead(function: Callable[[Item], Done], items: Iterable[Item], *, threads: int) -> Iterator[Done]:
    """`function` of each item, in order; no more items are taken than the threads soon come to."""
    waiting: deque[Future[Done]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
