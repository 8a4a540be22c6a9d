"""Bodies of experiments that must not be believed: code, references, wrong kinds, numbers without end."""

import json
from typing import Any

from corpus import MARK, Case

VALUES: list[Any] = [
    f"$(mkdir {MARK})",
    f"$python:os.mkdir('{MARK}')",
    "$env:HOME",
    "${HOME}",
    {"$ref": "file:///etc/passwd"},
    {"$python": f"os.mkdir('{MARK}')"},
    {"_target_": "os.mkdir", "path": MARK},
    {"class_path": "os.mkdir", "init_args": {"path": MARK}},
    {"py/object": "os.mkdir", "py/reduce": [MARK]},
    f"!!python/object/apply:os.mkdir ['{MARK}']",
    "os.system",
    "torch.hub.load",
    "../../etc/passwd",
    "timm/../../x",
    "http://169.254.169.254/latest",
    "x" * 20_000,
    {"__class__": "x", "__init__": {"__globals__": {}}},
    {"__proto__": {"admin": True}},
    [[[[]]]],
    -(10**30),
    -1.5,
    False,
]
PLACES = [
    "/dataset", "/models/0", "/inits/0", "/seeds", "/train_sizes/0", "/image_size", "/training", "/training/optimizer",
    "/training/lr", "/training/steps", "/training/batch_size", "/sections/0", "/similarity/measures/0",
    "/similarity/images", "/sources", "/unknown",
]  # fmt: skip
RAW = [
    b'{"name": NaN}', b'{"seeds": Infinity}', b'{"seeds": -Infinity}', b'{"seeds": 1e400}', b"[" * 100_000,
    b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b"", b"{", b"null", b"[]", b'"text"', b"1", b"\xff\xfe", b"{'a': 1}",
    b'{"name": "\\ud800"}', b'{"\\udfff": 1}', b'{"name": "\\u0000"}', b"\xef\xbb\xbf{}", b'{"a": 1}{"b": 2}',
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><x>&e;</x>",
    b"name: !!python/object/apply:os.system ['true']", b'{"seeds": ' + b"9" * 5_000 + b"}", b"\x80\x04K\x01.",
]  # fmt: skip

MANY: list[dict[str, Any]] = [
    {"seeds": 1000},
    {"seeds": 1000, "train_sizes": [*range(1, 21)], "sections": ["performance"]},
    {"seeds": 1000, "sections": ["movement"]},
    {"seeds": 150, "models": ["cbr-tiny", "cbr-small", "resnet18"], "train_sizes": [*range(50, 70)]},
]
"""Few words that ask for millions of jobs."""


def bodies() -> list[Case]:
    """Each value in each place of a good spec, and bodies that are no JSON to begin with."""
    cases = [
        Case(f"spec {place} {number}", lambda place=place, value=value: _body(place, value), "errors|pointer|invalid")
        for place in PLACES
        for number, value in enumerate(VALUES)
    ]
    small = {"name": "x", "dataset": "demo-retina", "models": ["cbr-tiny"]}
    cases += [
        Case(f"many {n}", lambda many=many: json.dumps(small | many).encode(), "runs") for n, many in enumerate(MANY)
    ]
    return [*cases, *(Case(f"body {raw[:30]!r}", lambda raw=raw: raw, "invalid|too_large") for raw in RAW)]


def _body(place: str, value: Any) -> bytes:
    spec: dict[str, Any] = {
        "name": "hostile",
        "dataset": "demo-retina",
        "models": ["cbr-tiny"],
        "inits": ["random"],
        "seeds": 1,
        "train_sizes": ["all"],
        "image_size": 40,
        "training": {"steps": 4, "eval_every": 2},
        "sections": ["performance"],
        "similarity": {"measures": ["cka"], "images": 50},
    }
    *path, last = place.strip("/").split("/")
    at: Any = spec
    for part in path:
        at = at[int(part)] if part.isdigit() else at[part]
    at[int(last) if last.isdigit() else last] = value
    return json.dumps(spec).encode()
