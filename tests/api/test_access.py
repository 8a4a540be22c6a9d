"""What is another project's answers as if it did not exist: every route, every role, and every name in a body."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from access import ADMIN, Made, World, bearer, key_of, world_of
from transfusion_api.auth import RANKS, Role
from transfusion_core.settings import Settings

BODILESS = {"get", "delete"}
OPEN = ("/healthz", "/readyz", "/metrics")
OF_ADMINS = ("/v1/keys", "/v1/removals", "/v1/audit")
ASK_ALONE = ("/plan", "/draft")
OF_EVERYBODY = ("/v1/models", "/v1/presets", "/v1/schemas", "/v1/documents", "/v1/workers")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, migrated: Path, made: Made) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("access")
    (folder / "api.db").write_bytes(migrated.read_bytes())
    settings = Settings(
        mode="service", admin_key=ADMIN, database_url=f"sqlite:///{folder}/api.db", store_url=f"file://{folder}/store"
    )
    client = made.client(settings, base_url="http://service.example", client=("203.0.113.9", 4))
    with world_of(client, made.spec, made.work) as found:
        yield found


def operations(world: World) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in world.client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def filled(world: World, path: str) -> str:
    names = {**world.ids, "name": world.ids["dataset"], "number": "1", "chart": "classes"}
    if "/charts/" in path and "/experiments/" in path:
        names["name"] = world.ids["chart"]
    for catalogue, name in (
        ("models", "cbr-tiny"),
        ("presets", "quick"),
        ("schemas", "report"),
        ("documents", "first-study.md"),
    ):
        if f"/{catalogue}/" in path:
            names["name"] = name
    return path.format(**names)


def least_role(method: str, path: str) -> Role:
    if path.startswith(OF_ADMINS):
        return "admin"
    is_writers = path.startswith("/v1/uploads") or path.endswith("/salt")
    if method in ("get", "head") or path.endswith(ASK_ALONE):
        return "write" if is_writers else "read"
    return "write"


def send(world: World, key: str | None, method: str, path: str) -> Any:
    body = {} if method in BODILESS else {"json": {}}
    if path.endswith("/diff") and "/datasets/" in path:
        body = {"params": {"against": world.ids["dataset"]}}
    elif path.endswith(("/report/diff", "/report/diff.html")):
        body = {"params": {"against": world.ids["experiment_id"]}}
    return world.ask(key, method.upper(), path, **body)


def test_without_a_key_every_route_but_health_is_closed(world: World) -> None:
    for method, path, _ in operations(world):
        if path not in OPEN:
            assert send(world, None, method, filled(world, path)).status_code == 401, path


def test_what_a_route_names_by_id_is_not_found_by_a_foreign_key_of_any_role(world: World) -> None:
    walked = 0
    for method, path, _ in operations(world):
        if "{" not in path or path.startswith(OF_EVERYBODY):
            continue
        place = filled(world, path)
        for role, key in world.foreign.items():
            answer = send(world, key, method, place)
            too_low = RANKS[role] < RANKS[least_role(method, path)]
            assert answer.status_code == (403 if too_low else 404), (role, method, path, answer.text)
            told = answer.json()
            assert "mine" not in told["detail"]
            assert told["errors"] == []
        walked += 1
    assert walked >= 30


def test_every_route_asks_for_its_role(world: World) -> None:
    walked = 0
    for method, path, _ in operations(world):
        if "{" in path or path in OPEN:
            continue
        for role, key in world.own.items():
            too_low = RANKS[role] < RANKS[least_role(method, path)]
            answer = send(world, key, method, path)
            assert (answer.status_code == 403) is too_low, (role, method, path, answer.text)
            assert answer.status_code != 401
        walked += 1
    assert walked >= 20


def test_the_same_requests_reach_what_is_ones_own(world: World) -> None:
    for method, path, _ in operations(world):
        if method == "get" and "{" in path:
            role = least_role(method, path)
            answer = send(world, world.own[role], method, filled(world, path))
            assert answer.status_code in (200, 307, 409), (path, answer.text)
            assert answer.status_code != 409 or "report" in path or "profile" in path


def test_lists_hold_ones_own_rows_alone(world: World) -> None:
    newcomers = [key_of(world.client, role=role, project="third") for role in world.foreign]
    lists = ("experiments", "runs", "comparisons", "datasets", "weights")
    for noun in lists:
        assert world.ask(world.own["read"], "GET", f"/v1/{noun}").json()["items"], noun
        for key in newcomers:
            assert world.ask(key, "GET", f"/v1/{noun}").json() == {"items": [], "next": None}
    filters = {"experiment": world.ids["experiment_id"]}
    assert world.ask(world.foreign["admin"], "GET", "/v1/runs", params=filters).json()["items"] == []


def test_accounts_are_a_projects_own_and_those_of_all_belong_to_who_runs_the_service(world: World) -> None:
    stranger, key_id = key_of(world.client, role="admin", project="third"), world.ids["key_id"]
    noted = {"keys": ("id", key_id), "removals": ("id", world.ids["removal_id"]), "audit": ("project", "first")}
    for noun, (field, value) in noted.items():
        for key, sees in (
            (world.own["admin"], True),
            (ADMIN, True),
            (world.foreign["admin"], False),
            (stranger, False),
        ):
            page = world.ask(key, "GET", f"/v1/{noun}", params={"limit": 200}).json()
            assert (value in [item[field] for item in page["items"]]) is sees, noun
    assert world.ask(stranger, "GET", "/v1/removals").json()["items"] == []
    projects = {item["project"] for item in world.ask(stranger, "GET", "/v1/keys").json()["items"]}
    assert projects == {"third"}


def test_an_admin_of_a_project_makes_keys_of_that_project_alone(world: World) -> None:
    words = {"name": "k", "role": "read"}
    own = world.ask(world.foreign["admin"], "POST", "/v1/keys", json=words)
    assert (own.status_code, own.json()["project"]) == (201, "second")
    other = world.ask(world.foreign["admin"], "POST", "/v1/keys", json={**words, "project": "first"})
    assert other.status_code == 403
    assert "'second'" in other.json()["detail"]
    assert world.ask(world.foreign["admin"], "DELETE", f"/v1/keys/{world.ids['key_id']}").status_code == 404
    assert world.ask(world.own["read"], "GET", "/v1/experiments").status_code == 200


def test_versions_of_a_name_count_what_the_own_project_deleted(world: World) -> None:
    words = {"name": "gone", "kind": "npz"}
    for keys, version in ((world.own, 2), (world.foreign, 1)):
        upload = world.upload("g.npz", b"again", key=keys["write"])
        made = world.ask(keys["write"], "POST", "/v1/datasets", json={**words, "location": f"upload:{upload}"}).json()
        assert made["name"] == f"gone@{version}"


def test_names_in_bodies_reach_nothing_of_another_project(world: World, spec: dict[str, Any]) -> None:
    run = world.ids["run_id"]
    weights = {"sources": {"s": {"weights": "mine"}}, "inits": [{"kind": "pretrained", "source": "s"}]}
    kept = {"sources": {"s": {"run": f"{run}@final"}}, "inits": [{"kind": "pretrained", "source": "s"}]}
    finished = world.upload("own.npz", b"bytes")
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("/v1/experiments", {**spec, "dataset": world.ids["dataset"]}),
        ("/v1/experiments", {**spec, **weights}),
        ("/v1/experiments", {**spec, **kept}),
        ("/v1/experiments/combine", {"experiments": [world.ids["experiment_id"]] * 2}),
        ("/v1/comparisons", {"a": f"{run}@final", "b": f"{run}@init"}),
        ("/v1/datasets", {"name": "d", "kind": "npz", "location": f"upload:{finished}"}),
        ("/v1/weights", {"name": "w", "location": f"upload:{finished}"}),
    ]
    for path, body in attempts:
        answer = world.ask(world.foreign["admin"], "POST", path, json=body)
        assert answer.status_code == 422, (path, body, answer.text)
        told = [str(fault) for fault in answer.json()["errors"]]
        assert any("there is no" in fault or "there are no" in fault or "is no" in fault for fault in told), told
        assert not any(
            "first@" in fault or "pictures@" in str(fault.get("allowed")) for fault in answer.json()["errors"]
        )


def test_work_is_shared_between_projects(world: World, spec: dict[str, Any]) -> None:
    theirs = world.ask(world.foreign["write"], "POST", "/v1/experiments", json={**spec, "name": "theirs"}).json()
    assert (theirs["state"], theirs["name"]) == ("succeeded", "theirs")
    runs = world.ask(world.foreign["read"], "GET", f"/v1/experiments/{theirs['id']}/runs").json()["items"]
    mine = world.ask(world.own["read"], "GET", f"/v1/experiments/{world.ids['experiment_id']}/runs").json()["items"]
    assert [run["id"] for run in runs] == [run["id"] for run in mine]
    report = world.ask(world.foreign["read"], "GET", f"/v1/experiments/{theirs['id']}/report").json()
    assert report["experiment"] == theirs["id"]
    assert world.ask(world.foreign["read"], "GET", f"/v1/runs/{runs[0]['id']}").status_code == 200
    gone = world.ask(world.foreign["write"], "DELETE", f"/v1/experiments/{theirs['id']}")
    assert gone.status_code == 200
    assert world.ask(world.own["read"], "GET", f"/v1/runs/{runs[0]['id']}").status_code == 200


def test_a_shared_run_is_told_in_the_words_of_whoever_asks(world: World, spec: dict[str, Any]) -> None:
    sources = {"secret-project-name": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2}}}}
    words = {"sources": sources, "inits": [{"kind": "pretrained", "source": "secret-project-name"}]}
    world.make("/v1/experiments", {**spec, **words})
    renamed = {
        "sources": {"plain": sources["secret-project-name"]},
        "inits": [{"kind": "pretrained", "source": "plain"}],
    }
    theirs = world.ask(world.foreign["write"], "POST", "/v1/experiments", json={**spec, **renamed}).json()
    listed = world.ask(world.foreign["read"], "GET", "/v1/runs", params={"experiment": theirs["id"]})
    everything = world.ask(world.foreign["read"], "GET", "/v1/runs").text + listed.text
    for run in listed.json()["items"]:
        everything += world.ask(world.foreign["read"], "GET", f"/v1/runs/{run['id']}").text
    assert "plain" in everything
    assert "secret-project-name" not in everything


def test_an_idempotency_key_is_a_projects_own(world: World, spec: dict[str, Any]) -> None:
    sent = {"json": {**spec, "name": "once"}, "headers": {"Idempotency-Key": "the same"}}
    answers = [
        world.ask(keys["write"], "POST", "/v1/experiments", **{**sent}).json() for keys in (world.own, world.foreign)
    ]
    assert answers[0]["id"] != answers[1]["id"]
    again = world.ask(world.own["write"], "POST", "/v1/experiments", **sent)
    assert again.json()["id"] == answers[0]["id"]


def test_two_projects_may_use_one_name(world: World) -> None:
    other = world.upload("o.npz", b"other", key=world.foreign["write"])
    words = {"name": "pictures", "kind": "npz", "location": f"upload:{other}"}
    made = world.ask(world.foreign["write"], "POST", "/v1/datasets", json=words).json()
    assert made["name"] == "pictures@1"
    assert made["job"] != world.ask(world.own["read"], "GET", "/v1/datasets/pictures").json()["job"]


def test_a_key_without_a_project_has_one_of_its_own(world: World) -> None:
    alone = key_of(world.client, role="admin")
    assert world.ask(alone, "GET", "/v1/experiments").json()["items"] == []
    assert world.ask(alone, "GET", f"/v1/experiments/{world.ids['experiment_id']}").status_code == 404


def test_deeds_are_recorded_and_only_admins_read_them(world: World) -> None:
    page = world.client.get("/v1/audit", params={"limit": 200}, headers=bearer(ADMIN)).json()
    deeds = {(event["action"], event["subject"], event["project"]) for event in page["items"]}
    assert ("experiment.create", world.ids["experiment_id"], "first") in deeds
    assert ("comparison.create", world.ids["comparison_id"], "first") in deeds
    assert ("upload.create", world.ids["upload_id"], "first") in deeds
    assert ("weights.register", "mine", "first") in deeds
    assert {action for action, _, _ in deeds} >= {"key.create", "dataset.register"}
    assert all(len(event["request_id"]) == 32 for event in page["items"] if event["actor"] != "local")
    for keys in (world.own, world.foreign):
        for role in ("read", "write"):
            assert world.ask(keys[role], "GET", "/v1/audit").status_code == 403
