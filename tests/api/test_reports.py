"""Reports and charts over HTTP: not ready, then whole, as JSON, HTML, CSV and pictures."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

KINDS = ("report", "report.html", "report.csv", "report/performance", "charts/quality.json", "charts/quality.svg")


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
    for path in ("report/movement", "charts/none.json", "charts/none.svg", "charts/none.png"):
        answer = client.get(f"{reported}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_the_html_is_one_page_without_scripts_or_markup_of_users(client: TestClient, reported: str) -> None:
    answer = client.get(f"{reported}/report.html")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<b>row</b>" not in answer.text
    assert "<svg" in answer.text


def test_the_csv_has_a_row_per_number(client: TestClient, reported: str) -> None:
    answer = client.get(f"{reported}/report.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    header, row = answer.text.splitlines()
    assert header.startswith("section,model,init")
    assert row.startswith("performance,cbr-tiny,random")


def test_a_chart_is_drawn_in_three_forms(client: TestClient, reported: str) -> None:
    assert client.get(f"{reported}/charts/quality.json").json()["mark"] == "bar"
    svg = client.get(f"{reported}/charts/quality.svg")
    assert svg.headers["content-type"].startswith("image/svg+xml")
    assert "<svg" in svg.text
    png = client.get(f"{reported}/charts/quality.png")
    assert (png.headers["content-type"], png.content[:4]) == ("image/png", b"\x89PNG")


def test_a_report_whose_bytes_are_gone_says_so(client: TestClient, reported: str) -> None:
    store = client.app.state.service.store
    for key in list(store.list("reports/")):
        store.delete(key)
    answer = client.get(f"{reported}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")
