"""Work by several threads whose results come in the order of what they were made from."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


def ahead(function: Callable[[Item], Done], items: Iterable[Item], *, threads: int, group: int = 1) -> Iterator[Done]:
    """`function` of each item, in order; no more items are taken than the threads soon come to.

    A thread takes a `group` of items at once, where handing one over takes as long as a good part of the work.
    """
    waiting: deque[Future[list[Done]]] = deque()
    coming = iter(items)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        while taken := list(islice(coming, group)):
            waiting.append(pool.submit(lambda some: [function(each) for each in some], taken))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
