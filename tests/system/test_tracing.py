"""One trace from a request through the worker to the report, received by a collector; logs with the same ids."""

import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from platforms import TINY, Platform, embedded, start, stop, until
from servers import free_port
from transfusion_client import Client
from transfusion_core.errors import Conflict, TransfusionError

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

ALONE: dict[str, Any] = {"inits": ["random"], "sources": {}, "seeds": 1, "sections": ["performance"]}
ADMIN_KEY = "tf_admin_of_this_test_and_of_nothing_else"


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Address of a collector, and the spans that it was sent, each with the service that sent it."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
                names = {each.key: each.value.string_value for each in sent.resource.attributes}
                spans.extend((names["service.name"], span) for scope in sent.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
        server.shutdown()


@pytest.fixture(scope="module")
def platform(collector: tuple[str, list[Any]]) -> Iterator[Platform]:
    """One that sends its spans there. Its datasets are not ingested yet: that is a job of the first experiment."""
    traced = {"TRANSFUSION_OTLP_ENDPOINT": collector[0]}
    with TemporaryDirectory() as folder, embedded(Path(folder), traced, few=False) as running:
        yield running


def _told(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_trace_goes_from_the_request_to_the_report(platform: Platform, collector: tuple[str, list[Any]]) -> None:
    _, spans = collector
    with Client(platform.url) as client:
        made = client.experiments.create({**TINY, **ALONE})
        made.wait(progress=False, timeout_seconds=240)
    until(lambda: [span for _, span in spans if span.name == "job report"], "the report's span")
    posted = until(lambda: next((span for span in _posts(spans) if not span.parent_span_id), None), "the request's")
    ours = [(service, span) for service, span in spans if span.trace_id == posted.trace_id and span is not posted]
    assert {span.name for _, span in ours} >= {"job ingest", "job pixels", "job train", "job report"}
    assert all(span.parent_span_id == posted.span_id for _, span in ours)
    assert {service for service, _ in ours} == {"transfusion-worker"}
    assert {_told(span)["experiment"] for _, span in ours} == {made.id}
    assert {_told(span)["outcome"] for _, span in ours} == {"result"}
    assert _told(posted)["status"] == 201


def test_a_trace_of_the_callers_is_gone_on_with(platform: Platform, collector: tuple[str, list[Any]]) -> None:
    _, spans = collector
    few = {**TINY, **ALONE, "image_size": 20}  # so that there are pixels to be made, whoever came before
    asked = urllib.request.Request(
        f"{platform.url}/v1/experiments", json.dumps(few).encode(), {"Content-Type": "application/json"}
    )
    asked.add_header("traceparent", PARENT)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        made = json.load(answer)

    def of_jobs() -> list[Any]:
        its = [span for _, span in spans if _told(span).get("experiment") == made["id"]]
        return [span for span in its if span.name.startswith("job ")]

    until(lambda: [span for span in of_jobs() if span.name == "job pixels"], "the span of a job", 120)
    with suppress(Conflict), Client(platform.url) as client:  # it may have ended by now
        client.experiments.cancel(made["id"])
    _, trace, caller, _ = PARENT.split("-")
    posted = until(lambda: next((span for span in _posts(spans) if span.parent_span_id), None), "the request's span")
    assert (posted.trace_id.hex(), posted.parent_span_id.hex()) == (trace, caller)
    assert {span.trace_id.hex() for span in of_jobs()} == {trace}
    assert {span.parent_span_id for span in of_jobs()} == {posted.span_id}
    ours = [posted, *of_jobs()]
    assert trace not in {span.trace_id.hex() for _, span in spans if span not in ours}


def _posts(spans: list[Any]) -> list[Any]:
    return [span for _, span in spans if span.name == "POST /v1/experiments"]


def test_records_are_json_with_the_ids_of_what_they_are_about(capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    from transfusion_core.logs import Json, OneLine, about

    handler = logging.StreamHandler()
    log = logging.Logger("test")
    log.addHandler(handler)
    handler.setFormatter(Json())
    with about(job="j1", attempt=2, experiment=None):
        log.warning("a\nb %s", "c")
    try:
        raise ValueError("no")
    except ValueError:
        log.exception("failed")
    handler.setFormatter(OneLine("%(message)s"))
    with about(job="j1"):
        log.warning("plain")
    first, second, third = capfd.readouterr().err.splitlines()
    told = json.loads(first)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", told.pop("at"))
    assert told == {"level": "warning", "logger": "test", "message": "a b c", "job": "j1", "attempt": 2}
    assert "ValueError: no" in json.loads(second)["exception"]
    assert third == "plain job=j1"


def test_a_service_and_its_worker_write_json_with_the_ids_of_one_request(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    port = str(free_port())
    environment = {
        "TRANSFUSION_DATABASE_URL": f"sqlite:///{tmp_path}/db",
        "TRANSFUSION_STORE_URL": f"file://{tmp_path}/store",
        "TRANSFUSION_CACHE_DIR": str(tmp_path / "cache"),
        "TRANSFUSION_ADMIN_KEY": ADMIN_KEY,
        "TRANSFUSION_POLL_SECONDS": "0.2",
        "TRANSFUSION_SLOTS": "1",
        "TRANSFUSION_LOG_FORMAT": "json",
    }
    records: list[dict[str, Any]] = []
    begun = ""

    def written(**words: Any) -> dict[str, Any] | None:
        nonlocal begun
        *lines, begun = (begun + capfd.readouterr().err).split("\n")
        records.extend(map(json.loads, lines))
        return next((record for record in records if words.items() <= record.items()), None)

    assert start(["migrate"], ready=None, environment=environment).process.wait(60) == 0
    processes = [
        start(each, ready=None, environment=environment).process for each in (["api", "--port", port], ["worker"])
    ]
    try:
        with Client(f"http://127.0.0.1:{port}", ADMIN_KEY) as client:
            until(lambda: _answers(client), "the service")
            made = client.experiments.create({**TINY, **ALONE})
            job = until(lambda: written(experiment=made.id, kind="ingest"), "the worker's record of a job", 120)
    finally:
        for process in processes:
            stop(process)
    posted = next(record for record in records if "POST /v1/experiments " in record["message"])
    assert (posted["level"], posted["logger"]) == ("info", "uvicorn.access")
    assert re.fullmatch(r"[0-9a-f]{32}", posted["request"])
    assert job["request"] == posted["request"]
    assert (job["attempt"], job["level"]) == (1, "info")
    assert job["job"] in job["message"]


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False
