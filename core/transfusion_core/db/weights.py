"""Weights: files of source weights by name; a name never changes what it stands for."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from transfusion_core.db import audit, removals
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Weights as Row
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.dataset import StoredObject


@dataclass(frozen=True)
class Weights:
    """A registered weight file."""

    name: str
    object: StoredObject
    input: InputContract | None
    """What was said of its input."""
    created_at: datetime


def register(scope: Scope, name: str, stored: StoredObject, contract: InputContract | None = None) -> Weights:
    """Name a stored file and what it expects. The same again changes nothing; a Conflict where either is another."""

    def work(session: Session) -> Weights:
        row = session.get(Row, (scope.project, name))
        if row is None:
            row = Row(project=scope.project, name=name, object=stored.model_dump(mode="json"))
            row.input = contract.model_dump(mode="json") if contract else None
            session.add(row)
            audit.add(session, scope, "weights.register", name)
            session.flush()
        if removals.is_under_way(session, stored.key):
            raise Conflict(f"weights {name!r}: this file is being removed from the store just now; name it once more")
        if row.object["sha256"] != stored.sha256:
            raise Conflict(f"weights {name!r} are there already, with sha256 {row.object['sha256']}")
        if contract_of(row) != contract:
            raise Conflict(f"weights {name!r} are there already, and something else was said of their input")
        return _weights(row)

    return transact(scope.engine, work)


def get(scope: Scope, name: str) -> Weights:
    """One weight file by name. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        row = session.get(Row, (scope.project, name))
        if row is None:
            raise NotFound(f"there are no weights {name!r}")
        return _weights(row)


def page(scope: Scope, *, limit: int, cursor: str | None = None) -> Page[Weights]:
    """Weight files, by name from the last."""
    with unit_of_work(scope.engine, write=False) as session:
        mine = select(Row).where(Row.project == scope.project)
        rows, more = page_rows(session, mine, Row.name, limit=limit, cursor=cursor)
        items = [_weights(row) for (row,) in rows]
        return Page(items, cursor_after(items[-1].name) if more else None)


def contract_of(row: Any) -> InputContract | None:
    """What was said of the input of a weight file."""
    return InputContract.read(row.input) if row.input else None


def _weights(row: Row) -> Weights:
    return Weights(row.name, StoredObject.model_validate(row.object), contract_of(row), row.created_at)
