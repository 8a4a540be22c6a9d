"""Disk full under the database or the store: the reason is told, and all goes on when there is space again."""

import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, text

from small_disk import small_disk
from transfusion_core.db import uploads
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Unavailable
from transfusion_core.settings import Settings


def test_a_database_whose_disk_is_full_answers_503_and_goes_on_when_there_is_space(
    client: TestClient, spec: dict[str, Any]
) -> None:
    engine = client.app.state.service.engine
    engine.dispose()
    limited = [True]

    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {1 if limited else 10**9}")

    event.listen(engine, "checkout", limit)
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 503
    assert "database or disk is full" in answer.json()["detail"]
    assert client.get("/v1/experiments").json()["items"] == []
    limited.clear()
    assert client.post("/v1/experiments", json=spec).status_code == 201


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_postgres_whose_disk_is_full_is_unavailable_and_nothing_is_kept(engine: Engine) -> None:
    full = "BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ {full} $$"))
        connection.execute(text("CREATE TRIGGER full_disk BEFORE INSERT ON uploads EXECUTE FUNCTION full_disk()"))
    try:
        with pytest.raises(Unavailable, match="No space left on device"):
            uploads.create(Scope(engine), filename="a", size_bytes=1)
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION full_disk CASCADE"))
    assert uploads.create(Scope(engine), filename="a", size_bytes=1).state == "open"


def test_a_store_whose_disk_is_full_answers_503_and_goes_on_when_there_is_space(
    settings: Callable[..., Settings], serve: Callable[..., TestClient], tmp_path: Any
) -> None:
    with (
        small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk,
        serve(settings(store_url=f"file://{disk.folder}/store")) as client,
    ):
        upload = client.post("/v1/uploads", json={"filename": "a.zip", "size_bytes": 200_000}).json()
        filler = disk.fill()
        answer = client.put(upload["url"], content=b"x" * 200_000)
        assert answer.status_code == 503
        assert "is full" in answer.json()["detail"]
        filler.unlink()
        assert client.put(upload["url"], content=b"x" * 200_000).json()["state"] == "finished"


def test_a_service_whose_own_disk_is_full_answers_503_and_goes_on_when_there_is_space(
    client: TestClient, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = client.post("/v1/uploads", json={"filename": "a.zip", "size_bytes": 200_000}).json()
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
        filler = disk.fill()
        answer = client.put(upload["url"], content=b"x" * 200_000)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the disk of this service is full")
        filler.unlink()
        assert client.put(upload["url"], content=b"x" * 200_000).json()["state"] == "finished"


def test_other_errors_of_the_system_are_ours(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **more: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", broken)
    upload = client.post("/v1/uploads", json={"filename": "a.zip", "size_bytes": 1}).json()
    assert client.put(upload["url"], content=b"x").json()["code"] == "internal"
