"""Random requests to every route, valid and not, by schemathesis: each answer must be one that the document names."""

import contextlib
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

TAKEN = ("method", "url", "params", "headers", "json", "data", "content")


def send_random(client: TestClient, *, per_route: int) -> int:
    """Send so many requests of either kind to each route but the streams; the number sent."""
    sent = 0
    document = client.get("/openapi.json").json()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if not operation.path.endswith("/events"):
            documented = set(document["paths"][operation.path][operation.method]["responses"])
            sent += _send(client, operation, documented, per_route)
    return sent


def _send(client: TestClient, operation: Any, documented: set[str], per_route: int) -> int:
    sent = 0
    bounded = settings(
        max_examples=per_route,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @bounded
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            request = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
            words = {name: value for name, value in request.items() if name in TAKEN and value is not None}
            if "data" in words:
                words["content"] = words.pop("data")
            answer = client.request(**words)
            # A method that the route has not, or a path that is none, is answered before any route.
            known = documented | ({"404", "405"} if case.method.lower() != operation.method or not case.path else set())
            assert str(answer.status_code) in known, (words, answer.status_code, answer.text[:500])
            assert answer.status_code < 500, (words, answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", (words, answer.text)

        with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
            answers()
    return sent
