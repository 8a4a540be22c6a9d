"""What every store promises: one class of tests, run against a folder and a real S3 server."""

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import httpx2
import pytest

from transfusion_core.errors import InvalidRequest, ObjectCorrupt, ObjectMissing, StoreError
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import open_store

DATA = b"weights" * 1000


class TestStore:
    def test_bytes_come_back_as_they_were_put(self, store):
        stored = store.put_bytes("jobs/1/a.bin", DATA)
        assert stored == StoredObject(key="jobs/1/a.bin", size_bytes=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())
        assert store.get_bytes(stored) == store.get_bytes("jobs/1/a.bin") == DATA

    def test_a_file_comes_back_as_it_was_put(self, store, tmp_path):
        source, target = tmp_path / "source", tmp_path / "new" / "target"
        source.write_bytes(DATA * 200)
        stored = store.put_file("packs/a", source)
        store.get_file(stored, target)
        assert target.read_bytes() == DATA * 200
        assert stored.size_bytes == len(DATA) * 200

    def test_an_empty_object_is_an_object(self, store):
        assert store.get_bytes(store.put_bytes("empty", b"")) == b""
        assert store.size("empty") == 0

    def test_the_same_bytes_may_be_put_again(self, store):
        assert store.put_bytes("a", DATA) == store.put_bytes("a", DATA)

    def test_other_bytes_are_never_put_over_an_object(self, store, tmp_path):
        store.put_bytes("a", DATA)
        source = tmp_path / "other"
        source.write_bytes(b"other")
        with pytest.raises(StoreError, match="'a' exists with other bytes"):
            store.put_file("a", source)
        assert store.get_bytes("a") == DATA

    def test_a_stream_gives_the_bytes_in_pieces(self, store):
        store.put_bytes("a", DATA * 400)
        pieces = list(store.open_stream("a"))
        assert b"".join(pieces) == DATA * 400
        assert len(pieces) > 1

    def test_what_is_missing_is_said_to_be_missing(self, store, tmp_path):
        stored = StoredObject(key="nothing/here", size_bytes=1, sha256="0" * 64)
        for read in (
            lambda: store.get_bytes(stored),
            lambda: store.get_bytes("nothing/here"),
            lambda: store.open_stream("nothing/here"),
            lambda: store.get_file(stored, tmp_path / "target"),
        ):
            with pytest.raises(ObjectMissing, match="nothing/here"):
                read()
        assert store.size("nothing/here") is None
        assert not store.exists("nothing/here")
        assert not (tmp_path / "target").exists()

    def test_bytes_of_another_digest_are_refused_and_leave_no_file(self, store, tmp_path):
        lie = store.put_bytes("a", DATA).model_copy(update={"sha256": "f" * 64})
        with pytest.raises(ObjectCorrupt, match="expected sha256 ffff"):
            store.get_bytes(lie)
        with pytest.raises(ObjectCorrupt, match="'a'"):
            store.get_file(lie, tmp_path / "folder" / "target")
        assert list((tmp_path / "folder").iterdir()) == []

    def test_a_key_that_is_none_is_refused_by_everything(self, store, tmp_path):
        (tmp_path / "file").write_bytes(b"1")
        for key in ("", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\\b", "a\n", "ä", "a" * 513):
            stored = StoredObject(key=key, size_bytes=1, sha256="0" * 64)
            for act in (
                partial(store.put_bytes, key, b"1"),
                partial(store.put_file, key, tmp_path / "file"),
                partial(store.get_bytes, key),
                partial(store.get_bytes, stored),
                partial(store.get_file, stored, tmp_path / "target"),
                partial(store.open_stream, key),
                partial(store.size, key),
                partial(store.exists, key),
                partial(store.delete, key),
                partial(store.presign_get, key, seconds=1, filename="a"),
                partial(store.presign_put, key, seconds=1, size_bytes=1),
            ):
                with pytest.raises(InvalidRequest, match="expected a key"):
                    act()

    def test_keys_are_listed_by_prefix_in_order(self, store):
        assert list(store.list("jobs/")) == []
        for key in ("jobs/2/b", "jobs/1/c", "jobs/1/a", "uploads/x"):
            store.put_bytes(key, b"1")
        assert [each.key for each in store.list("jobs/1/")] == ["jobs/1/a", "jobs/1/c"]
        assert [each.key for each in store.list("")] == ["jobs/1/a", "jobs/1/c", "jobs/2/b", "uploads/x"]
        assert [each.key for each in store.list("jobs/1/c")] == ["jobs/1/c"]

    def test_a_list_tells_sizes_and_ages(self, store):
        store.put_bytes("a/b", b"123")
        (listed,) = store.list("a/")
        assert listed.size_bytes == 3
        assert abs((datetime.now(UTC) - listed.modified_at).total_seconds()) < 60

    def test_a_checked_stream_ends_with_the_bytes_or_without_its_last_piece(self, store):
        stored = store.put_bytes("a", DATA * 400)
        assert b"".join(store.open_stream(stored)) == DATA * 400
        assert b"".join(store.open_stream(store.put_bytes("empty", b""))) == b""
        came = []
        with pytest.raises(ObjectCorrupt, match="expected sha256 ffff"):
            came.extend(store.open_stream(stored.model_copy(update={"sha256": "f" * 64})))
        assert len(b"".join(came)) < len(DATA * 400)

    def test_nothing_is_unfinished_where_nobody_writes(self, store):
        store.put_bytes("a", b"1")
        assert list(store.unfinished()) == []

    def test_a_deleted_object_is_gone_and_may_be_deleted_again(self, store):
        store.put_bytes("a", DATA)
        store.delete("a")
        store.delete("a")
        assert not store.exists("a")


PART = 5 << 20
"""The least that S3 takes for all parts but the last."""


class TestParts:
    def test_parts_that_come_in_any_order_and_twice_are_joined_in_theirs(self, store, tmp_path):
        token = store.begin_parts("uploads/1")
        bodies = {1: b"a" * PART, 2: b"b" * PART, 3: b"end"}
        for number, body in [(3, b"old"), (2, bodies[2]), (3, bodies[3]), (1, bodies[1])]:
            (tmp_path / "part").write_bytes(body)
            store.put_part("uploads/1", token, number, tmp_path / "part")
        parts = store.parts("uploads/1", token)
        assert [(part.number, part.size_bytes) for part in parts] == [(1, PART), (2, PART), (3, 3)]
        assert not store.exists("uploads/1")
        assert [(each.key.partition("/")[0]) for each in store.unfinished()] != []
        store.join_parts("uploads/1", token, parts)
        store.join_parts("uploads/1", token, parts)
        assert store.get_bytes("uploads/1") == b"".join(bodies.values())
        assert list(store.unfinished()) == []

    @pytest.mark.parametrize("by_name", [True, False])
    def test_parts_that_are_abandoned_are_gone(self, store, tmp_path, by_name):
        token = store.begin_parts("uploads/1")
        (tmp_path / "part").write_bytes(b"a")
        store.put_part("uploads/1", token, 1, tmp_path / "part")
        for unfinished in [] if by_name else store.unfinished():
            store.abandon(unfinished)
        store.abandon_parts("uploads/1", token)
        assert list(store.unfinished()) == []
        with suppress(ObjectMissing):  # says one store, and the other that there are none
            assert list(store.parts("uploads/1", token)) == []
        assert not store.exists("uploads/1")


def test_a_part_s_link_takes_its_very_bytes_and_no_others(s3_settings):
    store = open_store(s3_settings)
    token = store.begin_parts("uploads/1")
    md5 = base64.b64encode(hashlib.md5(b"part", usedforsecurity=False).digest()).decode()
    link = store.presign_part("uploads/1", token, 1, seconds=60, size_bytes=4, md5=md5)
    for body, status in ((b"trap", 400), (b"parts", 403), (b"part", 200)):
        answer = httpx2.put(link, content=body, headers={"Content-MD5": md5})
        assert answer.status_code == status, answer.text
    assert [(part.number, part.size_bytes) for part in store.parts("uploads/1", token)] == [(1, 4)]


def test_a_token_of_another_store_is_refused(tmp_path):
    store = open_store(Settings(store_url=f"file://{tmp_path}/store"))
    with pytest.raises(StoreError, match="is no token of this store"):
        store.parts("uploads/1", "../../x")
