from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from transfusion_core.db import api_keys
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.tables import ApiKey
from transfusion_core.errors import NotFound


def test_a_key_is_verified_by_its_plaintext_and_stored_hashed(engine):
    record, plaintext = api_keys.create(engine, name="me", role="write")
    assert plaintext.startswith(f"tf_{record.id}_")
    assert api_keys.verify(engine, plaintext) == record
    with unit_of_work(engine, write=False) as session:
        assert plaintext.split("_", 2)[2] not in session.scalar(select(ApiKey.secret_digest))


def test_a_wrong_key_is_nobody(engine):
    record, plaintext = api_keys.create(engine, name="me", role="read")
    other = api_keys.create(engine, name="other", role="admin")[1]
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
        assert api_keys.verify(engine, wrong) is None


def test_expired_and_revoked_keys_are_nobody(engine):
    now = datetime.now(UTC)
    for days, valid in ((-1, False), (1, True)):
        _, plaintext = api_keys.create(engine, name="e", role="read", expires_at=now + timedelta(days=days))
        assert (api_keys.verify(engine, plaintext) is not None) is valid
    record, plaintext = api_keys.create(engine, name="r", role="read")
    assert api_keys.revoke(engine, record.id).revoked_at is not None
    assert api_keys.revoke(engine, record.id) == api_keys.page(engine)[0]
    assert api_keys.verify(engine, plaintext) is None
    with pytest.raises(NotFound, match="no API key"):
        api_keys.revoke(engine, "nothing")


def test_an_admin_key_is_made_once(engine):
    made = api_keys.ensure_admin(engine, None)
    assert api_keys.verify(engine, made).role == "admin"
    assert api_keys.ensure_admin(engine, None) is None
    assert api_keys.ensure_admin(engine, made) is None
    assert [key.revoked_at for key in api_keys.page(engine)] == [None]


def test_a_key_of_the_environment_may_have_any_shape_and_replaces_the_one_before(engine):
    assert api_keys.ensure_admin(engine, "letmein") is None
    assert api_keys.verify(engine, "letmein").role == "admin"
    api_keys.ensure_admin(engine, "changed_key_1")
    assert api_keys.verify(engine, "letmein") is None
    assert api_keys.verify(engine, "changed_key_1").role == "admin"
    api_keys.ensure_admin(engine, "letmein")
    assert api_keys.verify(engine, "letmein").role == "admin"
