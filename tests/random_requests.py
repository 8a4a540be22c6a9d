"""Random requests to every route, valid and not, by schemathesis: each answer must be one that the document names."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import FlakyStrategyDefinition, Unsatisfiable

from platforms import SOAK

TAKEN = ("method", "url", "params", "headers", "json", "data", "content")
STEPS = 60 if SOAK else 20
"""Of one walk, at most."""


def _bounded(examples: int, **more: Any) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        **more,
    )


def send_random(client: TestClient, *, per_route: int) -> int:
    """Send so many requests of either kind to each route but the streams; the number sent."""
    sent = 0
    document = client.get("/openapi.json").json()
    for found in schemathesis.openapi.from_dict(document).get_all_operations():
        operation = found.ok()
        if not operation.path.endswith("/events"):
            sent += _send(client, operation, document, per_route)
    return sent


def _send(client: TestClient, operation: Any, document: dict[str, Any], per_route: int) -> int:
    sent = 0
    for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

        @_bounded(per_route)
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            nonlocal sent
            sent += 1
            _check(_ask(client, case), case, document)

        with contextlib.suppress(Unsatisfiable):  # a route without parameters cannot be asked wrongly
            answers()
    return sent


def walk_at_random(
    fresh: Callable[[], AbstractContextManager[TestClient]],
    *,
    walks: Iterable[int],
    bodies: Mapping[str, Sequence[Any]],
    between: Callable[[TestClient], object],
) -> Counter[tuple[str, int]]:
    """Chains of requests in which ids that answers gave are asked for next; how often each route gave each status.

    Each walk has a `fresh` service and a search of its own, by its number, which ends where Hypothesis repeats the
    beginning of a walk and the answers, with their ids and times, lead elsewhere: it takes that for a fault of the
    test. Faults of answers are raised as themselves. Every other request to a route of `bodies` has one of those, which
    make something; `between` is done now and then.
    """
    with fresh() as client:
        document = client.get("/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document).exclude(path_regex="/events$")
    seen: Counter[tuple[str, int]] = Counter()

    class Walk(schema.as_state_machine()):  # type: ignore[misc]
        """One walk."""

        def setup(self) -> None:
            """Begin with nothing."""
            self.open = ExitStack()
            self.client = self.open.enter_context(fresh())
            self.turn = 0

        def teardown(self) -> None:
            """Stop the service."""
            self.open.close()

        def before_call(self, case: schemathesis.Case) -> None:
            """Put in a body that makes something, by turns: ids, and so all that is drawn from them, are chance."""
            self.turn += 1
            if (good := bodies.get(case.operation.label)) and self.turn % 2:
                case.body, case.media_type = good[self.turn // 2 % len(good)], "application/json"
            if self.turn % 5 == 0:
                between(self.client)

        def call(self, case: schemathesis.Case, **_: Any) -> schemathesis.Response:
            """One request."""
            answer = _ask(self.client, case)
            seen[case.operation.label, answer.status_code] += 1
            _check(answer, case, document)
            found: schemathesis.Response = schemathesis.Response.from_any(answer)
            return found

        def validate_response(self, response: Any, case: schemathesis.Case, *_: Any, **__: Any) -> None:
            """That was done, for the answer as it came."""

    for number in walks:
        # Of two, since the first is the least that there is.
        with contextlib.suppress(FlakyStrategyDefinition):
            seed(number)(Walk).run(settings=_bounded(2, stateful_step_count=STEPS))
    return seen


def _ask(client: TestClient, case: schemathesis.Case) -> Any:
    request = case.as_transport_kwargs(base_url="http://127.0.0.1:8000")
    words = {name: value for name, value in request.items() if name in TAKEN and value is not None}
    if "data" in words:
        words["content"] = words.pop("data")
    # Any text may come in a header; a client that knows only ASCII cannot say it otherwise.
    words["headers"] = {name: str(value).encode("utf-8", "replace") for name, value in words.get("headers", {}).items()}
    return client.request(**words)


def _check(answer: Any, case: schemathesis.Case, document: dict[str, Any]) -> None:
    operation = case.operation
    documented = set(document["paths"][operation.path][operation.method]["responses"])
    # A method that the route has not, or a path that is none, is answered before any route.
    known = documented | ({"404", "405"} if case.method.lower() != operation.method or not case.path else set())
    told = (operation.label, case.formatted_path, case.body, answer.status_code, answer.text[:500])
    assert str(answer.status_code) in known, told
    # Not to be ready is an honest answer of a service without workers.
    assert answer.status_code < 500 or operation.path == "/readyz", told
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", told
