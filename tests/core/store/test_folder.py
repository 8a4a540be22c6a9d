"""The folder store: what only a file system can do to it."""

import os

import pytest

from transfusion_core.errors import ObjectCorrupt, ObjectMissing, StoreError, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.store import FolderStore, open_store


def test_a_flipped_bit_is_noticed(tmp_path):
    store = FolderStore(tmp_path / "store")
    stored = store.put_bytes("a", b"right")
    (tmp_path / "store" / "a").write_bytes(b"wrong")
    with pytest.raises(ObjectCorrupt):
        store.get_bytes(stored)
    with pytest.raises(ObjectCorrupt):
        store.get_file(stored, tmp_path / "out")


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "away").symlink_to(tmp_path)
    store = FolderStore(tmp_path / "store")
    with pytest.raises(StoreError, match="outside"):
        store.put_bytes("away/a", b"1")


def test_a_folder_that_cannot_be_made_is_a_store_that_does_not_answer(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    store = FolderStore(tmp_path / "file" / "store")
    with pytest.raises(Unavailable, match="store fails"):
        store.put_bytes("a", b"1")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a", b"1")
    with pytest.raises(StoreError):
        store.put_bytes("a", b"2")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_what_a_dead_writer_left_is_unfinished_and_can_be_abandoned(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("jobs/a", b"1")
    draft = tmp_path / "store" / "jobs" / ".abc.part"
    draft.write_bytes(b"half")
    os.utime(draft, (1000, 1000))
    (found,) = store.unfinished()
    assert (found.key, found.begun_at.timestamp()) == ("jobs", 1000)
    assert [each.key for each in store.list("")] == ["jobs/a"]
    store.abandon(found)
    store.abandon(found)
    assert list(store.unfinished()) == []
    with pytest.raises(StoreError, match="no unfinished object"):
        store.abandon(found._replace(token="jobs/a"))


def test_a_full_disk_is_a_store_that_does_not_answer_until_there_is_space(small_disk):
    store = FolderStore(small_disk.folder / "store")
    filler = small_disk.fill()
    with pytest.raises(Unavailable, match="store is full"):
        store.put_bytes("jobs/a", b"x" * 100_000)
    assert list(store.list("")) == list(store.unfinished()) == []
    filler.unlink()
    assert store.get_bytes(store.put_bytes("jobs/a", b"x" * 100_000)) == b"x" * 100_000


def test_an_object_that_goes_while_it_is_read_is_missing(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a", b"1")
    stream = store.open_stream("a")
    store.delete("a")
    with pytest.raises(ObjectMissing, match="gone"):
        next(stream)


def test_a_folder_has_no_links(tmp_path):
    store = FolderStore(tmp_path)
    assert store.presign_get("a", seconds=60, filename="a") is None
    assert store.presign_put("a", seconds=60, size_bytes=1) is None


@pytest.mark.parametrize("url", ["file://", "file://host/dir", "s3://", "http://host/dir", "nonsense"])
def test_a_store_url_that_is_none_is_refused(url):
    with pytest.raises(StoreError, match="expected a store URL"):
        open_store(Settings(store_url=url))
