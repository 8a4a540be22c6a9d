"""The OpenAPI document's examples: there for every body and every JSON answer, and true to their schemas."""

from typing import Any

import jsonschema_rs
import pytest
from fastapi.testclient import TestClient

from transfusion_api.examples import BODIES
from transfusion_core.errors import by_code

NOT_JSON_BODIES = {"put_upload_content", "put_upload_part"}
FREE_ANSWERS = {"list_presets", "get_preset", "get_schema", "get_chart_json", "get_dataset_chart_json"}
"""Objects without a schema of their own: any example would do."""


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def check(document: dict[str, Any], schema: dict[str, Any], example: Any) -> None:
    whole = {**schema, "components": document["components"]}
    jsonschema_rs.Draft202012Validator(whole).validate(example)


def problem(document: dict[str, Any], content: dict[str, Any]) -> Any:
    """The example that all operations share."""
    name = content["examples"]["usual"]["$ref"].removeprefix("#/components/examples/")
    return document["components"]["examples"][name]["value"]


def test_every_body_has_an_example_that_its_schema_takes(document: dict[str, Any]) -> None:
    with_body = {each["operationId"]: each["requestBody"] for each in operations(document) if "requestBody" in each}
    assert set(with_body) - NOT_JSON_BODIES == set(BODIES)
    for name in BODIES:
        for content in with_body[name]["content"].values():
            check(document, content["schema"], content["examples"]["usual"]["value"])


def test_every_json_answer_has_an_example_of_its_schema(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                if kind.endswith("json") and not (operation["operationId"] in FREE_ANSWERS and status < "300"):
                    example = content.get("example") or problem(document, content)
                    assert example, (operation["operationId"], status)
                    check(document, content["schema"], example)


def test_every_problem_names_a_code_that_the_client_knows_or_the_frameworks(document: dict[str, Any]) -> None:
    for operation in operations(document):
        for status, answer in operation["responses"].items():
            if status >= "400":
                example = problem(document, answer["content"]["application/problem+json"])
                assert example["status"] == int(status)
                assert example["code"] in {*by_code(), "timeout"}
                assert example["detail"]


def test_the_example_of_a_study_is_one(client: TestClient) -> None:
    assert client.post("/v1/experiments/plan", json=BODIES["create_experiment"]).status_code == 200
