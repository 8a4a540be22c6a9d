"""Works that come at once are one transaction, and each of them fares as if it had one of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from transfusion_core.db import audit
from transfusion_core.db.engine import connect, unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import AuditEvent
from transfusion_core.db.together import MOST, transact_together
from transfusion_core.errors import Conflict, Unavailable

Work = Callable[[Session], Any]


def _deed(engine: Engine, subject: str) -> Work:
    def work(session: Session) -> str:
        audit.add(session, Scope(engine), "deed", subject)
        return subject

    return work


def _at_once(engine: Engine, works: list[Work]) -> list[Future[Any]]:
    """What comes of works that all come while another one is done, which none of them waits for alone."""
    begun, may_end = threading.Event(), threading.Event()

    def first(session: Session) -> None:
        begun.set()
        assert may_end.wait(30)

    with ThreadPoolExecutor(len(works) + 1) as pool:
        pool.submit(transact_together, engine, first)
        assert begun.wait(30)
        asked = [threading.Event() for _ in works]

        def ask(work: Work, asked: threading.Event) -> Any:
            asked.set()
            return transact_together(engine, work)

        futures = [pool.submit(ask, *each) for each in zip(works, asked, strict=True)]
        assert all(each.wait(30) for each in asked)
        threading.Event().wait(0.2)  # from there it is one step to the queue
        may_end.set()
    return futures


def _deeds(engine: Engine) -> list[str]:
    with unit_of_work(engine, write=False) as session:
        return sorted(session.scalars(select(AuditEvent.subject).where(AuditEvent.action == "deed")))


def test_works_that_come_at_once_are_one_transaction(engine: Engine) -> None:
    names = [f"{number:02}" for number in range(MOST)]
    commits: list[Any] = []
    event.listen(engine, "commit", commits.append)
    futures = _at_once(engine, [_deed(engine, name) for name in names])
    assert [future.result() for future in futures] == names
    assert _deeds(engine) == names
    assert len(commits) < MOST / 2


def test_more_than_go_together_all_are_done(engine: Engine) -> None:
    names = [f"{number:02}" for number in range(2 * MOST + 3)]
    futures = _at_once(engine, [_deed(engine, name) for name in names])
    assert [future.result() for future in futures] == names
    assert _deeds(engine) == names


def test_one_that_is_refused_is_so_alone(engine: Engine) -> None:
    def refused(session: Session) -> None:
        _deed(engine, "refused")(session)
        raise Conflict("no")

    a, b, c = _at_once(engine, [_deed(engine, "a"), refused, _deed(engine, "c")])
    assert (a.result(), c.result()) == ("a", "c")
    with pytest.raises(Conflict, match="no"):
        b.result()
    assert _deeds(engine) == ["a", "c"]


def test_one_whose_rows_are_held_by_others_is_late_alone(engine: Engine) -> None:
    class LockTimeout(Exception):
        sqlstate = "55P03"

    def held(session: Session) -> None:
        raise OperationalError("SELECT", {}, LockTimeout("canceling statement due to lock timeout"))

    a, b = _at_once(engine, [_deed(engine, "a"), held])
    assert a.result() == "a"
    with pytest.raises(Unavailable, match="lock timeout"):
        b.result()
    assert _deeds(engine) == ["a"]


def test_a_database_that_is_away_is_so_for_all(tmp_path: Path) -> None:
    away = connect(f"sqlite:///{tmp_path}/no/such/folder.db")
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(transact_together, away, _deed(away, "a")) for _ in range(4)]:
            with pytest.raises(Unavailable, match="does not answer"):
                future.result(30)
