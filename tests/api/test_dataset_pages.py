"""What a person sees of datasets in a browser, and the charts of their profiles."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from access import ADMIN
from transfusion_core.db import jobs
from transfusion_core.settings import Settings

RECIPE = {"name": "mine", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 100}}


def test_a_dataset_has_a_page_with_its_profile_and_its_charts(client: TestClient, work: Callable[[], int]) -> None:
    assert "No datasets yet" in client.get("/datasets").text
    client.post("/v1/datasets", json=RECIPE)
    assert "is waiting; ask again in a moment" in client.get("/datasets/mine").text
    work()
    assert '<a href="/datasets/mine%401">mine@1</a>' in client.get("/datasets").text
    page = client.get("/datasets/mine@1").text
    for told in ("2000 images", "<td>1300</td>", "<td>0.5000</td><td>0.1000</td>", "/charts/figure-1.svg", "/manifest"):
        assert told in page
    assert client.get("/datasets/none").status_code == 404


@pytest.mark.parametrize("name", ["figure-1", "classes", "resolutions", "intensities"])
def test_a_profile_is_drawn(client: TestClient, work: Callable[[], int], name: str) -> None:
    client.post("/v1/datasets", json=RECIPE)
    assert client.get(f"/v1/datasets/mine/charts/{name}.json").json()["code"] == "not_ready"
    work()
    assert "vega-lite" in client.get(f"/v1/datasets/mine/charts/{name}.json").json()["$schema"]
    drawn = client.get(f"/v1/datasets/mine/charts/{name}.svg")
    assert (drawn.headers["content-type"], drawn.text[:4]) == ("image/svg+xml", "<svg")
    assert client.get(f"/v1/datasets/mine/charts/{name}.png").content.startswith(b"\x89PNG")
    unknown = client.get("/v1/datasets/mine/charts/figure-7.json")
    assert "it has figure-1, classes, resolutions, intensities" in unknown.json()["detail"]


def test_a_page_says_why_a_dataset_failed_and_escapes_the_words_of_files(client: TestClient) -> None:
    client.post("/v1/datasets", json=RECIPE)
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    job = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert job is not None
    fault = {"file": "<script>.png", "row": 3, "message": "the file is empty"}
    jobs.fail(engine, job.id, job.attempt, reason="data", error="1 of 2 <b>", detail={"files": [fault]})
    page = client.get("/datasets/mine").text
    for told in ("Why it failed", "1 of 2 &lt;b&gt;", "&lt;script&gt;.png", "the file is empty"):
        assert told in page
    assert "1 of 2 &lt;b&gt;" in client.get("/datasets").text


def test_pages_of_datasets_are_for_those_who_have_logged_in(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings(mode="service", admin_key=ADMIN)) as client:
        for path in ("/datasets", "/datasets/mine"):
            answer = client.get(path, follow_redirects=False)
            assert (answer.status_code, answer.headers["location"]) == (303, "/")
