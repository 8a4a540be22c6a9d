"""Every core used once: our own threads, each of whose libraries stays on one.

torch and numpy bring a pool of threads each, and idle threads of both spin for milliseconds on the cores that the
other needs. Many matrices of a few hundred rows are also faster one on each core than one after the other on all.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from threading import Lock
from typing import Any, Generic, Self, TypeVar, overload

import torch
from threadpoolctl import ThreadpoolController

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")

MANY = 2**18
"""Numbers to work on that pay for starting threads."""


_TURN_SECONDS = 0.0005


def each(work: Callable[[_Item], _Value], items: Sequence[_Item], *, numbers: int) -> list[_Value]:
    """Apply `work` to every item, by as many threads as torch may use; an inner call of it uses the thread it is on.

    `numbers`: how many numbers are worked on in all. An error of one item is raised after the others are done.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2 or numbers < MANY:
        return [work(item) for item in items]
    with one_torch_thread(), one_blas_thread(), _short_turns:
        running = [_pool(threads).submit(work, item) for item in items]
        wait(running)
    return [one.result() for one in running]


def side_by_side(tasks: Sequence[Callable[[], None]], *, device: torch.device) -> None:
    """Run tasks worth a thread, begun in this order: one after the other where an accelerator does the work."""

    def run(task: Callable[[], None]) -> None:
        task()

    each(run, tasks, numbers=MANY if device.type == "cpu" else 0)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch on the calling thread, and off the cores that numpy's library needs; a decorator too."""
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Shared:
    """Something of the process that is changed as long as anybody is inside; `change` returns how to undo it."""

    def __init__(self, change: Callable[[], Callable[[], object]]) -> None:
        self._change, self._lock, self._inside = change, Lock(), 0
        os.register_at_fork(after_in_child=self._leave)

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._undo = self._change()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._undo()

    def _leave(self) -> None:
        """A forked process has none of the threads that were inside."""
        self._lock = Lock()
        if self._inside:
            self._inside = 0
            self._undo()


def _limit_blas() -> Callable[[], object]:
    """Its own threads spin for some 20 milliseconds after each call, on cores that the next step needs."""
    limited = _blas().limit(limits=1)
    return lambda: limited.restore_original_limits()  # noqa: PLW0108 - as a method it has no type


def _shorten_turns() -> Callable[[], object]:
    """Between two calls of a library a thread waits for its turn in Python, by itself up to 5 milliseconds."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_TURN_SECONDS)
    return partial(sys.setswitchinterval, before)


_one_blas_thread, _short_turns = _Shared(_limit_blas), _Shared(_shorten_turns)


def one_blas_thread(*, unless: bool = False) -> AbstractContextManager[None]:
    """Keep numpy's and scipy's library on the calling thread: many of our own are faster, but for wide matrices."""
    return nullcontext() if unless else _one_blas_thread


class once(Generic[_Value]):  # noqa: N801 - read as the decorator that it is
    """As functools.cached_property, whose lock over all instances makes threads wait for each other before 3.12."""

    def __init__(self, function: Callable[[Any], _Value]) -> None:
        """Take the method that works the attribute out."""
        self._function, self.__doc__ = function, function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> _Value: ...
    def __get__(self, instance: object | None, owner: type) -> "Self | _Value":
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._function(instance)
        return value


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="similarity")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not come along


@cache
def _blas() -> ThreadpoolController:
    found: ThreadpoolController = ThreadpoolController().select(user_api="blas")  # type: ignore[no-untyped-call]
    return found
