"""A small honest service in memory, behind httpx2's transport seam and behind a real socket, and a clock that jumps."""

import hashlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest
from typer.testing import CliRunner, Result

from client_answers import (
    DIGEST,
    NOW,
    PROFILE,
    comparison_of,
    dataset_of,
    diff_of,
    experiment_of,
    plan_of,
    report_of,
    run_of,
)
from transfusion_client.cli.app import build_app
from transfusion_client.client import Client
from transfusion_client.retries import Clock

URL = "http://testserver:8000"


@dataclass
class Sent:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


@dataclass
class Answer:
    """A response before it is sent."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def raw(self) -> bytes:
        if self.body is None or isinstance(self.body, bytes):
            return self.body or b""
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def problem(status: int, code: str, detail: str, errors: list[dict[str, Any]] | None = None, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "Error", "status": status, "code": code, "detail": detail}
    body |= {"request_id": "request-1", "errors": errors or []}
    return Answer(status, body, {"Content-Type": "application/problem+json", **headers})


@dataclass
class Service:
    """The routes that the client speaks to. `upsets` come first: an Answer is given, an exception is raised."""

    mode: str = "service"
    key: str | None = None
    upsets: list[tuple[str, Answer | type[Exception]]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    states: list[str] = field(default_factory=lambda: ["queued", "running", "succeeded"])
    outcome: str = "succeeded"
    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_idempotency_key: dict[str, str] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    streams: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    page_size: int = 2
    unwell: tuple[str, ...] = ()
    version: str = "0.1.0"
    part_bytes: int = 100_000

    def upset(self, *outcomes: Answer | type[Exception], path: str = "") -> None:
        self.upsets += [(path, outcome) for outcome in outcomes]

    def calls(self, method: str, path: str) -> list[Sent]:
        return [sent for sent in self.sent if (sent.method, sent.path) == (method, path)]

    def answer(self, sent: Sent) -> Answer:
        self.sent.append(sent)
        for place, (path, outcome) in enumerate(self.upsets):
            if sent.path.startswith(path):
                del self.upsets[place]
                if isinstance(outcome, Answer):
                    return outcome
                raise outcome("the line is cut")
        if self.key and sent.path.startswith("/v1") and sent.headers.get("authorization") != f"Bearer {self.key}":
            return problem(401, "not_authenticated", "An API key is needed.")
        parts = sent.path.strip("/").split("/")
        handler: Callable[[Sent, list[str]], Answer] | None = getattr(
            self, f"_{sent.method.lower()}_{parts[1] if parts[0] == 'v1' else parts[0]}", None
        )
        if handler is None:
            return problem(404, "not_found", f"no route {sent.method} {sent.path}")
        return handler(sent, parts[2:])

    def _page(self, sent: Sent, items: list[Any]) -> Answer:
        start = int(sent.query.get("cursor", "0"))
        end = start + self.page_size
        return Answer(200, {"items": items[start:end], "next": str(end) if end < len(items) else None})

    def _get_healthz(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(200, {"status": "ok", "mode": self.mode, "version": self.version})

    def _get_readyz(self, sent: Sent, rest: list[str]) -> Answer:
        parts = [
            {"name": name, "well": name not in self.unwell, "found": "it is there"} for name in ("store", "broker")
        ]
        return Answer(200, {"status": "ok", "parts": parts})

    def _post_experiments(self, sent: Sent, rest: list[str]) -> Answer:
        if rest == ["plan"]:
            return Answer(200, plan_of(sent.json))
        if rest == ["combine"]:
            self.created["e8"] = experiment_of("e8", {"name": "both", "dataset": "demo-retina@1", **sent.json})
            return Answer(201, self.created["e8"])
        if rest[1:] == ["fork"]:
            return Answer(201, experiment_of("e9", {**self.created[rest[0]]["spec"], **sent.json}))
        if rest:
            self.created[rest[0]]["state"] = {"cancel": "cancelled"}.get(rest[1], "queued")
            return Answer(200, self.created[rest[0]])
        if "dataset" not in sent.json:
            fault = {"pointer": "/dataset", "message": "Field required"}
            near = {"pointer": "/models/0", "message": "there is no model 'resnet5'", "nearest": "resnet50"}
            return problem(422, "invalid", "The request is not valid; nothing was created.", [fault, near])
        token = sent.headers.get("idempotency-key", "")
        made = self.by_idempotency_key.setdefault(token, f"e{len(self.created) + 1}")
        self.created.setdefault(made, experiment_of(made, sent.json))
        return Answer(201, self.created[made])

    def _get_experiments(self, sent: Sent, rest: list[str]) -> Answer:
        if not rest:
            state = sent.query.get("state")
            return self._page(sent, [each for each in self.created.values() if state in (None, each["state"])])
        if rest[0] not in self.created:
            return problem(404, "not_found", f"there is no experiment {rest[0]}")
        return self._of_experiment(sent, self.created[rest[0]], rest[1:])

    def _of_experiment(self, sent: Sent, record: dict[str, Any], rest: list[str]) -> Answer:
        if not rest:
            record["state"] = self.states.pop(0) if self.states else record["state"]
            record["progress"] = {"queued": 0.0, "running": 0.5}.get(record["state"], 1.0)
            return Answer(200, dict(record))
        if rest[0] == "runs":
            return self._page(sent, [run_of(f"r{n}") for n in range(3)])
        if rest[0] == "events":
            return Answer(200, self.streams.pop(0), {"Content-Type": "text/event-stream"})
        if not self.report:
            return problem(409, "not_ready", "the report is waiting")
        if rest == ["reports"]:
            return self._page(sent, [{"digest": DIGEST, "is_complete": True, "made_at": NOW}])
        if rest[0] == "reports":
            return Answer(200, self.report)
        if rest[0] == "report.html":
            return Answer(200, "<html>the report</html>", {"Content-Type": "text/html"})
        if rest[0] == "charts" or rest[0].startswith("report."):
            return Answer(200, f"the {rest[-1]}", {"Content-Type": "application/octet-stream"})
        if rest == ["report", "diff"]:
            return Answer(200, diff_of(sent.query["against"]))
        return Answer(200, self.report["sections"][rest[1]] if len(rest) > 1 else self.report)

    def _get_runs(self, sent: Sent, rest: list[str]) -> Answer:
        if not rest:
            return self._page(sent, [run_of(f"r{n}") for n in range(3)])
        kept = {"step": 40, "name": "final", "bytes": 12, "sha256": DIGEST, "url": f"{URL}/v1/x"}
        series = {"name": "loss", "split": "train", "steps": [1, 2], "values": [0.5, None]}
        seen = {"layer": "conv1", "shape": [8, 3, 5, 5], "pictures": [], "correlations": [0.9]}
        answers: dict[str, Any] = {
            "": run_of(rest[0]),
            "metrics": {"series": [series]},
            "log": {"lines": ["first", "second"]},
            "checkpoints": {"items": [kept], "next": None},
            "manifest": {"manifest": {"seed": 0}},
            "filters": {"filters": seen if rest[0] != "r0" else None},
        }
        if rest[1:] == ["events"]:
            return Answer(200, self.streams.pop(0), {"Content-Type": "text/event-stream"})
        return Answer(200, answers[rest[1] if len(rest) > 1 else ""])

    def _post_comparisons(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(201, comparison_of("queued"))

    def _get_comparisons(self, sent: Sent, rest: list[str]) -> Answer:
        if not rest:
            return self._page(sent, [comparison_of("queued")])
        state = self.states.pop(0) if self.states else self.outcome
        return Answer(200, comparison_of(state))

    def _post_datasets(self, sent: Sent, rest: list[str]) -> Answer:
        self.created["retina@1"] = {**dataset_of("queued"), "spec": sent.json}
        return Answer(201, self.created["retina@1"])

    def _get_datasets(self, sent: Sent, rest: list[str]) -> Answer:
        if not rest:
            return self._page(sent, [dataset_of("succeeded")])
        if rest[1:] == ["samples"]:
            return self._page(sent, [{"label": "0", "files": ["a.png"], "picture": "data:"}])
        if rest[1:]:
            return Answer(200, self._about_dataset(sent, rest[1]))
        return Answer(200, dataset_of(self.states.pop(0) if self.states else self.outcome))

    def _about_dataset(self, sent: Sent, what: str) -> Any:
        none = {"count": 0, "files": []}
        diff = {"name": "retina@2", "against": sent.query.get("against", "retina@1"), "digest": DIGEST, "same": False}
        diff |= {"against_digest": "e" * 64, "unchanged": 9, "removed": none, "relabelled": none, "moved": none}
        return {
            "profile": PROFILE,
            "manifest": b"file,sha256\na.png,0a\n",
            "salt": {"salt": "5a" * 32},
            "diff": diff | {"added": {"count": 1, "files": []}},
        }[what]

    def _post_uploads(self, sent: Sent, rest: list[str]) -> Answer:
        if rest:
            return self._about_upload(sent, rest)
        made = f"u{len(self.uploads) + 1}"
        self.uploads[made] = b""
        url = f"{URL}/v1/uploads/{made}/content"
        return Answer(
            201, {"id": made, "url": url, "headers": {"X-Sent": "yes"}, "state": "open", "part_bytes": self.part_bytes}
        )

    def _get_uploads(self, sent: Sent, rest: list[str]) -> Answer:
        if rest[0] not in self.uploads:
            return problem(404, "not_found", "there is no such upload")
        state = "finished" if self.uploads[rest[0]] else "open"
        received = sorted(number for made, number in self.parts if made == rest[0])
        return Answer(
            200, {"id": rest[0], "url": "", "state": state, "part_bytes": self.part_bytes, "received": received}
        )

    def _about_upload(self, sent: Sent, rest: list[str]) -> Answer:
        """To its parts, and to its end."""
        if rest[1] == "parts":
            number = sent.json["parts"][0]["number"]
            link = {"number": number, "url": f"{URL}/v1/uploads/{rest[0]}/parts/{number}?signed=yes", "size_bytes": 8}
            return Answer(200, {"items": [link | {"headers": {"Content-MD5": sent.json["parts"][0]["md5"]}}]})
        joined = b"".join(self.parts[each] for each in sorted(self.parts) if each[0] == rest[0])
        self.uploads[rest[0]] = self.uploads[rest[0]] or joined
        if hashlib.sha256(self.uploads[rest[0]]).hexdigest() != sent.json["sha256"]:
            return problem(422, "invalid", "the bytes that arrived have another sha256")
        return Answer(200, {})

    def _put_uploads(self, sent: Sent, rest: list[str]) -> Answer:
        if rest[1] == "parts":
            if sent.query != {"signed": "yes"}:
                return problem(403, "not_allowed", "the link is not signed")
            self.parts[rest[0], int(rest[2])] = sent.body
            return Answer(204)
        if self.uploads[rest[0]]:
            return problem(409, "conflict", "its bytes are there already")
        self.uploads[rest[0]] = sent.body
        return Answer(200, {"id": rest[0], "url": "", "size_bytes": len(sent.body), "state": "stored"})

    def _post_weights(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(201, {"name": sent.json["name"], "sha256": DIGEST, "size_bytes": 3, "suffix": ".pt"})

    def _get_weights(self, sent: Sent, rest: list[str]) -> Answer:
        return self._page(sent, [{"name": "w", "sha256": DIGEST, "size_bytes": 3, "suffix": ".pt"}])

    def _get_models(self, sent: Sent, rest: list[str]) -> Answer:
        from transfusion_core.specs.model import catalogue

        if rest:
            return Answer(200, catalogue()[rest[0]].model_dump(mode="json"))
        return self._page(sent, [catalogue()[name].model_dump(mode="json") for name in ("cbr-tiny", "resnet18")])

    def _get_presets(self, sent: Sent, rest: list[str]) -> Answer:
        quick = {"name": "quick", "models": ["cbr-tiny"]}
        return Answer(200, quick) if rest else self._page(sent, [{"preset": "quick", "spec": quick}])

    def _get_schemas(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(200, {"type": "object", "title": rest[0]})

    def _get_removals(self, sent: Sent, rest: list[str]) -> Answer:
        told = {"id": "x1", "kind": "experiment", "name": "e1", "state": "done", "objects": 1, "size_bytes": 5}
        told |= {"created_at": NOW, "finished_at": NOW}
        if rest[1:]:
            return self._page(sent, [{"key": "a/b", "size_bytes": 5}])
        return Answer(200, told) if rest else self._page(sent, [told])

    def _get_documents(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(200, "# A document") if rest else self._page(sent, [{"name": "a.md", "size_bytes": 12}])

    def _get_metrics(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(200, "transfusion_jobs 1")

    def _post_keys(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(201, {"id": "k1", "key": "secret", "expires_at": None, "created_at": NOW, **sent.json})

    def _get_keys(self, sent: Sent, rest: list[str]) -> Answer:
        return self._page(sent, [{"id": "k1", "name": "ci", "role": "read", "created_at": NOW, "expires_at": None}])

    def _get_audit(self, sent: Sent, rest: list[str]) -> Answer:
        deed = {"id": "a1", "at": NOW, "actor": "k1", "project": "p", "action": "key.create", "subject": "k2"}
        return self._page(sent, [deed, {**deed, "id": "a0"}])

    def _delete_keys(self, sent: Sent, rest: list[str]) -> Answer:
        return Answer(204)

    def _delete_experiments(self, sent: Sent, rest: list[str]) -> Answer:
        told = {"id": "x1", "kind": sent.path.split("/")[2].removesuffix("s"), "name": rest[0], "state": "done"}
        return Answer(200, {**told, "objects": 2, "size_bytes": 10, "created_at": NOW, "finished_at": NOW})

    _delete_datasets = _delete_experiments


class JumpingClock(Clock):
    """Sleeping takes no time and moves the clock; chance is always at the upper end."""

    def __init__(self) -> None:
        super().__init__(chance=_Highest())
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 23, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


class _Highest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def over_transport(service: Service) -> httpx2.MockTransport:
    def handle(request: httpx2.Request) -> httpx2.Response:
        url = urlsplit(str(request.url))
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = url.path if url.netloc == urlsplit(URL).netloc else f"//{url.netloc}{url.path}"
        answer = service.answer(Sent(request.method, path, dict(parse_qsl(url.query)), headers, request.content))
        return httpx2.Response(answer.status, headers=answer.headers, content=answer.raw())

    return httpx2.MockTransport(handle)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("home") / "cache"))
    for name in ("TRANSFUSION_URL", "TRANSFUSION_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def transport(service: Service) -> httpx2.MockTransport:
    return over_transport(service)


@pytest.fixture
def client(transport: httpx2.MockTransport, clock: JumpingClock) -> Iterator[Client]:
    with Client(URL, transport=transport, clock=clock) as made:
        yield made


@pytest.fixture
def spec() -> dict[str, Any]:
    return {"name": "first", "dataset": "demo-retina", "models": ["cbr-tiny"]}


@pytest.fixture
def answering() -> Any:
    """The words in which tests write answers."""
    return {"Answer": Answer, "problem": problem, "report_of": report_of, "URL": URL}


@pytest.fixture
def served(service: Service) -> Iterator[str]:
    """The same service behind a real socket: its address."""

    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = service.answer(Sent(self.command, url.path, dict(parse_qsl(url.query)), headers, body))
            raw = answer.raw().replace(URL.encode(), f"http://{self.headers['Host']}".encode())
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    for method in ("GET", "POST", "PUT", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.respond)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(served: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line against the made service, without pauses."""
    monkeypatch.setattr(Clock, "sleep", lambda clock, seconds: None)

    def invoke(*arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(build_app(), list(arguments), input=stdin, env={"TRANSFUSION_URL": served})

    return invoke
