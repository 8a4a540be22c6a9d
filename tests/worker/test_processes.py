"""Workers in processes of their own, which are killed."""

import signal

import pytest

from worker_bench import is_running, until, worker_processes


@pytest.fixture
def start(bench):
    """Start a worker in a process of its own."""
    with worker_processes(bench) as start_one:
        yield start_one


def test_a_killed_worker_leaves_no_orphan_and_the_next_one_does_its_job(bench, start):
    job = bench.add_wait()
    worker = start()
    pid = bench.pid(0)
    worker.kill()
    worker.wait()
    until(lambda: not is_running(pid), seconds=5)
    assert bench.job(job).state == "running"
    start()
    bench.pid(1)  # by the owner's pid and start time, before the lease ends
    bench.go()
    done = bench.ended(job)
    assert (done.state, done.attempt, done.crashes) == ("succeeded", 2, 0)
    until(lambda: not list((bench.settings.cache_dir / "scratch").glob("*/*/")))


def test_a_killed_worker_of_a_service_is_replaced_when_its_lease_ends(bench, start):
    job = bench.add_wait()
    worker = start(mode="service", lease_seconds=3)
    bench.pid(0)
    worker.kill()
    start(mode="service", lease_seconds=3)
    bench.pid(1)
    bench.go()
    assert bench.ended(job).result == {"attempt": 2}


def test_sigterm_gives_the_job_back_and_ends_the_worker(bench, start):
    job = bench.add_wait()
    worker = start()
    pid = bench.pid(0)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert not is_running(pid)
    assert (bench.job(job).state, bench.job(job).crashes) == ("queued", 0)


def test_a_second_sigterm_kills_the_child_that_does_not_listen(bench, start):
    job = bench.add_wait("deaf")
    worker = start(grace_seconds=1000)
    pid = bench.pid(0)
    worker.send_signal(signal.SIGTERM)
    log = bench.folder / "workers.log"
    until(lambda: "jobs are asked to stop" in log.read_text())
    assert is_running(pid)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(30) == 0
    assert not is_running(pid)
    assert bench.job(job).state == "queued"


def test_what_a_child_was_given_is_no_garbage_to_be_looked_through(bench, start):
    start()
    assert bench.ended(bench.add("inherited")).result == {"is_collected": False, "frozen": True}
