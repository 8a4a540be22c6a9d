"""The S3 store: links, large files, foreign objects, and a server that is not there or refuses."""

import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest

from transfusion_core.errors import StoreError, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.store import open_store, s3, s3_upload


@pytest.fixture
def store(s3_settings):
    return open_store(s3_settings)


def put(url: str, data: bytes) -> int:
    with urllib.request.urlopen(urllib.request.Request(url, data=data, method="PUT"), timeout=10) as answer:
        return answer.status


def test_a_download_link_works_from_outside_and_is_an_attachment(store):
    store.put_bytes("a", b"weights")
    url = store.presign_get("a", seconds=60, filename='final weights".bin')
    assert url.startswith("http://localhost:")
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"weights"
        assert answer.headers["Content-Disposition"] == 'attachment; filename="final_weights_.bin"'


def test_an_upload_link_takes_one_object_of_the_size_it_was_made_for(store):
    url = store.presign_put("uploads/1", seconds=60, size_bytes=5)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        put(url, b"too large")
    assert put(url, b"exact") == 200
    assert store.get_bytes("uploads/1") == b"exact"


def test_an_object_that_came_by_a_link_is_compared_by_its_bytes(store):
    put(store.presign_put("uploads/1", seconds=60, size_bytes=5), b"exact")
    assert store.put_bytes("uploads/1", b"exact").size_bytes == 5
    with pytest.raises(StoreError, match="other bytes"):
        store.put_bytes("uploads/1", b"other")


def test_a_large_file_goes_up_in_parts(store, tmp_path, monkeypatch):
    monkeypatch.setattr(s3_upload, "PART_BYTES", 5 << 20)
    source = tmp_path / "large"
    source.write_bytes(bytes(range(256)) * 50_000)
    stored = store.put_file("large", source)
    store.get_file(stored, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert store.put_file("large", source) == stored


def test_two_stores_may_make_the_bucket_at_the_same_time(s3_settings):
    one, other = open_store(s3_settings), open_store(s3_settings)
    one.put_bytes("a", b"1")
    other._create_bucket()
    assert other.get_bytes("a") == b"1"


def test_a_server_that_is_away_does_not_answer(credentials):
    store = open_store(Settings(store_url="s3://bucket", s3_endpoint_url="http://127.0.0.1:9", store_seconds=0))
    for act in (
        lambda: store.put_bytes("a", b"1"),
        lambda: store.get_bytes("a"),
        lambda: store.size("a"),
        lambda: list(store.list("")),
        lambda: store.delete("a"),
    ):
        with pytest.raises(Unavailable, match="does not answer"):
            act()


def test_no_links_are_given_out_to_an_endpoint_that_users_may_not_reach(credentials):
    store = open_store(Settings(store_url="s3://bucket", s3_endpoint_url="http://127.0.0.1:9"))
    assert store.presign_get("a", seconds=1, filename="a") is None
    assert store.presign_put("a", seconds=1, size_bytes=1) is None


def test_wrong_credentials_are_refused(s3_settings, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(StoreError, match=r"refused our credentials .*SignatureDoesNotMatch"):
        open_store(s3_settings).put_bytes("a", b"1")


def test_a_bucket_in_another_region_is_asked_for_by_its_name(credentials):
    client = s3.s3_client("http://127.0.0.1:9", region="eu-west-1")
    asked = []
    client.meta.events.register(
        "before-call.s3.ListObjectsV2",
        lambda **_: (SimpleNamespace(status_code=404, headers={}), {"Error": {"Code": "404"}}),
    )
    client.meta.events.register("before-call.s3.CreateBucket", lambda params, **_: asked.append(params["body"]))
    with pytest.raises(Unavailable):
        s3.S3Store(client, bucket="elsewhere").put_bytes("a", b"1")
    assert b"eu-west-1" in asked[0]
