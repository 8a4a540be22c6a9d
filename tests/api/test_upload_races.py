"""Two requests about one upload at once: a finished upload keeps its bytes, whoever else asks, in both stores."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from s3_server import KEY, SECRET, TOOL, shared_s3
from servers import missing_server
from transfusion_api.routes import uploads as routes
from transfusion_core.db import uploads
from transfusion_core.db.scope import Scope

DATA, OTHER = b"data", b"else"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def endpoint() -> str:
    if not TOOL.exists():
        missing_server(f"no S3 server to start: {TOOL} is missing")
    return shared_s3()


@pytest.fixture(params=["folder", "s3"])
def client(
    request: pytest.FixtureRequest,
    settings: Callable[..., Any],
    serve: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[TestClient]:
    words: dict[str, str] = {}
    if request.param == "s3":
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        found = request.getfixturevalue("endpoint")
        words = {"store_url": "s3://races/x", "s3_endpoint_url": found, "s3_public_endpoint_url": found}
    with serve(settings(**words)) as made:
        yield made


@pytest.fixture
def upload(client: TestClient) -> str:
    made: str = client.post("/v1/uploads", json={"filename": "x.zip", "size_bytes": len(DATA)}).json()["id"]
    return made


def complete(client: TestClient, upload: str, sha256: str = SHA256) -> Any:
    return client.post(f"/v1/uploads/{upload}/complete", json={"sha256": sha256})


def is_whole(client: TestClient, upload: str) -> bool:
    """What the row says is what the store has."""
    service = client.app.state.service  # type: ignore[attr-defined]
    stored = uploads.get(Scope(service.engine), upload).object
    return stored is not None and hashlib.sha256(service.store.get_bytes(stored)).hexdigest() == stored.sha256


def meeting(monkeypatch: pytest.MonkeyPatch, where: Any, name: str) -> None:
    """Have two threads meet after this call, before either goes on."""
    real, both = getattr(where, name), threading.Barrier(2)

    def met(*args: Any, **words: Any) -> Any:
        found = real(*args, **words)
        both.wait(10)
        return found

    monkeypatch.setattr(where, name, met)


def test_whoever_expected_other_bytes_takes_none_from_who_finished(
    client: TestClient, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have read the bytes before either decides."""
    service = client.app.state.service  # type: ignore[attr-defined]
    service.store.put_bytes(f"uploads/{upload}", DATA)
    with monkeypatch.context() as patched:
        meeting(patched, routes, "stored_at")
        with ThreadPoolExecutor(2) as pool:
            right = pool.submit(complete, client, upload)
            wrong = pool.submit(complete, client, upload, "0" * 64)
            codes = right.result().status_code, wrong.result().status_code
    assert codes in {(200, 422), (409, 422)}
    if codes[0] == 200:
        assert is_whole(client, upload)
    else:
        assert client.get(f"/v1/uploads/{upload}").json()["state"] == "open"
        service.store.put_bytes(f"uploads/{upload}", DATA)
        assert complete(client, upload).status_code == 200
        assert is_whole(client, upload)


def test_a_refusal_after_the_finish_deletes_nothing_and_a_finish_after_the_refusal_is_told(
    client: TestClient, upload: str
) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    scope, key = Scope(service.engine), f"uploads/{upload}"
    service.store.put_bytes(key, DATA)
    stored = routes.stored_at(service, key, len(DATA))
    uploads.reject(scope, upload, before=None, discard=lambda: service.store.delete(key))
    with pytest.raises(routes.Conflict, match="begun anew"):
        uploads.finish(scope, upload, stored)
    service.store.put_bytes(key, DATA)
    assert complete(client, upload).status_code == 200
    uploads.reject(scope, upload, before=None, discard=lambda: service.store.delete(key))
    assert is_whole(client, upload)


def test_of_two_that_send_different_bytes_at_once_one_is_kept_whole(
    client: TestClient, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting(monkeypatch, routes, "digest_of")
    path = f"/v1/uploads/{upload}/content"
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.put, path, content=data) for data in (DATA, OTHER)]
        assert sorted(each.result().status_code for each in answers) == [200, 409]
    assert is_whole(client, upload)


def test_the_same_bytes_twice_at_once_are_the_same_as_once(
    client: TestClient, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting(monkeypatch, routes, "digest_of")
    path = f"/v1/uploads/{upload}/content"
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(client.put, path, content=DATA) for _ in range(2)]
        assert [each.result().status_code for each in answers] == [200, 200]
    assert is_whole(client, upload)


def test_a_finished_upload_is_given_no_link(client: TestClient, upload: str) -> None:
    here = f"http://127.0.0.1:8000/v1/uploads/{upload}/content"
    put = client.put(here, content=DATA)
    assert put.json()["url"] == client.get(f"/v1/uploads/{upload}").json()["url"] == here
    assert complete(client, upload).json()["url"] == here
    assert client.put(here, content=OTHER).status_code == 409


def test_bytes_come_whole_or_in_parts_and_not_both(client: TestClient, upload: str, tmp_path: Path) -> None:
    asked = {"parts": [{"number": 1}]}
    assert client.post(f"/v1/uploads/{upload}/parts", json=asked).status_code == 200
    refused = client.put(f"/v1/uploads/{upload}/content", content=DATA)
    assert (refused.status_code, "come in parts" in refused.json()["detail"]) == (409, True)
    other = client.post("/v1/uploads", json={"filename": "x.zip", "size_bytes": len(DATA)}).json()["id"]
    scope = Scope(client.app.state.service.engine)  # type: ignore[attr-defined]
    uploads.begin_whole(scope, other, sha256=SHA256)
    assert client.post(f"/v1/uploads/{other}/parts", json=asked).status_code == 409
    assert complete(client, other, "0" * 64).status_code == 422
    assert client.put(f"/v1/uploads/{other}/content", content=DATA).status_code == 200, "its own bytes go on"
