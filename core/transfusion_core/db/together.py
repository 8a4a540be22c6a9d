"""Transactions that come at once made one: the database begins, waits for its disk and commits once for all of them."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from transfusion_core.db.engine import is_away, transact, unit_of_work

MOST = 16
"""Works of one transaction: what one of them holds, all hold until the end of the last."""

T = TypeVar("T")


def transact_together(engine: Engine, work: Callable[[Session], T]) -> T:
    """As `transact`, with what other threads of this process ask for meanwhile in the same transaction.

    None sees a difference: where one work fails, none of them has happened, and each is done alone. A database that is
    away is so for all of them. What takes long is better done by `transact`, as others would wait for it.
    """
    with _KNOWN:
        queue = _QUEUES.setdefault(engine, _Queue())
    return cast(T, queue.done(engine, work))


class _Asked:
    """A work that waits. Its thread is woken once it is done, or to do it with those that came after it."""

    def __init__(self, work: Callable[[Session], Any]) -> None:
        self.work = work
        self.woken = threading.Event()
        self.leads = False
        self.result: Any = None
        self.error: BaseException | None = None

    def do_alone(self, engine: Engine) -> None:
        try:
            self.result = transact(engine, self.work)
        except BaseException as error:
            self.error = error


class _Queue:
    """Of one engine: the thread that leads does what waits, its own work first, and then another leads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Asked] = deque()
        self._has_leader = False

    def done(self, engine: Engine, work: Callable[[Session], Any]) -> Any:
        mine = _Asked(work)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._has_leader = not self._has_leader, True
        if not mine.leads:
            mine.woken.wait()
        if mine.leads:
            try:
                self._lead(engine)
            finally:
                self._step_down()
        if mine.error is not None:
            raise mine.error
        return mine.result

    def _lead(self, engine: Engine) -> None:
        taken: list[_Asked] = []
        try:
            with unit_of_work(engine) as session:
                taken = self._taken()  # not before the database lets us begin: until then more come
                for asked in taken:
                    asked.result = asked.work(session)
        except BaseException as error:
            taken = taken or self._taken()  # who came while it was not there need not find out one by one
            for asked in taken:
                if is_away(error):
                    asked.error = error
                else:
                    asked.do_alone(engine)
        finally:
            for asked in taken:
                asked.woken.set()

    def _taken(self) -> list[_Asked]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]

    def _step_down(self) -> None:
        with self._lock:
            self._has_leader = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.set()


_QUEUES: WeakKeyDictionary[Engine, _Queue] = WeakKeyDictionary()
_KNOWN = threading.Lock()
