"""The app as a whole: where it imports, what its document says, and that random requests never break it."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis.errors import Unsatisfiable

from transfusion_api import openapi
from transfusion_core.settings import Settings

WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "numpy", "scipy", "sklearn", "pandas"):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Blocked())
from transfusion_api.app import create_app
from transfusion_core.settings import Settings
from transfusion_core.reporting import html, long_table
from fastapi.testclient import TestClient
folder = sys.argv[1]
made = Settings(mode="embedded", database_url=f"sqlite:///{folder}/api.db", store_url=f"file://{folder}/store")
app = create_app(made)
from transfusion_core.db.engine import migrate
migrate(app.state.service.engine)
with TestClient(app, base_url="http://localhost", client=("127.0.0.1", 1)) as client:
    assert client.get("/readyz").status_code == 200
    spec = {"name": "x", "dataset": "demo-retina", "models": ["resnet50"]}
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 201, answer.text
print("fine")
"""

TAKEN = ("method", "url", "params", "headers", "json", "data", "content")
BOUNDED = hypothesis_settings(
    max_examples=3,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


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
            assert {"401", "403", "422", "503"} <= set(operation["responses"]), path
            assert operation["security"] == [{"key": []}]


def test_every_reference_of_the_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    text = json.dumps(document)
    for name in {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}:
        assert name in document["components"]["schemas"]


def test_the_file_is_in_step_with_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert openapi.main(["--check"]) == 0
    assert openapi.FILE.stat().st_size < 400_000
    monkeypatch.setattr(openapi, "FILE", tmp_path / "openapi.json")
    assert openapi.main(["--check"]) == 1
    assert openapi.main(["--write"]) == 0
    assert openapi.main(["--check"]) == 0


def test_random_requests_never_end_in_a_500(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings()) as client:
        document = client.get("/openapi.json").json()
        for found in schemathesis.openapi.from_dict(document).get_all_operations():
            operation = found.ok()
            if not operation.path.endswith("/events"):
                send_random(client, operation)


def send_random(client: TestClient, operation: schemathesis.APIOperation) -> None:
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @BOUNDED
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            request = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
            words = {name: value for name, value in request.items() if name in TAKEN and value is not None}
            if "data" in words:
                words["content"] = words.pop("data")
            answer = client.request(**words)
            assert answer.status_code < 500, (words, answer.text)

        with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
            answers()
