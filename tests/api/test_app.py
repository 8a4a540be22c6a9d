"""The app as a whole: where it imports, what its document says, and that random requests never break it."""

import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from access import Made
from platforms import SOAK
from random_requests import send_random, walk_at_random
from serving_alone import WITHOUT_TORCH
from transfusion_api import openapi
from transfusion_core.settings import Settings


def test_the_service_runs_where_torch_and_numpy_are_not_installed(tmp_path: Path) -> None:
    roots = [str(Path(__file__).parents[2] / name) for name in ("core", "api")]
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, str(tmp_path)],
        env={"PYTHONPATH": ":".join(roots), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip() == "fine", found.stderr


def test_every_operation_has_a_stable_name_and_its_problems(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    operations = [(path, operation) for path, methods in document["paths"].items() for operation in methods.values()]
    names = [operation["operationId"] for _, operation in operations]
    assert len(names) == len(set(names))
    for path, operation in operations:
        if path.startswith("/v1/"):
            assert {"401", "403", "422", "502", "503"} <= set(operation["responses"]), path
            assert operation["security"] == [{"key": []}]


def test_every_reference_of_the_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"]


def test_the_file_is_in_step_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert openapi.main(["--check"]) == 0
    assert openapi.FILE.stat().st_size < 500_000
    monkeypatch.setattr(openapi, "FILE", tmp_path / "openapi.json")
    assert openapi.main(["--check"]) == 1
    assert openapi.main(["--write"]) == 0
    assert openapi.main(["--check"]) == 0


def test_random_requests_are_answered_as_the_document_says(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings(requests_per_second=1e6)) as client:
        assert send_random(client, per_route=3) > 200


@pytest.mark.timeout(7200 if SOAK else 600)
def test_random_chains_of_requests_are_answered_as_the_document_says(
    settings: Callable[..., Settings], made: Made, migrated: Path, tmp_path: Path
) -> None:
    files = (tmp_path / f"{number}.db" for number in itertools.count())

    @contextmanager
    def fresh() -> Iterator[TestClient]:
        file = next(files)
        file.write_bytes(migrated.read_bytes())
        with made.client(settings(requests_per_second=1e6, database_url=f"sqlite:///{file}")) as client:
            assert client.post("/v1/experiments", json=made.spec).status_code == 201
            made.work(client)
            yield client

    bodies = {"POST /v1/experiments": [made.spec, {**made.spec, "seeds": 1}]}
    seen, numbers = Counter[tuple[str, int]](), itertools.count()
    while seen.total() < (10_000 if SOAK else 1):
        seen += walk_at_random(fresh, walks=itertools.islice(numbers, 4), bodies=bodies, between=made.work)
    print(f"{seen.total()} requests, {len(seen)} pairs of route and status")
    reached = {route for (route, status) in seen if status < 300 and "{" in route}
    assert reached  # which, and how many, is chance: what is there has other ids each time
