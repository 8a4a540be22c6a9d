"""What a person sees of datasets in a browser, and the charts of their profiles."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from transfusion_core.db import jobs

RECIPE = {"name": "mine", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 100}}


def test_a_page_leads_to_the_files_of_a_version_and_to_what_it_extends(
    client: TestClient, work: Callable[[], int], tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    first = {"name": "set", "kind": "folder", "location": (tmp_path / "set").as_uri()}
    client.post("/v1/datasets", json=first)
    client.post("/v1/datasets", json={**first, "extends": "set@1"})
    work()
    page = client.get("/datasets/set@2").text
    for path in ("/datasets/set%401", "/v1/datasets/set%402/diff", "/v1/datasets/set%402/manifest"):
        assert f'href="{path}"' in page
    assert "/diff" not in client.get("/datasets/set@1").text


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
    for told in ("1 of 2 &lt;b&gt;", "&lt;script&gt;.png", "the file is empty"):
        assert told in page
