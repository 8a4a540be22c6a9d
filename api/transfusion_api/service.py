"""What every request handler is given: the settings, the database, the store and the doorbell, opened once."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from celery import Celery
from fastapi import Depends, Request
from sqlalchemy import Engine

from transfusion_api.limits import Limits, limits_of
from transfusion_api.metrics import Metrics
from transfusion_api.streams import Streams
from transfusion_core import queue
from transfusion_core.db import engine as databases
from transfusion_core.db import secrets
from transfusion_core.settings import Settings
from transfusion_core.store import Store, open_store, timed
from transfusion_core.tracing import Tracing, open_tracing

STORE_SECONDS = 5.0
"""A request that needs the store waits so long for one that does not answer."""


@dataclass(frozen=True)
class Service:
    """The parts of one running API process."""

    settings: Settings
    engine: Engine
    store: Store
    celery: Celery
    limits: Limits
    metrics: Metrics
    tracing: Tracing
    streams: Streams

    def close(self) -> None:
        """Let go of the database, and send what traces are left."""
        self.engine.dispose()
        self.tracing.close()

    @cached_property
    def secret(self) -> bytes:
        """What API keys are hashed with: given, or this database's own."""
        given = self.settings.secret
        return given.get_secret_value().encode() if given else secrets.kept(self.engine, "api keys")

    def ring(self, queues: Iterable[str]) -> None:
        """Wake workers, after commit; a dead broker only makes them slower."""
        queue.ring(self.celery, queues)


def open_service(settings: Settings) -> Service:
    """Connect lazily: nothing is asked of the database or the broker yet."""
    hasty = settings.model_copy(update={"store_seconds": min(settings.store_seconds, STORE_SECONDS)})
    engine = databases.connect(settings.database_url)
    metrics = Metrics(engine, is_one_of_several=settings.api_processes > 1)
    return Service(
        settings=settings,
        engine=engine,
        store=timed(open_store(hasty), metrics.stored),
        celery=queue.celery_app(settings.broker_url),
        limits=limits_of(settings),
        metrics=metrics,
        tracing=open_tracing(settings, "api"),
        streams=Streams(engine),
    )


def service_of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


async def _service(request: Request) -> Service:
    return service_of(request)


Serving = Annotated[Service, Depends(_service)]
"""For routes; a coroutine, as plain functions among dependencies each cost a change of threads."""
