"""Reports and charts over HTTP: not ready, then whole, in every form, and what two of them say differently."""

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from arro3.io import read_parquet
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from transfusion_core.db import experiments, jobs
from transfusion_core.db.engine import transact
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job
from transfusion_core.db.transitions import release_ready
from transfusion_core.db.wanted import renew_report

KINDS = (
    *("report", "report.html", "report.csv", "report.parquet", "report.tex", "report/performance"),
    *("charts/quality.json", "charts/quality.svg", "charts/quality.png", "charts/quality.pdf"),
)


@pytest.fixture
def reported(experiment: dict[str, Any], work: Callable[[], int]) -> str:
    work()
    return f"/v1/experiments/{experiment['id']}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_report_that_is_not_made_yet_is_not_ready(client: TestClient, experiment: dict[str, Any], kind: str) -> None:
    answer = client.get(f"/v1/experiments/{experiment['id']}/{kind}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")


def test_a_report_names_its_experiment(client: TestClient, reported: str) -> None:
    report = client.get(f"{reported}/report").json()
    assert report["experiment"] == reported.rpartition("/")[2]
    assert report["sections"]["performance"]["table"][0]["value"] == 0.8
    assert client.get(f"{reported}/report/performance").json() == report["sections"]["performance"]


def test_a_section_or_chart_that_is_not_in_it_is_a_404(client: TestClient, reported: str) -> None:
    for path in ("report/movement", "charts/none.json", "charts/none.svg", "charts/none.png", "charts/none.pdf"):
        answer = client.get(f"{reported}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_html_is_one_page_without_markup_of_users(client: TestClient, reported: str) -> None:
    answer = client.get(f"{reported}/report.html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<b>row</b>" not in answer.text
    assert "data:image/svg+xml" in answer.text


def test_the_csv_has_a_row_per_number(client: TestClient, reported: str) -> None:
    answer = client.get(f"{reported}/report.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    header, row = answer.text.splitlines()
    assert header.startswith("section,model,init")
    assert row.startswith("performance,cbr-tiny,random")


def test_a_chart_is_drawn_in_every_form(client: TestClient, reported: str) -> None:
    assert client.get(f"{reported}/charts/quality.json").json()["mark"] == "bar"
    svg = client.get(f"{reported}/charts/quality.svg")
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "<svg" in svg.text
    png = client.get(f"{reported}/charts/quality.png")
    assert (png.headers["content-type"], png.content[:4]) == ("image/png", b"\x89PNG")
    pdf = client.get(f"{reported}/charts/quality.pdf")
    assert (pdf.headers["content-type"], pdf.content[:4]) == ("application/pdf", b"%PDF")


def test_a_report_whose_bytes_are_gone_says_so(client: TestClient, reported: str) -> None:
    store = client.app.state.service.store
    for listed in list(store.list("reports/")):
        store.delete(listed.key)
    answer = client.get(f"{reported}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")


def test_the_page_is_allowed_its_own_scripts_and_nothing_else(client: TestClient, reported: str) -> None:
    answer = client.get(f"{reported}/report.html")
    policy = answer.headers["content-security-policy"]
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(digests) == 2
    assert re.findall(r"'sha256-([^']*)'", policy) == digests
    assert "frame-ancestors 'none'" in policy


def test_the_parquet_and_the_latex_hold_the_same_number(client: TestClient, reported: str) -> None:
    parquet = client.get(f"{reported}/report.parquet")
    assert parquet.headers["content-type"] == "application/vnd.apache.parquet"
    table = read_parquet(io.BytesIO(parquet.content)).read_all()
    assert table.column("value").to_pylist() == [0.8]
    tex = client.get(f"{reported}/report.tex")
    assert tex.headers["content-type"] == "application/x-tex"
    assert r"cbr-tiny & random & auroc & \(0.8000\)" in tex.text


def test_two_reports_are_told_apart(
    client: TestClient, reported: str, spec: dict[str, Any], work: Callable[[], int]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "seeds": 1}).json()["id"]
    waiting = client.get(f"{reported}/report/diff", params={"against": other})
    assert (waiting.status_code, waiting.json()["code"]) == (409, "not_ready")
    work()
    diff = client.get(f"{reported}/report/diff", params={"against": other}).json()
    assert (diff["same"], diff["sections"]) == (True, {})
    page = client.get(f"{reported}/report/diff.html", params={"against": other})
    assert "They say the same." in page.text
    assert "script-src" not in page.headers["content-security-policy"], "none may run"
    assert client.get(f"{reported}/report/diff", params={"against": "none"}).status_code == 404
    assert client.get(f"{reported}/report/diff").status_code == 422


def test_a_report_stays_when_runs_are_tried_again_and_the_new_one_is_held_against_it(
    client: TestClient, reported: str, work: Callable[[], int]
) -> None:
    service, experiment_id = client.app.state.service, reported.rpartition("/")[2]
    first = experiments.report_job(Scope(service.engine), experiment_id)

    def renew(session: Session) -> None:
        renew_report(session, session.get(Job, first.id))
        release_ready(session, [experiments._report(session, experiment_id).id])

    transact(service.engine, renew)
    (version,) = client.get(f"{reported}/reports").json()["items"]
    assert version["is_complete"]
    assert client.get(f"{reported}/report").status_code == 409
    old = client.get(f"{reported}/reports/{version['digest']}").json()
    job = jobs.claim(service.engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    row = {**old["sections"]["performance"]["table"][0], "value": 0.9}
    new = {**old, "digest": "a" * 64, "sections": {"performance": {**old["sections"]["performance"], "table": [row]}}}
    stored = service.store.put_bytes("reports/new", json.dumps(new).encode()).model_dump()
    jobs.succeed(service.engine, job.id, job.attempt, {"report": stored, "digest": "a" * 64, "complete": True})
    assert [item["digest"][0] for item in client.get(f"{reported}/reports").json()["items"]] == [
        "a",
        version["digest"][0],
    ]
    diff = client.get(f"{reported}/report/diff", params={"against": version["digest"]}).json()
    ((changed,),) = [section["changed"] for section in diff["sections"].values()]
    assert (changed["before"]["value"], changed["after"]["value"]) == (0.8, 0.9)
    assert "0.8 → 0.9" in client.get(f"{reported}/report/diff.html", params={"against": version["digest"]}).text
    unknown = client.get(f"{reported}/report/diff", params={"against": "0" * 64})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


def test_an_experiment_made_of_another_is_listed_with_what_changed(client: TestClient, reported: str) -> None:
    parent = reported.rpartition("/")[2]
    fork = client.post(f"{reported}/fork", json={"name": "fork"}).json()["id"]
    assert f"/v1/experiments/{fork}/report/diff.html?against={parent}" in client.get("/").text


def test_the_schema_of_reports_names_what_they_say_of_themselves(client: TestClient) -> None:
    schema = client.get("/v1/schemas/report").json()
    assert {"methods", "references", "spec", "sections", "schema_version"} <= set(schema["properties"])
