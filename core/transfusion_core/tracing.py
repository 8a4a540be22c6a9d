"""Traces by OpenTelemetry: from a request through the jobs that it asked for to the report. Off unless configured.

A span is handed on as W3C's `traceparent`: it comes with a request, stands in the rows of the jobs that the request
asked for, and so reaches the workers.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from transfusion_core import __version__
from transfusion_core.settings import Settings

CLOSE_SECONDS = 5.0
"""A collector that does not answer holds up the end of a process for no longer."""


class Span(Protocol):
    """Something that takes a while, as whoever does it sees it."""

    @property
    def traceparent(self) -> str | None:
        """What other processes name it by; None where nothing is traced."""

    def tell(self, **attributes: Any) -> None:
        """Say more of it."""

    def rename(self, name: str) -> None:
        """What it is was not known when it began."""


class Tracing(Protocol):
    """Where spans go."""

    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> Any:
        """A context manager that gives a `Span`, below the one that `parent` names."""

    def close(self) -> None:
        """Send what is left."""


class _Nothing:
    """Takes spans and keeps none."""

    traceparent: str | None = None

    @contextmanager
    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
        yield self

    def tell(self, **attributes: Any) -> None:
        pass

    def rename(self, name: str) -> None:
        pass

    def close(self) -> None:
        pass


def open_tracing(settings: Settings, service: str) -> Tracing:
    """Traces of this process, to the collector of the settings."""
    if settings.otlp_endpoint is None:
        return _Nothing()
    return _Collected(settings.otlp_endpoint, service)


class _Collected:
    """Sends spans by OTLP over HTTP, in the background."""

    def __init__(self, endpoint: str, service: str) -> None:
        # Imported where it is used: most processes trace nothing.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        who: dict[str, str | int] = {
            "service.name": f"transfusion-{service}",
            "service.version": __version__,
            "process.pid": os.getpid(),
        }
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=CLOSE_SECONDS)
        self._provider = TracerProvider(resource=Resource.create(who), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self._tracer = self._provider.get_tracer("transfusion", __version__)

    @contextmanager
    def span(self, name: str, *, parent: str | None = None, **attributes: Any) -> Iterator[Span]:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({"traceparent": parent} if parent else {})
        known = {key: value for key, value in attributes.items() if value is not None}
        with self._tracer.start_as_current_span(name, context=context, attributes=known) as span:
            yield _Begun(span)

    def close(self) -> None:
        self._provider.force_flush(int(CLOSE_SECONDS * 1000))
        self._provider.shutdown()


class _Begun:
    def __init__(self, span: Any) -> None:
        self._span = span
        context = span.get_span_context()
        self.traceparent: str | None = f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def tell(self, **attributes: Any) -> None:
        self._span.set_attributes({key: value for key, value in attributes.items() if value is not None})

    def rename(self, name: str) -> None:
        self._span.update_name(name)
