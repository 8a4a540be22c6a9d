"""The folder store: what only a file system can do to it."""

import pytest

from transfusion_core.errors import ObjectCorrupt, StoreError, Unavailable
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
    with pytest.raises(Unavailable, match="cannot be written"):
        store.put_bytes("a", b"1")


def test_a_write_that_fails_leaves_nothing(tmp_path):
    store = FolderStore(tmp_path / "store")
    store.put_bytes("a", b"1")
    with pytest.raises(StoreError):
        store.put_bytes("a", b"2")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["a"]


def test_a_folder_has_no_links(tmp_path):
    store = FolderStore(tmp_path)
    assert store.presign_get("a", seconds=60, filename="a") is None
    assert store.presign_put("a", seconds=60, size_bytes=1) is None


@pytest.mark.parametrize("url", ["file://", "file://host/dir", "s3://", "http://host/dir", "nonsense"])
def test_a_store_url_that_is_none_is_refused(url):
    with pytest.raises(StoreError, match="expected a store URL"):
        open_store(Settings(store_url=url))
