"""The small parts of a worker: slots, liveness, leases, settings, the command."""

import os
import socket

import pytest

from transfusion_core.errors import InvalidRequest
from transfusion_core.settings import Settings
from transfusion_core.store import FolderStore
from transfusion_worker import cache
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.cli import worker
from transfusion_worker.lease import Lease
from transfusion_worker.liveness import clear_scratch, is_alive, scratch_folder, worker_name
from transfusion_worker.slots import Slots


@pytest.mark.parametrize(
    ("cores", "gpus", "changes", "count", "threads", "devices"),
    [
        (2, 0, {}, 2, 1, ["cpu", "cpu"]),
        (16, 0, {}, 8, 2, ["cpu"] * 8),
        (16, 2, {}, 2, 8, ["cuda:0", "cuda:1"]),
        (16, 1, {"slots": 2}, 2, 8, ["cuda:0", "cuda:0"]),
        (16, 2, {"device": "cpu"}, 8, 2, ["cpu"] * 8),
        (16, 2, {"packing": 2}, 4, 4, ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]),
        (16, 4, {"gpus_per_job": 2}, 2, 8, ["cuda:0", "cuda:2"]),
        (16, 5, {"gpus_per_job": 2, "packing": 2}, 4, 4, ["cuda:0", "cuda:2", "cuda:0", "cuda:2"]),
        (4, 0, {"gpus_per_job": 2}, 2, 2, ["cpu", "cpu"]),
        (4, 0, {"slots": 1, "threads_per_job": 3, "device": "cuda"}, 1, 3, ["cuda"]),
    ],
)
def test_slots_share_cores_and_gpus(cores, gpus, changes, count, threads, devices):
    slots = Slots(Settings(**changes), cores=cores, gpus=gpus)
    assert (slots.count, slots.threads) == (count, threads)
    assert [slots.resources(slot).device for slot in range(count)] == devices


@pytest.mark.parametrize(
    ("gpus", "changes", "most"),
    [(0, {}, None), (4, {"device": "cpu"}, None), (4, {}, 1), (4, {"gpus_per_job": 4}, 4), (0, {"device": "cuda"}, 1)],
)
def test_slots_know_the_most_gpus_that_a_job_may_need(gpus, changes, most):
    assert Slots(Settings(**changes), cores=4, gpus=gpus).most_gpus == most


def test_a_worker_with_fewer_gpus_than_a_job_gets_says_so():
    with pytest.raises(InvalidRequest, match=r"expected 4 GPUs, .* got 2"):
        Slots(Settings(gpus_per_job=4), cores=4, gpus=2)


def test_a_slot_is_taken_once():
    slots = Slots(Settings(slots=1))
    assert slots.take() == 0
    assert slots.take() is None
    assert not slots.is_any_free()
    assert not slots.wait_until_all_free(0)
    slots.give_back(0)
    assert slots.wait_until_all_free(0)


def test_a_process_is_alive_by_pid_and_start_time():
    host, pid, start = worker_name().rsplit(":", 2)
    assert is_alive(worker_name())
    assert not is_alive(f"{host}:{pid}:{int(start) + 1}")
    assert not is_alive(f"{host}:4194305:1")
    assert is_alive("another-host:4194305:1")
    assert (host, pid) == (socket.gethostname(), str(os.getpid()))


def test_scratch_folders_of_dead_workers_go(tmp_path):
    mine, dead = scratch_folder(tmp_path), tmp_path / "scratch" / f"{socket.gethostname()}:4194305:1"
    for folder in (mine, dead):
        folder.mkdir(parents=True)
    clear_scratch(tmp_path)
    assert (mine.exists(), dead.exists()) == (True, False)


def test_a_lease_ends_here_before_it_ends_in_the_database():
    now = [0.0]
    lease = Lease(10, since=0, clock=lambda: now[0])
    now[0] = 7.9
    assert not lease.is_over()
    now[0] = 8.1
    assert lease.is_over()
    lease.extended(since=7)
    assert not lease.is_over()


def test_a_cached_copy_that_rotted_is_fetched_again(tmp_path):
    store = FolderStore(tmp_path / "store")
    stored = store.put_bytes("a", b"right")
    path = cache.fetch(store, stored, cache_dir=tmp_path / "cache", holder=store)
    path.write_bytes(b"wrong")
    assert cache.fetch(store, stored, cache_dir=tmp_path / "cache", holder=store).read_bytes() == b"right"
    store.delete("a")
    assert cache.fetch(store, stored, cache_dir=tmp_path / "cache", holder=store) == path  # it is here already


def test_an_assignment_goes_through_json_without_secrets():
    need = Need(id="1", key="k", kind="ingest", state="succeeded", spec={}, result={"a": 1})
    settings = open_settings(Settings(database_url="postgresql://secret", admin_key="secret"))
    assert "secret" not in str(settings)
    assignment = Assignment(
        job_id="2",
        attempt=1,
        kind="train",
        spec={},
        needs=[need],
        settings=settings,
        scratch="/s",
        device="cpu",
        threads=1,
    )
    assert Assignment.read(assignment.message()) == assignment


@pytest.mark.parametrize("queues", ["", "tpu", "gpu,tpu"])
def test_the_command_refuses_queues_that_do_not_exist(queues):
    with pytest.raises(InvalidRequest, match="expected queues among cpu, gpu"):
        worker(queues)
