"""Audit events are added with the deed that they tell of, and stay as they are."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from transfusion_core.db import audit, experiments, uploads, web_sessions
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict


def test_a_deed_and_its_record_are_one_transaction(engine, world):
    scope = Scope(engine, project="p", actor="key", request_id="r")
    created = experiments.create(Scope(engine, project="p", actor="key", request_id="r"), world.expansion(), name="e")
    (event,) = audit.page(Scope(engine), limit=9).items
    told = (event.actor, event.project, event.action, event.subject, event.request_id)
    assert told == ("key", "p", "experiment.create", created.id, "r")
    with pytest.raises(Conflict):
        experiments.resume(scope, created.id)
    experiments.cancel(scope, created.id)
    experiments.resume(scope, created.id)
    experiments.cancel(scope, created.id)
    experiments.remove(scope, created.id)
    actions = [event.action.partition(".")[2] for event in audit.page(Scope(engine), limit=9).items]
    assert actions == ["delete", "cancel", "resume", "cancel", "create"]


@pytest.mark.parametrize("deed", ["UPDATE audit_events SET actor = 'nobody'", "DELETE FROM audit_events"])
def test_nobody_changes_what_is_recorded(engine, deed):
    uploads.create(Scope(engine), filename="a", size_bytes=1)
    with pytest.raises(DBAPIError, match="only ever added"), engine.begin() as connection:
        connection.execute(text(deed))
    assert [event.actor for event in audit.page(Scope(engine), limit=9).items] == ["local"]


def test_deeds_are_read_page_by_page(engine):
    for _ in range(3):
        uploads.create(Scope(engine), filename="a", size_bytes=1)
    first = audit.page(Scope(engine), limit=2)
    rest = audit.page(Scope(engine), limit=2, cursor=first.next)
    assert len({event.id for event in [*first.items, *rest.items]}) == 3
    assert rest.next is None


def test_a_session_of_nobody_is_nobodys(engine):
    assert web_sessions.key_of(engine, "x") is None
    with unit_of_work(engine) as session:
        assert session.execute(text("SELECT count(*) FROM web_sessions")).scalar() == 0


def test_nobody_empties_the_record(engine):
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no TRUNCATE")
    uploads.create(Scope(engine), filename="a", size_bytes=1)
    with pytest.raises(DBAPIError, match="only ever added"), engine.begin() as connection:
        connection.execute(text("TRUNCATE audit_events CASCADE"))
    assert [event.actor for event in audit.page(Scope(engine), limit=9).items] == ["local"]
