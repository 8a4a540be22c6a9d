import hashlib
import hmac
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from transfusion_core.db import api_keys, audit, secrets
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import ApiKey
from transfusion_core.errors import NotFound

SECRET = b"the service's own"


def test_a_key_is_verified_by_its_plaintext_and_stored_hashed(engine):
    record, plaintext = api_keys.create(Scope(engine), SECRET, name="me", role="write")
    assert plaintext.startswith(f"tf_{record.id}_")
    assert api_keys.verify(engine, SECRET, plaintext) == record
    with unit_of_work(engine, write=False) as session:
        assert plaintext.split("_", 2)[2] not in session.scalar(select(ApiKey.secret_digest))


def test_a_wrong_key_is_nobody(engine):
    record, plaintext = api_keys.create(Scope(engine), SECRET, name="me", role="read")
    other = api_keys.create(Scope(engine), SECRET, name="other", role="admin")[1]
    swapped = f"tf_{record.id}_{other.split('_', 2)[2]}"
    for wrong in (
        plaintext[:-1],
        plaintext + "x",
        swapped,
        "",
        "tf_",
        "tf__",
        f"tf_{record.id}",
        "x\x00",
        "\ud800",
        "é" * 40,
    ):
        assert api_keys.verify(engine, SECRET, wrong) is None


def test_expired_and_revoked_keys_are_nobody(engine):
    now = datetime.now(UTC)
    for days, valid in ((-1, False), (1, True)):
        _, plaintext = api_keys.create(
            Scope(engine), SECRET, name="e", role="read", expires_at=now + timedelta(days=days)
        )
        assert (api_keys.verify(engine, SECRET, plaintext) is not None) is valid
    record, plaintext = api_keys.create(Scope(engine), SECRET, name="r", role="read")
    assert api_keys.revoke(Scope(engine), record.id).revoked_at is not None
    assert api_keys.revoke(Scope(engine), record.id).id not in [
        key.id for key in api_keys.page(Scope(engine), limit=9).items
    ]
    assert api_keys.verify(engine, SECRET, plaintext) is None
    with pytest.raises(NotFound, match="no API key"):
        api_keys.revoke(Scope(engine), "nothing")


def test_an_admin_key_is_made_once(engine):
    made = api_keys.ensure_admin(engine, SECRET, None)
    assert api_keys.verify(engine, SECRET, made).role == "admin"
    assert api_keys.ensure_admin(engine, SECRET, None) is None
    assert api_keys.ensure_admin(engine, SECRET, made) is None
    assert [key.revoked_at for key in api_keys.page(Scope(engine), limit=9).items] == [None]


def test_of_many_services_that_start_at_once_one_makes_the_admin_key(engine):
    begin = threading.Barrier(8)

    def start() -> str | None:
        begin.wait(30)
        return api_keys.ensure_admin(engine, SECRET, None)

    with ThreadPoolExecutor(8) as pool:
        made = [future.result() for future in [pool.submit(start) for _ in range(8)]]
    assert len([key for key in made if key is not None]) == 1
    with unit_of_work(engine, write=False) as session:
        assert len(session.scalars(select(ApiKey)).all()) == 1


def test_a_key_of_the_environment_may_have_any_shape_and_replaces_the_one_before(engine):
    assert api_keys.ensure_admin(engine, SECRET, "letmein") is None
    assert api_keys.verify(engine, SECRET, "letmein").role == "admin"
    api_keys.ensure_admin(engine, SECRET, "changed_key_1")
    assert api_keys.verify(engine, SECRET, "letmein") is None
    assert api_keys.verify(engine, SECRET, "changed_key_1").role == "admin"
    api_keys.ensure_admin(engine, SECRET, "letmein")
    assert api_keys.verify(engine, SECRET, "letmein").role == "admin"


def test_a_key_of_the_environment_that_somebody_revoked_stays_revoked(engine, caplog):
    api_keys.ensure_admin(engine, SECRET, "letmein")
    (key,) = api_keys.page(Scope(engine), limit=9).items
    api_keys.revoke(Scope(engine), key.id)
    api_keys.ensure_admin(engine, SECRET, "letmein")
    assert api_keys.verify(engine, SECRET, "letmein") is None
    assert "set another TRANSFUSION_ADMIN_KEY" in caplog.text
    api_keys.ensure_admin(engine, SECRET, "another")
    assert api_keys.verify(engine, SECRET, "another").role == "admin"


def test_the_record_tells_which_keys_the_environment_brought(engine):
    for key in ("letmein", "letmein", "another", "letmein"):
        api_keys.ensure_admin(engine, SECRET, key)
    deeds = [(event.action, event.actor) for event in audit.page(Scope(engine), limit=9).items]
    assert sorted(deeds) == [("key.replace", "local")] * 2 + [("key.take", "local")] * 3


def test_the_database_alone_makes_no_key(engine):
    record, plaintext = api_keys.create(Scope(engine), SECRET, name="me", role="write")
    assert api_keys.verify(engine, b"another secret", plaintext) is None
    bits = plaintext.split("_", 2)[2]
    with unit_of_work(engine, write=False) as session:
        stored = session.scalar(select(ApiKey.secret_digest))
    assert stored == hmac.new(SECRET, f"{record.id}_{bits}".encode(), hashlib.sha256).hexdigest()


def test_a_key_has_a_project_of_its_own_unless_it_is_given_one(engine):
    alone, _ = api_keys.create(Scope(engine), SECRET, name="a", role="write")
    shared, _ = api_keys.create(Scope(engine), SECRET, name="b", role="read", project="retina")
    assert (alone.project, shared.project) == (alone.id, "retina")


def test_a_secret_is_made_once(engine):
    assert secrets.kept(engine, "a") == secrets.kept(engine, "a") != secrets.kept(engine, "b")
    assert len(secrets.kept(engine, "a")) == 32


def test_keys_are_listed_page_by_page(engine):
    made = [api_keys.create(Scope(engine), SECRET, name=name, role="read")[0].id for name in "abc"]
    page = api_keys.page(Scope(engine), limit=2)
    rest = api_keys.page(Scope(engine), limit=2, cursor=page.next)
    assert sorted(key.id for key in [*page.items, *rest.items]) == sorted(made)
    assert rest.next is None
