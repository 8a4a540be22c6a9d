"""Who may do what: keys and roles of a service, the loopback of an embedded one."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.db import api_keys
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest
from transfusion_core.settings import Settings

ADMIN = "tf_admin_" + "a" * 64


@pytest.fixture
def service(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> Iterator[TestClient]:
    made = settings(mode="service", admin_key=ADMIN)
    with serve(made, base_url="http://service.example", client=("203.0.113.9", 4)) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def key_of(client: TestClient, role: str) -> str:
    answer = client.post("/v1/keys", json={"name": role, "role": role, "expires_in_days": 1}, headers=bearer(ADMIN))
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Bearer tf_x_y", f"Basic {ADMIN}", f"Bearer {ADMIN}x"])
def test_without_a_known_key_nothing_is_answered(service: TestClient, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    for method, path in (("GET", "/v1/experiments"), ("POST", "/v1/experiments"), ("GET", "/v1/models")):
        answer = service.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


def test_every_v1_route_needs_a_key(service: TestClient) -> None:
    for path, methods in service.get("/openapi.json").json()["paths"].items():
        for method in methods:
            if path.startswith("/v1/"):
                assert service.request(method, path.replace("{", "").replace("}", "")).status_code == 401, path


def test_health_needs_no_key(service: TestClient) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/"):
        assert service.get(path).status_code == 200, path
    assert "API key" in service.get("/").text


def test_each_role_does_what_the_roles_below_it_do(service: TestClient, spec: dict[str, Any]) -> None:
    keys = {"read": key_of(service, "read"), "write": key_of(service, "write"), "admin": ADMIN}
    deeds = {
        "read": ("GET", "/v1/experiments", None, 200),
        "write": ("POST", "/v1/experiments", spec, 201),
        "admin": ("GET", "/v1/keys", None, 200),
    }
    order = list(keys)
    for role, key in keys.items():
        for needed, (method, path, body, status) in deeds.items():
            answer = service.request(method, path, json=body, headers=bearer(key))
            allowed = order.index(role) >= order.index(needed)
            assert answer.status_code == (status if allowed else 403), (role, needed, answer.text)
            assert allowed or answer.json()["code"] == "not_allowed"


def test_a_secret_is_shown_once(service: TestClient) -> None:
    key = key_of(service, "read")
    listed = service.get("/v1/keys", headers=bearer(ADMIN))
    assert "read" in {item["role"] for item in listed.json()["items"]}
    assert key not in listed.text
    assert all("key" not in item for item in listed.json()["items"])


def test_a_revoked_key_opens_nothing(service: TestClient) -> None:
    key = key_of(service, "write")
    (key_id,) = [
        item["id"] for item in service.get("/v1/keys", headers=bearer(ADMIN)).json()["items"] if item["name"] == "write"
    ]
    assert service.get("/v1/runs", headers=bearer(key)).status_code == 200
    assert service.delete(f"/v1/keys/{key_id}", headers=bearer(ADMIN)).status_code == 204
    assert service.get("/v1/runs", headers=bearer(key)).status_code == 401


def test_an_expired_key_opens_nothing(service: TestClient) -> None:
    parts = service.app.state.service
    past = datetime.now(UTC) - timedelta(seconds=1)
    _, key = api_keys.create(Scope(parts.engine), parts.secret, name="old", role="read", expires_at=past)
    assert service.get("/v1/runs", headers=bearer(key)).status_code == 401


def test_faults_of_a_key_are_told(service: TestClient) -> None:
    body = {"name": "", "role": "root", "expires_in_days": 0}
    answer = service.post("/v1/keys", json=body, headers=bearer(ADMIN))
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {"/name", "/role", "/expires_in_days"}


def test_the_first_admin_key_is_made_kept_and_printed_once(
    settings: Callable[..., Settings],
    serve: Callable[..., TestClient],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = settings(mode="service", admin_key_file=tmp_path / "keys" / "admin")
    with serve(made) as client:
        line = capsys.readouterr().out.strip()
        assert line.startswith("admin key: tf_")
        key = line.removeprefix("admin key: ")
        assert client.get("/v1/keys", headers=bearer(key)).status_code == 200
    assert (tmp_path / "keys" / "admin").read_text().strip() == key
    assert (tmp_path / "keys" / "admin").stat().st_mode & 0o777 == 0o600
    with serve(made) as client:
        assert capsys.readouterr().out == ""
        assert client.get("/v1/keys", headers=bearer(key)).status_code == 200


def test_an_admin_key_that_was_revoked_does_not_come_back_with_the_next_start(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    made = settings(mode="service", admin_key=ADMIN)
    with serve(made) as client:
        (key,) = client.get("/v1/keys", headers=bearer(ADMIN)).json()["items"]
        assert client.delete(f"/v1/keys/{key['id']}", headers=bearer(ADMIN)).status_code < 300
    with serve(made) as client:
        assert client.get("/v1/keys", headers=bearer(ADMIN)).status_code == 401


def test_an_admin_key_that_could_be_guessed_is_refused_at_the_start(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with (
        pytest.raises(InvalidRequest, match="has 6 characters: expected 32 or more"),
        serve(settings(mode="service", admin_key="secret")),
    ):
        pass


def test_a_key_that_was_given_is_not_printed(service: TestClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert service.get("/v1/keys", headers=bearer(ADMIN)).status_code == 200
    assert ADMIN not in capsys.readouterr().out


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:9", "[::1]:8000"])
def test_an_embedded_service_answers_its_own_machine(client: TestClient, host: str) -> None:
    assert client.get("/v1/experiments", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "[x"])
def test_an_embedded_service_refuses_other_names(client: TestClient, host: str) -> None:
    answer = client.get("/v1/experiments", headers={"Host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


@pytest.mark.parametrize("address", ["203.0.113.9", "testclient"])
def test_an_embedded_service_refuses_other_machines(
    settings: Callable[..., Settings], serve: Callable[..., TestClient], address: str
) -> None:
    with serve(settings(), client=(address, 1)) as client:
        assert client.get("/healthz").status_code == 403


def test_pages_of_other_origins_are_refused(client: TestClient) -> None:
    for origin, status in (("http://127.0.0.1:8000", 200), ("http://evil.example", 403), ("null", 403)):
        assert client.get("/v1/runs", headers={"Origin": origin}).status_code == status
