"""Keyset pages, newest first: ids rise with time, so the last id seen is the whole sort key."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, text
from sqlalchemy.orm import InstrumentedAttribute, Session

from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.fault import Fault

T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some items, and the cursor of those after them (None at the end)."""

    items: list[T]
    next: str | None


def page_rows(
    session: Session,
    query: Select[*tuple[Any, ...]],
    column: InstrumentedAttribute[str],
    *,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Any], bool]:
    """The query's rows after the cursor, at most `limit`, and whether there are more."""
    if cursor is not None:
        query = query.where(column < _last_id(cursor))
    with _in_order(session):
        rows = session.execute(query.order_by(column.desc()).limit(limit + 1)).all()
    return rows[:limit], len(rows) > limit


@contextmanager
def _in_order(session: Session) -> Iterator[None]:
    """Have PostgreSQL walk the index that has the page's order. It would join and sort every row for fifty of them,
    since it does not know how few it has to look at: 110 ms of 5,000 runs, and 20 times that of 100,000.
    """
    if session.get_bind().dialect.name != "postgresql":
        yield
        return
    session.execute(text("SET LOCAL enable_sort = off; SET LOCAL enable_hashjoin = off"))
    yield
    session.execute(text("SET LOCAL enable_sort = on; SET LOCAL enable_hashjoin = on"))


def cursor_after(last_id: str) -> str:
    """The opaque cursor of what comes after this id."""
    return base64.urlsafe_b64encode(last_id.encode()).decode().rstrip("=")


def _last_id(cursor: str) -> str:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars="-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        fault = Fault(pointer="/cursor", message="expected a cursor from an earlier page", value=cursor[:200])
        raise InvalidRequest("This cursor is not one of ours.", faults=[fault]) from error
