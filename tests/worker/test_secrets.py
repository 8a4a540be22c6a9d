"""Secrets are planted in the settings; whatever a run leaves behind is searched for them."""

import logging
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_api.app import create_app
from transfusion_worker.worker import Worker

PLANTED = {"admin": "tf_admin_" + "planted0" * 8, "aws": "planted-aws-secret", "broker": "planted-broker-password"}


def test_nothing_that_a_run_leaves_behind_holds_a_secret(
    bench: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG, logger="transfusion_worker")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-aws-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PLANTED["aws"])
    changes = {
        "mode": "service",
        "admin_key": PLANTED["admin"],
        "broker_url": f"memory://user:{PLANTED['broker']}@localhost",
        "s3_endpoint_url": "http://127.0.0.1:9",
        "allowed_locations": ["s3://closed"],
        "max_outages": 1,
        "store_seconds": 1,
    }
    settings = type(bench.settings)(**(bench.settings.model_dump() | changes))
    answers: list[str] = []
    with TestClient(create_app(settings), client=("203.0.113.9", 4)) as client:

        def ask(method: str, path: str, body: Any = None, key: str = PLANTED["admin"]) -> Any:
            answer = client.request(method, path, json=body, headers={"Authorization": f"Bearer {key}"})
            answers.append(f"{dict(answer.headers)} {answer.text}")
            return answer

        drawn = {"name": "drawn", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 60, "size": 16}}
        away = {"name": "away", "kind": "folder", "location": "s3://closed/set/"}
        jobs = [ask("POST", "/v1/datasets", body).json()["job"] for body in (drawn, away)]
        ask("GET", "/v1/datasets", key=PLANTED["admin"] + "x")
        worker = Worker(settings, ("cpu", "gpu"))
        worker.start()
        try:
            states = [bench.ended(job, seconds=60).state for job in jobs]
        finally:
            worker.stop(0)
        assert states == ["succeeded", "failed"]
        for path in ("/v1/datasets", "/v1/datasets/drawn", "/v1/datasets/away", "/v1/keys", "/metrics", "/readyz", "/"):
            ask("GET", path)
        ask("POST", "/v1/datasets", {"name": "x", "kind": "folder", "location": "s3://elsewhere/x"})
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"database.db"} <= {path.name for path in left}
    printed = capfd.readouterr()
    texts = {"answers": "\n".join(answers), "log": caplog.text, "stdout": printed.out, "stderr": printed.err}
    for name, secret in PLANTED.items():
        words = secret.removeprefix("tf_admin_")
        assert not [path for path in left if words.encode() in path.read_bytes()], name
        assert not [where for where, text in texts.items() if words in text], name
