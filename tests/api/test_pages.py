"""The pages without a browser: what they hold, who may see them, drafts, and files that browsers may keep."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from access import ADMIN, bearer, key_of
from transfusion_core.settings import Settings

BASE = "http://service.example"
PAGES = ("/", "/experiments/new", "/comparisons", "/datasets", "/keys", "/experiments/nothing", "/runs/nothing",
         "/experiments/nothing/report", "/comparisons/nothing", "/datasets/nothing")  # fmt: skip


@pytest.fixture
def service(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> Iterator[TestClient]:
    with serve(settings(mode="service", admin_key=ADMIN), base_url=BASE, client=("203.0.113.9", 4)) as client:
        yield client


def log_in(client: TestClient, key: str = ADMIN, page: str = "/") -> Any:
    headers = {"Origin": str(client.base_url)}
    return client.post("/login", data={"key": key, "next": page}, headers=headers, follow_redirects=False)


def token(client: TestClient) -> str:
    found = re.search(r'name="csrf" content="([0-9a-f]{64})"', client.get("/").text)
    assert found
    return found[1]


@pytest.mark.parametrize("page", PAGES)
def test_without_a_session_every_page_is_where_to_log_in(service: TestClient, page: str) -> None:
    answer = service.get(f"{page}?state=x")
    assert answer.status_code == 200
    assert "<h1>Log in</h1>" in answer.text
    assert f'value="{page}?state=x"' in answer.text


@pytest.mark.parametrize(
    ("asked", "shown"),
    [("/datasets?cursor=a", "/datasets?cursor=a"), ("//evil.example", "/"), ("/\\evil.example", "/"),
     ("https://evil.example", "/"), ("/login", "/"), ("/a\r\nSet-Cookie: a=b", "/")],
)  # fmt: skip
def test_after_logging_in_one_is_where_one_was_and_never_elsewhere(service: TestClient, asked: str, shown: str) -> None:
    assert log_in(service, page=asked).headers["location"] == shown


def test_a_session_with_its_token_does_what_its_key_may(service: TestClient, spec: dict[str, Any]) -> None:
    log_in(service)
    headers = {"X-CSRF-Token": token(service), "Origin": BASE}
    assert service.post("/v1/experiments", json=spec, headers=headers).status_code == 201
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": "é".encode()}):
        assert service.post("/v1/experiments", json=spec, headers=wrong).status_code == 401
    assert service.post("/v1/experiments", json=spec, headers={**headers, "Origin": "http://evil"}).status_code == 403


def test_a_reader_s_session_changes_nothing(service: TestClient, spec: dict[str, Any]) -> None:
    log_in(service, key_of(service, role="read"))
    answer = service.post("/v1/experiments", json=spec, headers={"X-CSRF-Token": token(service)})
    assert answer.status_code == 403
    assert service.get("/keys").status_code == 404
    assert 'href="/keys"' not in service.get("/").text


def test_pages_show_what_is_the_project_s_alone(service: TestClient, spec: dict[str, Any]) -> None:
    made = service.post("/v1/experiments", json=spec, headers=bearer(ADMIN)).json()
    page = f"/experiments/{made['id']}"
    log_in(service)
    (run, *_) = service.get("/v1/runs", headers=bearer(ADMIN)).json()["items"]
    sides = {"a": f"{run['id']}@init", "b": f"{run['id']}@final"}
    compared = service.post("/v1/comparisons", json=sides, headers=bearer(ADMIN)).json()
    ours = [page, f"{page}/report", f"/runs/{run['id']}", f"/comparisons/{compared['id']}", "/datasets/demo-retina@1"]
    for path in ("/", *ours, "/keys", "/datasets"):
        assert service.get(path).status_code == 200
    log_in(service, key_of(service, role="admin", project="other"))
    assert made["id"] not in service.get("/").text
    for path in ours:
        assert service.get(path).status_code == 404


def test_the_list_is_filtered_and_goes_on(client: TestClient, spec: dict[str, Any]) -> None:
    for number in range(52):
        client.post("/v1/experiments", json={**spec, "name": f"number {number}"})
    first = client.get("/").text
    assert "number 51" in first
    assert "number 0<" not in first
    following = re.search(r'href="\?(cursor=[^"]+)"', first)
    assert following
    assert "number 0<" in client.get(f"/?{following[1]}").text
    assert client.get("/", params={"name": "number 7"}).text.count("<tr>") == 2
    assert "No experiments are like that" in client.get("/?state=failed").text
    assert client.get("/?state=nonsense").status_code == 200


def test_a_draft_is_told_its_plan_or_its_faults(client: TestClient, spec: dict[str, Any]) -> None:
    def look(written: Any) -> dict[str, Any]:
        answer = client.post("/experiments/draft", json={"spec": written})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    assert look(spec)["plan"]["new_jobs"] > 0
    assert look({**spec, "seeds": 0})["problem"]["errors"][0]["pointer"] == "/seeds"
    found = look("name: by hand\ndataset: demo-retina\nmodels: [cbr-tiny]\nseeds: 2 # enough")
    assert found["spec"] == {"name": "by hand", "dataset": "demo-retina", "models": ["cbr-tiny"], "seeds": 2}
    assert len(found["plan"]["runs"]) == 2
    assert look("name: 2026-11-30")["spec"] == {"name": "2026-11-30"}


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: &x [1]\nb: *x", "- 1", "!!python/object/apply:os.system ['true']", "a: !!binary aGk=", "a: .nan",
     "a: \"\\0\"", "1", "a: " + "[" * 2000, "x" * 200_001],
)  # fmt: skip
def test_what_is_no_plain_yaml_is_said_to_be_none(client: TestClient, text: str) -> None:
    answer = client.post("/experiments/draft", json={"spec": text})
    assert answer.status_code == 200
    assert answer.json()["problem"]["detail"]


def test_scripts_and_styles_may_be_kept_for_they_go_by_their_digest(client: TestClient) -> None:
    addresses = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/experiments/new").text)
    assert len(addresses) == 2
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert client.get("/static/x/vega.js").text.count("vegaEmbed") > 0
    for name in ("nothing.js", "..%2fapp.py", "index.html"):
        assert client.get(f"/static/x/{name}").status_code == 404


def test_nothing_comes_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy


def test_pages_call_runs_by_their_words(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    work()
    run = client.get("/v1/runs").json()["items"][0]
    page = client.get(f"/runs/{run['id']}").text
    assert f'href="/experiments/{experiment["id"]}">small</a>' in page
    listed = client.get("/comparisons").text
    assert "cbr-tiny, random, seed 0, final" in listed
    (shown, *_) = re.findall(r'href="(/comparisons/[0-9a-z]{26})"', listed)
    assert "cbr-tiny, random, seed" in client.get(shown).text


def test_a_reader_is_not_offered_what_it_may_not_do(service: TestClient, spec: dict[str, Any]) -> None:
    made = service.post("/v1/experiments", json=spec, headers=bearer(ADMIN)).json()
    paths = (f"/experiments/{made['id']}", "/datasets", "/comparisons", "/datasets/demo-retina@1")
    offers = ("data-do", 'id="add"', 'id="compare"', "New experiment on it")
    log_in(service)
    for path, offer in zip(paths, offers, strict=True):
        assert offer in service.get(path).text
    log_in(service, key_of(service, role="read", project="default"))
    for path, offer in zip(paths, offers, strict=True):
        assert offer not in service.get(path).text
    assert "Your key may only read" in service.get("/experiments/new").text


def test_the_documentation_names_documents_and_schemas_to_those_who_may_read_them(service: TestClient) -> None:
    assert "first-study.md" not in service.get("/docs").text
    log_in(service)
    page = service.get("/docs").text
    for address in ("/v1/documents/first-study.md", "/v1/documents/notebooks/study.ipynb", "/v1/schemas/experiment"):
        assert f'href="{address}"' in page
        assert service.get(address).status_code == 200
