"""The doorbell: a Celery app whose messages say "look now" and nothing else. What is to do stands in the database."""

import logging
import socket
import threading
from collections.abc import Iterable

from celery import Celery
from celery.exceptions import CeleryError
from kombu.entity import Exchange, Queue
from kombu.exceptions import KombuError

from transfusion_core.specs.job import QUEUES

TASK = "transfusion.look"
RING_TIMEOUT_SECONDS = 0.5
"""How long a ring may hold up its caller. A broker that is slower than this hears it later, or never."""
STALE_SECONDS = 60
"""A doorbell that nobody heard for so long says nothing that the poll has not found."""

_log = logging.getLogger(__name__)


def celery_app(broker_url: str) -> Celery:
    """The app that rings and the worker that listens. It is nobody's default or current app."""
    app = Celery("transfusion", broker=broker_url, backend=None, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=False,  # the database brings work back, the broker never does
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in sorted(set(QUEUES.values()))],
        task_create_missing_queues=False,
        task_default_queue="cpu",
        task_publish_retry=True,  # once, for a pooled connection that has gone stale
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0},
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=_is_redis(broker_url),
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_heartbeat=0,
        broker_transport_options=_transport_options(broker_url),
        enable_utc=True,
    )
    return app


def ring(app: Celery, queues: Iterable[str], job: str | None = None) -> None:
    """Tell workers of these queues to look at the jobs table; `job` is for the log alone.

    Call it after the commit. It never raises and takes half a second at most: where the broker is dead the workers'
    own poll finds the work, a little later.
    """
    names = sorted(set(queues))
    if not names:
        return
    sender = threading.Thread(target=_send, args=(app, names, job), name="doorbell", daemon=True)
    sender.start()
    sender.join(RING_TIMEOUT_SECONDS)
    if sender.is_alive():
        _log.warning("the broker takes its time; workers will find the work by themselves")


def unheard(app: Celery) -> str | None:
    """Why the broker cannot be reached, the kind of error alone; None where it can."""
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=RING_TIMEOUT_SECONDS)
    except (CeleryError, KombuError, OSError) as error:
        return type(error.__cause__ or error).__name__
    return None


def _send(app: Celery, queues: list[str], job: str | None) -> None:
    try:
        for queue in queues:
            app.send_task(TASK, kwargs={"job": job}, queue=queue, expires=STALE_SECONDS)
    except (CeleryError, KombuError, OSError) as error:
        _log.warning("the doorbell did not ring, workers will find the work by themselves: %s", error)
    finally:
        # Who cleans up a lost connection changes the default of the whole process and puts back what it found: where
        # the consumer of this process does so at the same time, the consumer's five seconds, for good.
        socket.setdefaulttimeout(None)


def _transport_options(broker_url: str) -> dict[str, object]:
    if not _is_redis(broker_url):
        return {"polling_interval": 0.02}  # memory://: how often the consumer looks
    return {
        "visibility_timeout": 3600,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 2,
        "socket_timeout": 30,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "retry_on_timeout": False,
        "fanout_prefix": True,
        "fanout_patterns": True,
    }


def is_in_this_process(app: Celery) -> bool:
    """Whether the broker is a part of this process, so that only a worker in it can hear what is sent."""
    return str(app.conf.broker_url).startswith("memory:")


def _is_redis(broker_url: str) -> bool:
    return broker_url.startswith(("redis://", "rediss://"))
