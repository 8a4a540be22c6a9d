"""Examples for the OpenAPI document: of every body that is taken, of every answer that is JSON, and of every problem.

Answers stand in examples.json by the name of their schema; they were given by a running platform, and then shortened.
"""

import json
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from transfusion_api.problems import CODES, MEDIA_TYPE
from transfusion_core.errors import TransfusionError, by_code

STUDY: dict[str, Any] = {
    "name": "first study",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 40}}}},
    "inits": ["random", {"kind": "pretrained", "source": "natural"}],
    "seeds": 2,
    "image_size": 32,
    "training": {"steps": 40, "eval_every": 10},
}
BODIES: dict[str, Any] = {
    "create_experiment": STUDY,
    "plan_experiment": STUDY,
    "fork_experiment": {"seeds": 5, "train_sizes": [200, "all"]},
    "combine_experiments": {"experiments": ["01m8ng168pd6npzmnwvkfqaf99", "01m8ng2b0c9x6w4r8t1y5z3k7h"]},
    "create_comparison": {
        "a": "01m8ng168pd6npzmnwvkfqaf99@init",
        "b": "01m8ng168pd6npzmnwvkfqaf99@final",
        "measures": ["svcca", "cka"],
        "images": 200,
    },
    "register_dataset": {
        "name": "retina",
        "kind": "csv",
        "task": "ordinal",
        "location": "upload:01m8ng0up0000000000000000u",
        "columns": {"file": "image", "label": "grade", "patient": "patient"},
    },
    "register_weights": {"name": "ours", "location": "upload:01m8ng0up0000000000000000u"},
    "create_upload": {"filename": "retina.zip", "size_bytes": 52_000_000},
    "begin_upload_parts": {"parts": [{"number": 3, "md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}]},
    "complete_upload": {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    "create_key": {
        "name": "ward-3",
        "role": "write",
        "project": "retina",
        "expires_in_days": 90,
        "quota": {"gpu_hours": 200},
    },
}
"""By operation. What is not JSON (the bytes of an upload) has none."""
FAULT = {"pointer": "/models/0", "message": "there is no model 'resnet5'", "value": "resnet5", "nearest": "resnet50"}


def add_examples(document: dict[str, Any]) -> None:
    """Put them into an OpenAPI document."""
    answers = json.loads(files("transfusion_api").joinpath("examples.json").read_text())
    problems = document["components"].setdefault("examples", {})
    for methods in document["paths"].values():
        for operation in methods.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if operation["operationId"] in BODIES:
                    content["examples"] = {"usual": {"value": BODIES[operation["operationId"]]}}
            for status, answer in operation["responses"].items():
                for kind, content in answer.get("content", {}).items():
                    if kind == MEDIA_TYPE:
                        problems[f"problem_{status}"] = {"value": _problem(int(status))}
                        content["examples"] = {"usual": {"$ref": f"#/components/examples/problem_{status}"}}
                    elif (found := _answer(answers, content)) is not None:
                        content["example"] = found


def _answer(answers: dict[str, Any], content: dict[str, Any]) -> Any:
    name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
    if name.startswith("Page_"):
        item = answers.get(name.removeprefix("Page_").removesuffix("_"))
        return None if item is None else {"items": [item], "next": None}
    return answers.get(name)


def _problem(status: int) -> dict[str, Any]:
    kinds = [kind for kind in by_code().values() if kind.status == status]
    code = CODES.get(status) or (kinds[0].code if kinds else TransfusionError.code)
    detail = (kinds[0].__doc__ or "").strip() if kinds else HTTPStatus(status).phrase
    return {
        "type": f"urn:transfusion:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": "01m8ng1req000000000000000q",
        "errors": [FAULT] if status == HTTPStatus.UNPROCESSABLE_ENTITY else [],
    }
