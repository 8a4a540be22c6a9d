"""A worker in this process: what becomes of jobs, whatever they do and whatever the broker does."""

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from kombu import Connection
from sqlalchemy import text

from redis_server import redis_server
from transfusion_core.db import jobs
from transfusion_core.queue import celery_app, ring
from transfusion_worker import bell, health, process, stall, supervisor
from transfusion_worker import worker as worker_module
from worker_bench import is_running, until


def test_a_job_is_done_and_what_it_said_is_kept(bench, working):
    first = bench.add("echo", word="hello")
    done = bench.ended(first)
    assert done.state == "succeeded", done.error
    assert done.result["spec"] == {"word": "hello"}
    assert done.result["threads"] == 1
    assert done.result["blas_threads"] == [1]
    assert done.result["leads_its_group"]
    assert not done.result["has_main_program"], "each child would import the command line"
    assert [point.value for point in jobs.points(bench.engine, first)] == [0.5, None]
    assert jobs.log(bench.engine, first) == ["a line"]
    assert done.result["stored"]["key"].startswith(f"jobs/{first}/1/")
    assert not os.path.exists(done.result["scratch"])

    second = bench.add("echo", needs=(first,))
    assert bench.ended(second).result["needs"] == [done.result]


def test_a_child_knows_neither_database_nor_broker(bench, working):
    done = bench.ended(bench.add("echo"))
    assert done.result["secrets"] == []
    assert done.result["database_url"] != bench.settings.database_url


@pytest.mark.parametrize("name", ["PGPASSFILE", "PGPASSWORD", "PGSERVICEFILE", "PGUSER", "TRANSFUSION_DATABASE_URL"])
def test_nothing_that_opens_the_database_is_in_the_environment_of_who_starts_children(monkeypatch, name):
    monkeypatch.setenv(name, "x")
    with process._apart():
        assert name not in os.environ
    assert os.environ[name] == "x"


@pytest.fixture
def once(bench):
    """A worker that tries nothing a second time."""
    worker = bench.worker(max_crashes=1, max_outages=1)
    worker.start()
    yield worker
    worker.stop()


@pytest.mark.parametrize(
    ("how", "reason", "error"),
    [
        ("data", "data", "bad data"),
        ("bug", "bug", "ZeroDivisionError: oh"),
        ("memory", "out_of_memory", "MemoryError: too much"),
        ("cuda", "out_of_memory", "OutOfMemoryError: too much"),
        ("cublas", "out_of_memory", "CUBLAS_STATUS_ALLOC_FAILED"),
        ("full", "out_of_memory", "AcceleratorError: CUDA error: out of memory"),
        ("device", "infrastructure", "uncorrectable ECC error"),
        ("cudnn", "infrastructure", "CUDNN_STATUS_EXECUTION_FAILED"),
        ("gemm", "infrastructure", "CUBLAS_STATUS_EXECUTION_FAILED"),
        ("nccl", "infrastructure", "DistBackendError: NCCL error"),
        ("assert", "bug", "device-side assert triggered"),
        ("words", "bug", "ValueError: a text"),
        ("cancelled", "bug", "nobody asked it to stop"),
    ],
)
def test_what_a_job_raises_is_a_reason(bench, once, how, reason, error):
    failed = bench.ended(bench.add("fail", how=how))
    assert (failed.state, failed.reason) == ("failed", reason)
    assert error in failed.error
    assert ("traceback" in (failed.detail or {})) == (how != "cancelled" and reason == "bug")


@pytest.mark.parametrize("how", ["disk", "missing"])
def test_trouble_with_disk_or_store_is_tried_again_before_it_fails(bench, how):
    worker = bench.worker(max_crashes=2, max_outages=2)
    worker.start()
    failed = bench.ended(bench.add("fail", how=how))
    worker.stop()
    assert (failed.state, failed.reason, failed.attempt) == ("failed", "infrastructure", 2)
    assert ("tried again in 1 s" in "".join(jobs.log(bench.engine, failed.id))) == (how == "disk")


def test_what_is_away_for_longer_than_crashes_are_allowed_costs_no_crash(bench):
    worker = bench.worker(max_crashes=1)
    worker.start()
    done = bench.ended(bench.add("recover", after=3))
    worker.stop()
    assert (done.state, done.attempt, done.crashes) == ("succeeded", 3, 0)


def test_a_worker_whose_own_disk_is_full_puts_its_job_off_and_goes_on(bench, monkeypatch):
    full = [OSError(28, "No space left on device")]

    def mkdtemp(**more):
        if full:
            raise full.pop()
        return tempfile.mkdtemp(**more)

    monkeypatch.setattr(supervisor, "tempfile", SimpleNamespace(mkdtemp=mkdtemp))
    worker = bench.worker(max_crashes=1)
    worker.start()
    done = bench.ended(bench.add("echo"))
    worker.stop()
    assert (done.state, done.attempt, done.crashes) == ("succeeded", 2, 0)
    assert "No space left on device" in jobs.log(bench.engine, done.id)[0]


def test_a_worker_that_cannot_start_a_process_yet_tries_again(bench, monkeypatch):
    failures = [OSError(11, "Resource temporarily unavailable")]

    def warm_up(kinds_module, **how):
        if failures:
            raise failures.pop()
        process.warm_up(kinds_module, **how)

    monkeypatch.setattr(worker_module, "warm_up", warm_up)
    monkeypatch.setattr(worker_module, "WARM_UP_SECONDS", 0.1)
    worker = bench.worker()
    worker.start()
    assert bench.ended(bench.add("echo")).state == "succeeded"
    worker.stop()
    assert failures == []


def test_a_busy_worker_whose_database_does_not_answer_is_not_well(bench, monkeypatch):
    monkeypatch.setattr(worker_module, "MAX_SWEEP_SECONDS", 0.1)
    worker = bench.worker(slots=1)
    worker.start()
    job = bench.add_wait()
    bench.pid()
    until(lambda: not worker._slots.is_any_free())
    silent = lambda: health.silent_seconds(bench.settings.cache_dir)  # noqa: E731 - one line, used thrice
    before = silent()
    until(lambda: silent() < before + 0.01)
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    until(lambda: silent() > 0.6)  # a dozen polls
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs_away RENAME TO jobs"))
    until(lambda: silent() < 0.5)
    bench.go()
    assert bench.ended(job).state == "succeeded"
    worker.stop()


def test_a_worker_is_well_while_it_gets_to_its_jobs(bench, monkeypatch):
    for name in ("database_url", "cache_dir", "poll_seconds"):
        monkeypatch.setenv(f"TRANSFUSION_{name.upper()}", str(getattr(bench.settings, name)))
    assert "no worker" in health.verdict(bench.settings)
    worker = bench.worker(slots=1)
    worker.start()
    until(lambda: health.verdict(bench.settings) is None)
    assert subprocess.run([sys.executable, "-m", "transfusion_worker.health"], check=False).returncode == 0
    job = bench.add_wait()  # it is well, too, while all its slots are taken
    bench.pid()
    before = health.silent_seconds(bench.settings.cache_dir)
    until(lambda: health.silent_seconds(bench.settings.cache_dir) < before + 0.01)
    bench.go()
    bench.ended(job)
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    until(lambda: health.silent_seconds(bench.settings.cache_dir) > 0.6)  # a dozen polls
    monkeypatch.setattr(health, "SLACK_SECONDS", 0.0)
    assert "ago" in health.verdict(bench.settings)
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs_away RENAME TO jobs"))
    until(lambda: health.silent_seconds(bench.settings.cache_dir) < 0.5)
    worker.stop()
    assert "no worker" in health.verdict(bench.settings)


def test_a_job_of_a_kind_that_is_unknown_is_a_bug(bench, working):
    assert bench.ended(bench.add("juggle")).reason == "bug"


def test_a_killed_child_is_replaced_and_the_job_done_once(bench, working):
    job = bench.add_wait()
    os.kill(bench.pid(0), signal.SIGKILL)
    bench.pid(1)
    bench.go()
    done = bench.ended(job)
    assert (done.state, done.attempt, done.crashes) == ("succeeded", 2, 1)
    assert done.result == {"attempt": 2}


def test_a_job_that_always_kills_its_child_fails_while_others_flow(bench):
    worker = bench.worker(max_crashes=2, slots=1)
    deadly = bench.add("die")
    others = [bench.add("echo") for _ in range(3)]
    worker.start()
    assert [bench.ended(other).state for other in others] == ["succeeded"] * 3
    failed = bench.ended(deadly)
    worker.stop()
    assert (failed.state, failed.reason, failed.crashes) == ("failed", "infrastructure", 2)
    assert "SIGKILL" in failed.error
    assert "last words" in jobs.log(bench.engine, deadly)


def test_a_child_that_leaves_without_a_word_is_a_crash(bench):
    worker = bench.worker(max_crashes=1)
    worker.start()
    failed = bench.ended(bench.add("leave"))
    worker.stop()
    assert failed.reason == "infrastructure"
    assert "exit code 7" in failed.error


def test_a_job_stops_when_it_is_cancelled(bench, working):
    job = bench.add_wait()
    pid = bench.pid()
    bench.change(job, cancel_requested=True)
    assert bench.ended(job, seconds=10).state == "cancelled"
    until(lambda: not is_running(pid))


def test_a_job_that_does_not_listen_is_killed_after_the_grace(bench):
    worker = bench.worker(grace_seconds=0.5)
    worker.start()
    job = bench.add_wait("deaf")
    pid = bench.pid()
    bench.change(job, cancel_requested=True)
    assert bench.ended(job, seconds=10).state == "cancelled"
    assert not is_running(pid)
    worker.stop()


def test_a_worker_that_was_declared_dead_kills_its_child_and_writes_nothing(bench, working):
    job = bench.add_wait(queue="cpu")
    pid = bench.pid()
    bench.change(job, attempt=7, worker="elsewhere:1:1")
    until(lambda: not is_running(pid))
    bench.go()
    now = bench.job(job)
    assert (now.state, now.attempt, now.result) == ("running", 7, None)
    until(lambda: not working._at_work())


def test_a_child_is_stopped_when_beats_fail_until_the_lease_would_end(bench):
    worker = bench.worker(lease_seconds=1.5, max_crashes=9)
    worker.start()
    job = bench.add_wait("deaf")
    pid = bench.pid()
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    until(lambda: not is_running(pid), seconds=10)
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs_away RENAME TO jobs"))
    assert bench.pid(1) != pid  # the sweep brought it back
    assert bench.job(job).attempt >= 2
    worker.stop(0)


def test_a_child_that_says_nothing_for_long_is_a_crash_with_its_stacks_in_the_log(bench, monkeypatch):
    monkeypatch.setitem(stall.LEAST_SECONDS, "train", 8.0)  # longer than a child needs to start on a slow machine
    worker = bench.worker(max_crashes=1)
    worker.start()
    job = bench.add_wait("train")
    failed = bench.ended(job)
    worker.stop()
    assert "no sign of life" in failed.error
    assert any("worker_kinds.py" in line for line in jobs.log(bench.engine, job))


@pytest.fixture(params=["memory", "redis"])
def listening(request, bench):
    """A worker that hears the doorbell and hardly ever polls, and an app that rings it."""
    with ExitStack() as stack:
        broker_url = "memory://localhost" if request.param == "memory" else stack.enter_context(redis_server())
        worker = bench.worker(poll_seconds=1000, broker_url=broker_url)
        worker.start()
        until(lambda: worker._warm.is_set() and worker._bell.is_ready() and not worker._wake.is_set())
        yield celery_app(broker_url)
        worker.stop()


def test_the_doorbell_wakes_a_worker_that_polls_rarely(bench, listening):
    job = bench.add("echo", queue="gpu")
    ring(listening, ["gpu"], job)
    assert bench.ended(job, seconds=20).state == "succeeded"


def test_one_ring_wakes_every_slot(bench, listening):
    both = [bench.add_wait(), bench.add_wait()]
    ring(listening, ["cpu"])
    bench.pid(1)
    bench.go()
    assert [bench.ended(job).state for job in both] == ["succeeded"] * 2


def test_a_bell_within_this_process_wakes_its_consumer_to_stop(bench, monkeypatch):
    drain = Connection.drain_events
    monkeypatch.setattr(Connection, "drain_events", lambda self, **_: drain(self, timeout=600))
    monkeypatch.setattr(bell, "STOP_SECONDS", 60)
    worker = bench.worker()
    worker.start()
    until(worker._bell.is_ready)
    worker.stop()
    assert not worker._bell._thread.is_alive()


def test_with_the_broker_dead_the_poll_finds_the_work(bench):
    worker = bench.worker(broker_url="redis://127.0.0.1:9/0")
    worker.start()
    assert bench.ended(bench.add("echo")).state == "succeeded"
    worker.stop()


def test_a_worker_does_the_jobs_of_its_queues_alone(bench):
    worker = bench.worker(("cpu",))
    other, own = bench.add("echo", queue="gpu"), bench.add("echo", queue="cpu")
    worker.start()
    assert bench.ended(own).state == "succeeded"
    worker.stop()
    assert bench.job(other).state == "queued"


def test_a_worker_leaves_jobs_that_need_more_gpus_than_it_gives_to_one_that_gives_them(bench):
    large, small = bench.add("echo"), bench.add("echo")
    bench.change(large, gpus=4)
    worker = bench.worker(device="cuda")
    worker.start()
    assert bench.ended(small).state == "succeeded"
    worker.stop()
    assert (bench.job(large).state, bench.job(large).attempt) == ("queued", 0)
    worker = bench.worker(device="cuda", gpus_per_job=4)
    worker.start()
    assert bench.ended(large).state == "succeeded"
    worker.stop()


def test_a_stopped_worker_gives_its_jobs_back_uncounted(bench):
    worker = bench.worker()
    worker.start()
    jobs_ = [bench.add_wait(), bench.add_wait("deaf")]
    pids = [bench.pid(0), bench.pid(1)]
    worker.stop(1)
    assert [(bench.job(job).state, bench.job(job).crashes) for job in jobs_] == [("queued", 0)] * 2
    assert not any(map(is_running, pids))


def test_a_worker_starts_before_there_is_a_database(bench, caplog):
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs RENAME TO jobs_away"))
    worker = bench.worker()
    worker.start()
    until(lambda: "the database does not answer" in caplog.text)
    with bench.engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs_away RENAME TO jobs"))
    assert bench.ended(bench.add("echo")).state == "succeeded"
    worker.stop()
