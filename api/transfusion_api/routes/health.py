"""Whether the service lives, whether it can do its work, and its numbers for Prometheus; none of it needs a key."""

import shutil
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from transfusion_api.answers import Health, Part, Readiness
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_core.db import fleet, jobs, workers
from transfusion_core.db.engine import ping
from transfusion_core.errors import Unavailable
from transfusion_core.queue import unheard

router = APIRouter(tags=["health"])
STUCK_SECONDS = 60
"""A job that has been ready for so long while nobody works on its queue: no worker looks."""
PROBE_KEY = "ready"


@router.get("/healthz")
def get_health(service: Serving) -> Health:
    """The process answers."""
    return Health(mode=service.settings.mode)


@router.get("/readyz", responses=documented())
def get_readiness(service: Serving) -> Readiness:
    """Database, store and queue do what they should; `unavailable` says which does not."""
    ping(service.engine)
    service.store.exists(PROBE_KEY)
    parts = [
        Part(name="database", well=True, found=service.engine.dialect.name),
        Part(name="store", well=True, found=service.settings.store_url.partition(":")[0]),
        _broker(service),
        _queue(service),
        *_disk(service),
    ]
    return Readiness(mode=service.settings.mode, parts=parts)


def _queue(service: Service) -> Part:
    waited = jobs.oldest_queued_seconds(service.engine)
    if stuck := _stuck(service, waited):
        said = f"a job of queue {stuck} has waited for {waited[stuck]:.0f} s and nobody works on it"
        raise Unavailable(f"queue: {said}; is a worker running?")
    queued, oldest = sum(jobs.queue_depth(service.engine).values()), max(waited.values(), default=0.0)
    return Part(name="queue", well=True, found=f"{queued} jobs queued, the oldest for {oldest:.0f} s")


def _stuck(service: Service, waited: dict[str, float]) -> str | None:
    """A queue of which nobody does what somebody should have taken; the first by name.

    A job that is too large for all workers says nothing against them.
    """
    still = {queue for queue, seconds in waited.items() if seconds > STUCK_SECONDS}
    if not still or not (still := still - fleet.moving_queues(service.engine)):
        return None
    fits = jobs.oldest_queued_seconds(service.engine, most_gpus=workers.most_gpus(service.engine))
    return min((queue for queue in still if fits.get(queue, 0.0) > STUCK_SECONDS), default=None)


def _broker(service: Service) -> Part:
    """Without it workers find their work by themselves, a little later: no reason not to be ready."""
    fault = unheard(service.celery)
    found = service.settings.broker_url.partition(":")[0] if fault is None else f"does not answer: {fault}"
    return Part(name="broker", well=fault is None, found=found)


def _disk(service: Service) -> list[Part]:
    """Of a store that is a folder of this machine."""
    scheme, _, folder = service.settings.store_url.partition("://")
    if scheme != "file":
        return []
    place = next(place for place in (Path(folder), *Path(folder).parents) if place.exists())
    free = shutil.disk_usage(place).free
    well = free >= service.settings.min_free_bytes
    return [Part(name="disk", well=well, found=f"{free / 1e9:.1f} GB free in the store")]


@router.get("/metrics", response_class=PlainTextResponse, responses=documented())
def get_metrics(service: Serving) -> PlainTextResponse:
    """Prometheus: what the database says at this moment, and what this process has seen."""
    return PlainTextResponse(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
