"""Models, presets and schemas over HTTP."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.specs.model import catalogue
from transfusion_core.specs.presets import PRESETS


def test_pages_hold_every_model_once(client: TestClient) -> None:
    names: list[str] = []
    cursor = None
    while True:
        page = client.get("/v1/models", params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        names += [item["name"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert names == sorted(catalogue())


def test_a_model_tells_its_stages_and_inits(client: TestClient) -> None:
    model = client.get("/v1/models/resnet50").json()
    assert (model["parameters"], model["stages"][0]["name"] != "") == (25_557_032, True)
    assert "mean_var" in model["inits"]
    family = client.get(f"/v1/models?family={model['family']}").json()["items"]
    assert {item["family"] for item in family} == {model["family"]}


def test_presets_lack_a_dataset_and_nothing_else(client: TestClient) -> None:
    listed = client.get("/v1/presets").json()["items"]
    assert [item["preset"] for item in listed] == list(PRESETS)
    quick: dict[str, Any] = client.get("/v1/presets/quick").json()
    answer = client.post("/v1/experiments/plan", json={**quick, "dataset": "demo-retina"})
    assert answer.status_code == 200, answer.text


def test_presets_of_the_paper_say_how_sure_each_setting_is(client: TestClient) -> None:
    known = {item["preset"]: item.get("provenance") for item in client.get("/v1/presets").json()["items"]}
    assert known["quick"] is None
    retina, chest = known["transfusion-table-1"], known["transfusion-table-2"]
    assert (retina["recipe"], chest["recipe"]) == ("raghu2019-retina", "raghu2019-chest-xray")
    assert (retina["marks"]["lr"], chest["marks"]["lr"], chest["marks"]["steps"]) == ("t", "u", "p")
    assert {"augmentation", "weight_decay", "schedule"} <= set(retina["unstated"])
    assert "momentum" in retina["unstated"]
    assert "momentum" not in chest["unstated"]
    assert "image_size" not in known["transfusion-figure-3"]["marks"], "224 px there is not the paper's 587"


@pytest.mark.parametrize("name", ["experiment", "dataset", "comparison", "report"])
def test_schemas_have_defaults(client: TestClient, name: str) -> None:
    schema = client.get(f"/v1/schemas/{name}").json()
    assert schema["type"] == "object"
    assert "default" in str(schema)
