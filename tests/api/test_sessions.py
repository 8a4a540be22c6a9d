"""Logging in to the pages: a session for a key, a cookie for no script and no other page, forms with a token."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from access import ADMIN, bearer, key_of
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.tables import WebSession
from transfusion_core.settings import Settings

BASE = "http://service.example"


@pytest.fixture
def service(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> Iterator[TestClient]:
    with serve(settings(mode="service", admin_key=ADMIN), base_url=BASE, client=("203.0.113.9", 4)) as client:
        yield client


def log_in(client: TestClient, key: str = ADMIN) -> Any:
    return client.post("/login", data={"key": key}, headers={"Origin": str(client.base_url)}, follow_redirects=False)


def csrf(client: TestClient) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', client.get("/").text)
    assert found
    return found[1]


def test_a_key_opens_the_pages(service: TestClient, spec: dict[str, Any]) -> None:
    made = service.post("/v1/experiments", json=spec, headers=bearer(ADMIN)).json()
    assert "Log in" in service.get("/").text
    assert made["id"] not in service.get("/").text
    answer = log_in(service)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert made["id"] in service.get("/").text
    assert service.get(f"/v1/experiments/{made['id']}").status_code == 200
    assert service.get(f"/v1/experiments/{made['id']}/report.html").status_code == 409


def test_the_cookie_is_for_no_script_and_no_other_page(service: TestClient) -> None:
    written = log_in(service).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in written.split(";")}
    assert "secure" not in written


def test_over_https_the_cookie_is_for_https_alone(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    behind = settings(mode="service", admin_key=ADMIN, behind_https=True)
    for made, base in ((behind, BASE), (settings(mode="service", admin_key=ADMIN), "https://service.example")):
        with serve(made, base_url=base) as client:
            assert "secure" in log_in(client).headers["set-cookie"].lower()


def test_the_database_keeps_a_digest_of_what_the_cookie_holds(service: TestClient) -> None:
    token = log_in(service).cookies["transfusion_session"]
    with unit_of_work(service.app.state.service.engine, write=False) as session:
        assert token not in session.scalars(select(WebSession.digest)).one()


def test_a_wrong_key_opens_nothing(service: TestClient) -> None:
    for key in ("", "x", ADMIN + "x", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")):
        answer = log_in(service, key)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
    assert service.post("/login", json={"key": ADMIN}).status_code == 422
    assert service.post("/login", data={str(n): "x" for n in range(20)}).status_code == 422
    assert service.post("/login", data={"key": "x" * 20_000}).status_code == 413


def test_another_origin_can_neither_log_in_nor_out(service: TestClient) -> None:
    log_in(service)
    for path, fields in (("/login", {"key": ADMIN}), ("/logout", {"csrf": csrf(service)})):
        answer = service.post(path, data=fields, headers={"Origin": "http://evil.example"})
        assert answer.status_code == 403


def test_a_session_reads_and_nothing_else(service: TestClient, spec: dict[str, Any]) -> None:
    log_in(service)
    assert service.get("/v1/keys").status_code == 200
    assert service.post("/v1/experiments", json=spec).status_code == 401
    assert service.post("/v1/keys", json={"name": "x", "role": "admin"}).status_code == 401
    assert service.delete("/v1/keys/x").status_code == 401


def test_a_form_without_its_token_does_nothing(service: TestClient) -> None:
    log_in(service)
    for fields in ({}, {"csrf": ""}, {"csrf": "0" * 64}, {"csrf": "é"}):
        assert service.post("/logout", data=fields or {"x": "y"}).status_code == 403
    assert "Log out" in service.get("/").text


def test_logging_out_ends_the_session_and_not_only_the_cookie(service: TestClient) -> None:
    token = log_in(service).cookies["transfusion_session"]
    answer = service.post("/logout", data={"csrf": csrf(service)}, follow_redirects=False)
    assert answer.status_code == 303
    service.cookies.set("transfusion_session", token)
    assert "Log in" in service.get("/").text
    assert service.get("/v1/keys").status_code == 401
    deeds = [event["action"] for event in service.get("/v1/audit", headers=bearer(ADMIN)).json()["items"]]
    assert deeds[:2] == ["session.end", "session.create"]


def test_a_session_ends_with_its_key_and_with_its_day(service: TestClient) -> None:
    log_in(service, key_of(service, role="read", name="gone"))
    assert service.get("/v1/runs").status_code == 200
    listed = service.get("/v1/keys", headers=bearer(ADMIN)).json()["items"]
    (key_id,) = [key["id"] for key in listed if key["name"] == "gone"]
    service.delete(f"/v1/keys/{key_id}", headers=bearer(ADMIN))
    assert service.get("/v1/runs").status_code == 401
    log_in(service)
    with unit_of_work(service.app.state.service.engine) as session:
        session.execute(update(WebSession).values(expires_at=clock(-1)))
    assert service.get("/v1/runs").status_code == 401
    log_in(service)
    with unit_of_work(service.app.state.service.engine, write=False) as session:
        assert len(session.scalars(select(WebSession)).all()) == 1


def test_an_embedded_service_asks_for_no_key(client: TestClient) -> None:
    assert "Log" not in client.get("/").text


def test_every_page_has_its_safe_headers(service: TestClient) -> None:
    for path in ("/", "/docs", "/v1/experiments", "/nowhere", "/openapi.json"):
        headers = service.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["x-frame-options"] == "DENY"
