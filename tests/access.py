"""A service with two projects: one that has made one of everything, and a foreign one with a key of each role."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi.testclient import TestClient

from transfusion_core.settings import Settings

ADMIN = "tf_admin_" + "a" * 64


def bearer(key: str) -> dict[str, str]:
    """The header that presents a key."""
    return {"Authorization": f"Bearer {key}"}


def key_of(client: TestClient, **words: Any) -> str:
    """A new key."""
    answer = client.post("/v1/keys", json={"name": "k", **words}, headers=bearer(ADMIN))
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


@dataclass(frozen=True)
class World:
    """A service, its keys and what the first project has."""

    client: TestClient
    own: dict[str, str]
    """Key of each role of the project that made everything."""
    foreign: dict[str, str]
    """And of one that made nothing."""
    ids: dict[str, str]

    def ask(self, key: str | None, method: str, path: str, **more: Any) -> Any:
        """One request, with a key or none. Streams are read to their end."""
        headers = {**(bearer(key) if key else {}), **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, follow_redirects=False, **more)

    def make(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Something of the first project's."""
        answer = self.ask(self.own["write"], "POST", path, json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    def upload(self, filename: str, data: bytes, *, key: str | None = None) -> str:
        """A finished upload."""
        key = key or self.own["write"]
        words = {"filename": filename, "size_bytes": len(data)}
        made = self.ask(key, "POST", "/v1/uploads", json=words).json()
        put = self.ask(key, "PUT", f"/v1/uploads/{made['id']}/content", content=data)
        assert put.status_code == 200, put.text
        return str(made["id"])


class Made(Protocol):
    """What the folder's conftest gives: a client of a service, a spec, and a stand-in for workers."""

    spec: dict[str, Any]

    def client(self, settings: Settings, **more: Any) -> TestClient:
        """A client of a service with these settings."""

    def work(self, client: TestClient) -> int:
        """Do all jobs that can be done."""


@contextmanager
def world_of(client: TestClient, spec: dict[str, Any], work: Callable[[TestClient], int]) -> Iterator[World]:
    """The two projects."""
    roles = ("read", "write", "admin")
    with client:
        own = {role: key_of(client, role=role, project="first") for role in roles}
        foreign = {role: key_of(client, role=role, project="second") for role in roles}
        world = World(client, own, foreign, {})
        world.ids.update(experiment_id=world.make("/v1/experiments", spec)["id"])
        work(client)
        reports = world.ask(own["read"], "GET", f"/v1/experiments/{world.ids['experiment_id']}/reports").json()["items"]
        world.ids.update(digest=reports[0]["digest"])
        runs = world.ask(own["read"], "GET", "/v1/runs").json()["items"]
        world.ids.update(run_id=runs[0]["id"], checkpoint="final", section="performance", chart="quality")
        pair = {"a": f"{runs[0]['id']}@final", "b": f"{runs[1]['id']}@final", "images": 50}
        world.ids.update(comparison_id=world.make("/v1/comparisons", pair)["id"])
        upload = world.upload("w.safetensors", b"weights")
        world.make("/v1/weights", {"name": "mine", "location": f"upload:{upload}"})
        pictures = {"name": "pictures", "kind": "npz", "location": f"upload:{world.upload('p.npz', b'pictures')}"}
        world.ids.update(dataset=world.make("/v1/datasets", pictures)["name"])
        gone = {"name": "gone", "kind": "npz", "location": f"upload:{world.upload('g.npz', b'gone')}"}
        world.make("/v1/datasets", gone)
        work(client)
        removed = world.ask(own["write"], "DELETE", "/v1/datasets/gone@1").json()
        world.ids.update(removal_id=removed["id"])
        world.ids.update(key_id=world.ask(own["admin"], "GET", "/v1/keys").json()["items"][-1]["id"])
        world.ids.update(upload_id=world.make("/v1/uploads", {"filename": "x.npz", "size_bytes": 3})["id"])
        work(client)
        yield world
