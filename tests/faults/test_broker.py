"""Whatever the broker does to messages or to itself changes nothing but latency."""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from fault_proxy import FaultProxy, fault_proxy, through
from platforms import SOAK
from redis_server import RedisServer, own_redis
from transfusion_api.app import create_app
from transfusion_core.queue import celery_app, ring
from transfusion_worker.bell import Bell
from worker_bench import Bench, until

pytestmark = pytest.mark.faults
SQLITE = pytest.mark.parametrize("database", ["sqlite"])
"""Of the database nothing is asked here: one is enough."""

JOBS = 200 if SOAK else 12
RUBBISH = (
    b"rubbish",
    b"\xff\x00",
    b"{}",
    b"[1, 2]",
    b'{"body": 1, "properties": {}}',
    b'{"body": "e30=", "content-type": "application/x-python-serialize", "headers": {}, "properties": {}}',
)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with own_redis() as server:
        yield server


@contextmanager
def _bell(url: str, look: Callable[[], None], **options: object) -> Iterator[Bell]:
    """A bell that listens."""
    app = celery_app(url)
    app.conf.broker_transport_options |= options
    bell = Bell(app, look, queues=["cpu"], threads=2)
    bell.start()
    try:
        until(bell.is_ready)
        yield bell
    finally:
        bell.stop()


def _rings_until_heard(url: str, heard: list[float], seconds: float) -> float:
    """Ring now and then until it is heard again; how long that took."""
    app, before, started = celery_app(url), len(heard), time.monotonic()

    def is_heard() -> bool:
        ring(app, ["cpu"])
        return len(heard) > before

    until(is_heard, seconds=seconds)
    return time.monotonic() - started


@SQLITE
def test_messages_that_are_lost_with_the_broker_s_data_lose_no_job(
    bench: Bench, redis: RedisServer, check: Callable[..., None]
) -> None:
    app, made = celery_app(redis.url), [bench.add("quick") for _ in range(JOBS)]
    for job in made:
        ring(app, ["cpu"], job)
    Redis.from_url(redis.url).flushall()
    worker = bench.worker(broker_url=redis.url, poll_seconds=0.5)
    worker.start()
    assert [(job.state, job.attempt) for job in map(bench.ended, made)] == [("succeeded", 1)] * JOBS
    worker.stop()
    check()


@SQLITE
def test_messages_that_come_five_times_in_any_order_start_no_job_twice(
    bench: Bench, redis: RedisServer, check: Callable[..., None]
) -> None:
    made = [bench.add("quick") for _ in range(JOBS)]
    app, messages = celery_app(redis.url), made * 5
    random.Random(0).shuffle(messages)
    for job in messages:
        ring(app, ["cpu"], job)
    worker = bench.worker(broker_url=redis.url, poll_seconds=1000)
    worker.start()
    assert [(job.state, job.attempt) for job in map(bench.ended, made)] == [("succeeded", 1)] * JOBS
    worker.stop()
    check()


@SQLITE
def test_a_broker_that_dies_idle_or_busy_and_comes_back_empty_stops_nothing(
    bench: Bench, redis: RedisServer, check: Callable[..., None]
) -> None:
    worker = bench.worker(broker_url=redis.url, poll_seconds=0.5)
    worker.start()
    busy = bench.add_wait()
    bench.pid()
    redis.kill()
    idle = bench.add("quick")  # nobody can ring
    assert bench.ended(idle).state == "succeeded"
    redis.start()
    bench.go()
    assert (bench.ended(busy).state, bench.job(busy).attempt) == ("succeeded", 1)
    worker.stop()
    check()


def test_the_bell_is_heard_again_after_the_broker_was_away(redis: RedisServer) -> None:
    heard: list[float] = []
    with _bell(redis.url, lambda: heard.append(time.monotonic())):
        _rings_until_heard(redis.url, heard, 5)
        redis.kill()
        ring(celery_app(redis.url), ["cpu"])
        redis.start()
        _rings_until_heard(redis.url, heard, 30)


def test_rubbish_in_the_queue_is_passed_over(redis: RedisServer) -> None:
    heard: list[float] = []
    with _bell(redis.url, lambda: heard.append(time.monotonic())):
        _rings_until_heard(redis.url, heard, 5)
        for rubbish in RUBBISH if SOAK else RUBBISH[::5]:  # each costs the consumer a restart, of two seconds
            Redis.from_url(redis.url).lpush("cpu", rubbish)
        celery_app(redis.url).send_task("os.system", args=["true"], queue="cpu")
        celery_app(redis.url).send_task("transfusion.look", args=[1, 2, 3], kwargs={"no": "such"}, queue="cpu")
        until(lambda: not Redis.from_url(redis.url).llen("cpu"), seconds=60)
        _rings_until_heard(redis.url, heard, 30)


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[FaultProxy]:
    with fault_proxy(redis.url) as made:
        yield made


@SQLITE
def test_a_connection_that_is_half_open_holds_nobody_up(
    bench: Bench, redis: RedisServer, proxy: FaultProxy, check: Callable[..., None]
) -> None:
    url = through(proxy, redis.url)
    worker = bench.worker(broker_url=url, poll_seconds=0.5)
    worker.start()
    until(worker._bell.is_ready)
    proxy.faults.is_silent = True
    job, started = bench.add("quick"), time.monotonic()
    ring(celery_app(url), ["cpu"], job)
    assert time.monotonic() - started < 1
    assert bench.ended(job).state == "succeeded"
    proxy.heal()
    worker.stop()
    check()


@pytest.mark.skipif(not SOAK, reason="waits for the broker's time limits: make soak")
def test_the_bell_is_heard_again_after_a_half_open_connection(redis: RedisServer, proxy: FaultProxy) -> None:
    heard: list[float] = []
    with _bell(through(proxy, redis.url), lambda: heard.append(time.monotonic())):
        _rings_until_heard(redis.url, heard, 5)
        proxy.faults.is_silent = True
        time.sleep(35)
        proxy.reset()
        proxy.heal()
        _rings_until_heard(redis.url, heard, 60)


def test_a_look_that_outlasts_the_broker_s_patience_is_not_handed_out_again(redis: RedisServer) -> None:
    heard: list[float] = []

    def look() -> None:
        heard.append(time.monotonic())
        time.sleep(2.5)

    with _bell(redis.url, look, visibility_timeout=1, unacked_restore_interval=1):
        ring(celery_app(redis.url), ["cpu"], "long")
        until(lambda: heard)
        until(lambda: time.monotonic() > heard[0] + 3)
        assert len(heard) == 1
        assert Redis.from_url(redis.url).hlen("unacked") == 0


def test_messages_carry_no_work(redis: RedisServer) -> None:
    ring(celery_app(redis.url), ["cpu"], "a-job")
    (message,) = until(lambda: Redis.from_url(redis.url).lrange("cpu", 0, -1))
    assert json.loads(message)["headers"]["argsrepr"] == "()"


@SQLITE
def test_an_experiment_is_posted_while_the_broker_is_away(bench: Bench, check: Callable[..., None]) -> None:
    away = bench.settings.model_copy(update={"broker_url": "redis://127.0.0.1:9/0"})
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 1), "raise_server_exceptions": False}
    spec = {
        "name": "small",
        "dataset": "demo-retina",
        "models": ["cbr-tiny"],
        "inits": ["random"],
        "seeds": 1,
        "image_size": 40,
        "training": {"steps": 2},
        "sections": ["performance"],
    }
    with TestClient(create_app(away), **local) as client:
        assert client.post("/v1/experiments", json=spec).status_code == 201
    check()
