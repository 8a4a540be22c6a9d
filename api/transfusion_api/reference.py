"""The reference documents, from the code: `python -m transfusion_api.reference --write` makes them, `--check` compares.

docs/spec.md comes from the JSON Schemas of what users write, docs/rest.md from the OpenAPI document, and the table of
settings in docs/operating.md, between its two marks, from `Settings`.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from transfusion_api.openapi import document
from transfusion_core.settings import Settings
from transfusion_core.specs.combining import CombineSpec
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_core.specs.experiment import ExperimentSpec

DOCS = Path(__file__).parents[2] / "docs"
SPECS: tuple[type[BaseModel], ...] = (ExperimentSpec, CombineSpec, DatasetSpec, ComparisonSpec)
MARKS = ("<!-- settings: made by transfusion_api.reference -->", "<!-- end of settings -->")
LIMITS = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
SPEC_INTRODUCTION = """# Spec reference

Every field that a spec can have, made from the JSON Schemas that the service serves at `/v1/schemas/experiment`,
`combine`, `dataset` and `comparison`. Specs are YAML or JSON; unknown fields are refused with the nearest known name.
What the fields are for: [the study, section by section](the-study.md)."""
REST_INTRODUCTION = """# REST reference

Every route, made from the OpenAPI document (`/openapi.json`; `/docs` shows it as a page). A service wants
`Authorization: Bearer KEY`; `transfusion up` does not. Lists are pages, `{"items": [...], "next": CURSOR}`: ask again
with `cursor` until `next` is null. Errors are RFC 9457 problems: a stable `code`, `detail`, the request's id, and in
`errors` every fault with a JSON pointer into what you sent. Bodies of specs stand in [the spec reference](spec.md)."""


def spec_document() -> str:
    """docs/spec.md."""
    parts = [SPEC_INTRODUCTION]
    for name, schema in _specs().items():
        parts += [f"## {name}", _line(schema.get("description", "")), _fields(schema)]
    return "\n\n".join(part for part in parts if part) + "\n"


@cache
def _specs() -> dict[str, Any]:
    """The schemas of specs, and of what they are made of."""
    schemas: dict[str, Any] = {}
    for model in SPECS:
        schema = model.model_json_schema()
        found = schema.pop("$defs", {})
        schemas[model.__name__] = schema
        schemas |= {name: each for name, each in found.items() if "properties" in each}
    return schemas


def rest_document() -> str:
    """docs/rest.md."""
    told = json.loads(document())
    by_tag: dict[str, list[str]] = {}
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method.upper(), path, operation))
    parts = [REST_INTRODUCTION]
    for tag, operations in sorted(by_tag.items()):
        parts += [f"## {tag.capitalize()}", *operations]
    return "\n\n".join(parts) + "\n"


def settings_table() -> str:
    """The settings, a row each."""
    schema = Settings.model_json_schema()["properties"]
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        default = "" if default in ("`[]`", "`PydanticUndefined`") else default
        rows.append((f"`TRANSFUSION_{name.upper()}`", _type(schema[name]), default, _line(field.description or "")))
    return _table(("variable", "is", "unless given", "meaning"), rows)


def documents() -> dict[Path, str]:
    """Each file with what it should say."""
    operating = DOCS / "operating.md"
    begin, end = MARKS
    before, _, rest = operating.read_text().partition(begin)
    after = rest.partition(end)[2]
    return {
        DOCS / "spec.md": spec_document(),
        DOCS / "rest.md": rest_document(),
        operating: f"{before}{begin}\n{settings_table()}\n{end}{after}",
    }


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"### {method} {path}", _line(operation.get("description", ""))]
    parameters = [
        (f"`{each['name']}`", each["in"], _type(each["schema"]), _line(each.get("description", "")))
        for each in operation.get("parameters", [])
    ]
    if parameters:
        parts.append(_table(("parameter", "in", "is", "meaning"), parameters))
    parts += _body(operation.get("requestBody", {}).get("content", {}))
    answers = []
    for status, answer in operation["responses"].items():
        kinds = ", ".join(f"`{kind}`" for kind in answer.get("content", {}) if kind != "application/problem+json")
        if status < "400":
            answers.append(f"{status} {kinds}{_shape(answer)}".strip())
        else:
            answers.append(status)
    return "\n\n".join([*(part for part in parts if part), f"Answers: {', '.join(answers)}."])


def _body(content: Mapping[str, Any]) -> Iterator[str]:
    for kind, body in content.items():
        yield f"Body: `{kind}`{_shape({'content': {kind: body}})}."
        for example in list(body.get("examples", {}).values())[:1]:
            yield f"```json\n{json.dumps(example['value'], indent=1)}\n```"
        return


def _shape(answer: Mapping[str, Any]) -> str:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    return f" {_type(schema)}" if schema.get("$ref") else ""


def _fields(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    rows = []
    for name, field in schema["properties"].items():
        default = "**needed**" if name in required else _default(field.get("default"))
        rows.append((f"`{name}`", _type(field), default, _line(field.get("description", ""))))
    return _table(("field", "is", "unless given", "meaning"), rows)


def _default(value: Any) -> str:
    written = json.dumps(value)
    return "its own defaults" if isinstance(value, dict) and value else f"`{written}`"


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON Schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        if name.startswith("Page_"):
            return f"page of {name.removeprefix('Page_').removesuffix('_').partition('_')[0]}"
        return f"[{name}](spec.md#{name.lower()})" if name in _specs() else name
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " / ".join(f"`{word}`" for word in schema["enum"])
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[union] if each.get("type") != "null"))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    if isinstance(values[0], dict):
        return f"mapping to {_type(values[0])}"
    limits = [f"{sign} {schema[word]:g}" for word, sign in LIMITS.items() if word in schema]
    return " ".join([str(schema.get("type", "anything")), *limits])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where the documents are in step with the code, or now are."""
    parser = argparse.ArgumentParser(prog="transfusion_api.reference")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    stale = {path: text for path, text in documents().items() if not path.exists() or path.read_text() != text}
    if parser.parse_args(arguments).write:
        for path, text in stale.items():
            path.write_text(text)
        return 0
    for path in stale:
        print(
            f"{path.name} is not what the code says; run python -m transfusion_api.reference --write", file=sys.stderr
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
