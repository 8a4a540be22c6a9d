"""Whether the service lives, whether it can do its work, and its numbers for Prometheus; none of it needs a key."""

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from transfusion_api.answers import Health
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_core.db import jobs
from transfusion_core.db.engine import ping
from transfusion_core.errors import Unavailable

router = APIRouter(tags=["health"])
STUCK_SECONDS = 60
"""A job that has been ready for so long while nothing runs: no worker looks."""
PROBE_KEY = "ready"


@router.get("/healthz")
def get_health(service: Serving) -> Health:
    """The process answers."""
    return Health(mode=service.settings.mode)


@router.get("/readyz", responses=documented())
def get_readiness(service: Serving) -> Health:
    """Database, store and queue do what they should; `unavailable` says which does not."""
    ping(service.engine)
    service.store.exists(PROBE_KEY)
    waited = jobs.oldest_queued_seconds(service.engine) or 0.0
    if waited > STUCK_SECONDS and not jobs.is_any_alive(service.engine):
        raise Unavailable(f"queue: a job has waited for {waited:.0f} s and none runs; is a worker running?")
    return Health(mode=service.settings.mode)


@router.get("/metrics", response_class=PlainTextResponse, responses=documented())
def get_metrics(service: Serving) -> PlainTextResponse:
    """Prometheus: what the database says at this moment."""
    registry = CollectorRegistry()
    registry.register(_Jobs(service))
    return PlainTextResponse(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Jobs(Collector):
    """Reads the database once per scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is asked of the database when the collector is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs by state and kind, and how deep and old the queues are."""
        engine = self._service.engine
        by_state = GaugeMetricFamily("transfusion_jobs", "Jobs by state and kind", labels=["state", "kind"])
        for (state, kind), count in sorted(jobs.counts_by_state_kind(engine).items()):
            by_state.add_metric([state, kind], count)
        yield by_state
        queued = GaugeMetricFamily("transfusion_queue_jobs", "Queued jobs", labels=["queue"])
        for name, count in sorted(jobs.queue_depth(engine).items()):
            queued.add_metric([name], count)
        yield queued
        waited = jobs.oldest_queued_seconds(engine) or 0.0
        yield GaugeMetricFamily("transfusion_queue_age_seconds", "Age of the oldest job that is ready", value=waited)
