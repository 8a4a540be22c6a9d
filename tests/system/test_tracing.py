"""One trace from a request through the worker to the report, received by a collector; logs with the same ids."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from platforms import TINY, embedded, until
from transfusion_client import Client

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
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


def _told(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_trace_goes_from_the_request_to_the_report(collector: tuple[str, list[Any]], tmp_path: Path) -> None:
    url, spans = collector
    alone = {"inits": ["random"], "sources": {}, "seeds": 1, "sections": ["performance"]}
    with embedded(tmp_path, {"TRANSFUSION_OTLP_ENDPOINT": url}, few=False) as platform, Client(platform.url) as client:
        made = client.experiments.create({**TINY, **alone})
        made.wait(progress=False, timeout_seconds=240)
        until(lambda: [span for _, span in spans if span.name == "job report"], "the report's span")
    posted = next(span for _, span in spans if span.name == "POST /v1/experiments")
    ours = [(service, span) for service, span in spans if span.trace_id == posted.trace_id and span is not posted]
    assert {span.name for _, span in ours} >= {"job ingest", "job pixels", "job train", "job report"}
    assert all(span.parent_span_id == posted.span_id for _, span in ours)
    assert {service for service, _ in ours} == {"transfusion-worker"}
    assert {_told(span)["experiment"] for _, span in ours} == {made.id}
    assert {_told(span)["outcome"] for _, span in ours} == {"result"}
    assert _told(posted)["status"] == 201


def test_a_collector_that_is_away_costs_nothing_but_the_traces(tmp_path: Path) -> None:
    with embedded(tmp_path, {"TRANSFUSION_OTLP_ENDPOINT": "http://127.0.0.1:9"}) as platform, Client(platform.url) as c:
        assert c.health()["status"] == "ok"


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
