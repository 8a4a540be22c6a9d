"""Numbers for Prometheus: what the database says of jobs and workers at each scrape, and what this process has seen of
requests, the database and the store.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy import Engine

from transfusion_core.db import fleet, workers
from transfusion_core.db.engine import observe
from transfusion_core.specs.job import QUEUES

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_NONE_ENDED: fleet.Counts = {(state, kind, ""): 0.0 for state in ("succeeded", "failed") for kind in QUEUES}
"""Told from the start: what grows within an hour is seen only where there was a number before."""


class Metrics:
    """The numbers of one process of the API, or of several that share a port (serving.py says where they count)."""

    def __init__(self, engine: Engine, *, is_one_of_several: bool = False) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "transfusion_request_seconds",
            "Requests, until their answer was sent; streams until it began",
            ["method", "route", "status"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        statements = Histogram(
            "transfusion_database_seconds",
            "Statements of this service",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._store = Histogram(
            "transfusion_store_seconds",
            "Calls of this service to the store",
            ["call", "outcome"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        observe(engine, statements.observe)
        self._fleet = _Fleet(engine)
        self._is_one_of_several = is_one_of_several

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(method, route, str(status)).observe(seconds)

    def stored(self, call: str, outcome: str, seconds: float) -> None:
        """The store was called."""
        self._store.labels(call, outcome).observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it; of several processes of one service, what they have all seen."""
        seen = CollectorRegistry()
        seen.register(self._fleet)
        if self._is_one_of_several:
            MultiProcessCollector(seen)  # type: ignore[no-untyped-call]  # theirs has no types
            return generate_latest(seen)
        return generate_latest(self._registry) + generate_latest(seen)


class _Fleet(Collector):
    """Reads the database once per scrape."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing is asked of the database when the collector is registered."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Jobs, queues, leases, workers and their GPUs."""
        found = fleet.look(self._engine)
        jobs = _NONE_ENDED | found.jobs
        yield _family("transfusion_jobs", "Jobs by state, kind and reason", ["state", "kind", "reason"], jobs)
        yield _family("transfusion_queue_jobs", "Queued jobs", ["queue"], found.queued)
        yield _family("transfusion_queue_age_seconds", "Age of the oldest job that is ready", ["queue"], found.age)
        yield _family(
            "transfusion_queue_wait_seconds", "Mean seconds in the queue of the jobs begun last", ["queue"], found.wait
        )
        yield _family("transfusion_queue_moves", "1 where somebody works on the queue", ["queue"], found.moves)
        if found.lease_left is not None:
            yield GaugeMetricFamily(
                "transfusion_lease_seconds_left", "Until the first lease of a job at work ends", value=found.lease_left
            )
        yield GaugeMetricFamily(
            "transfusion_running_seconds", "Of the attempt that runs for longest", value=found.longest
        )
        yield GaugeMetricFamily(
            "transfusion_images_per_second", "Of all trainings at work", value=found.images_per_second
        )
        yield from _machines(self._engine)


def _family(name: str, words: str, labels: list[str], values: fleet.Counts) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(list(key), value)
    return family


def _machines(engine: Engine) -> Iterator[GaugeMetricFamily]:
    slots = GaugeMetricFamily("transfusion_worker_slots", "Places for jobs", labels=["worker", "state"])
    disk = GaugeMetricFamily("transfusion_worker_free_bytes", "On the disk of its cache", labels=["worker"])
    busy = GaugeMetricFamily("transfusion_gpu_busy", "Share of time at work, 0 to 1", labels=["worker", "gpu"])
    memory = GaugeMetricFamily("transfusion_gpu_memory_bytes", "Memory of a GPU", labels=["worker", "gpu", "state"])
    for worker in workers.living(engine):
        slots.add_metric([worker.name, "busy"], worker.running)
        slots.add_metric([worker.name, "free"], max(0, worker.slots - worker.running))
        disk.add_metric([worker.name], worker.free_bytes)
        for number, gpu in enumerate(worker.gpus):
            busy.add_metric([worker.name, str(number)], gpu.busy)
            memory.add_metric([worker.name, str(number), "used"], gpu.used_bytes)
            memory.add_metric([worker.name, str(number), "free"], max(0, gpu.memory_bytes - gpu.used_bytes))
    yield from (slots, disk, busy, memory)
