"""A worker's cache and disk: what is not used goes first, what is in use stays, and a full disk is survived."""

import errno
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from small_disk import small_disk
from transfusion_core.errors import ObjectCorrupt, Unavailable
from transfusion_core.science.tensor_files import write_tensors
from transfusion_core.specs.dataset import StoredObject
from transfusion_worker import room
from transfusion_worker.jobs.resume import Uploader
from transfusion_worker.room import Room, make_room


def _filled(context, count: int) -> list[tuple[StoredObject, Path]]:
    """Objects in the cache, each used a minute after the one before, and none used now."""
    filled = []
    for number in range(count):
        stored = context.store.put_bytes(f"jobs/{number}", b"%d" % number * 1000)
        path = context.fetch(stored)
        os.utime(path, (1000 + 60 * number,) * 2)
        filled.append((stored, path))
    return filled


def test_what_was_not_used_for_longest_goes_first(make):
    cached = _filled(make(), 4)  # the context is gone, and what it held with it
    cache_dir = cached[0][1].parents[2]
    assert make_room(cache_dir, most_bytes=2000) == 2000
    assert [path.exists() for _, path in cached] == [False, False, True, True]
    assert make_room(cache_dir, most_bytes=2000) == 0
    assert make().fetch(cached[0][0]).read_bytes() == b"0" * 1000


def test_what_is_in_use_is_never_removed(make):
    user = make()
    cached = _filled(user, 3)
    cache_dir = cached[0][1].parents[2]
    assert make_room(cache_dir, most_bytes=0) == 0
    assert all(path.exists() for _, path in cached)
    del user
    assert make_room(cache_dir, most_bytes=0) == 3000


def test_a_use_counts_as_use(make):
    cached = _filled(make(), 2)
    make().fetch(cached[0][0])
    make_room(cached[0][1].parents[2], most_bytes=1000)
    assert [path.exists() for _, path in cached] == [True, False]


def test_a_copy_that_is_damaged_is_fetched_anew_and_one_that_cannot_be_is_an_error(make):
    (stored, path), *_ = _filled(make(), 1)
    path.write_bytes(b"wrong")
    assert make().fetch(stored).read_bytes() == b"0" * 1000
    path.write_bytes(b"wrong")
    make().store.delete(stored.key)
    make().store.put_bytes(stored.key, b"wrong too")
    with pytest.raises(ObjectCorrupt):
        make().fetch(stored)


def test_a_cache_that_loses_what_it_fetched_gives_up(make, monkeypatch):
    context = make()
    stored = context.store.put_bytes("a", b"1")
    monkeypatch.setattr(context.store, "get_file", lambda stored, path: None)
    with pytest.raises(Unavailable, match="lost its copy of 'a' 3 times"):
        context.fetch(stored)


def test_drafts_of_dead_writers_go_and_those_of_living_ones_stay(tmp_path):
    folder = tmp_path / "objects" / "ab"
    folder.mkdir(parents=True)
    dead, living = folder / ".dead.part", folder / ".living.part"
    for draft in (dead, living):
        draft.write_bytes(b"half")
    os.utime(dead, (1000, 1000))
    assert make_room(tmp_path, most_bytes=10**9) == 4
    assert make_room(tmp_path, most_bytes=0) == 0
    assert living.exists()


def test_a_worker_without_room_begins_nothing_until_there_is_some(bench, monkeypatch, caplog):
    free = [0]
    monkeypatch.setattr(room, "free_on", lambda cache_dir: free[0])
    worker = bench.worker(min_free_bytes=1000)
    worker.start()
    job = bench.add("echo")
    deadline = time.monotonic() + 20
    while "no job is begun: 0 bytes are free" not in caplog.text:
        assert time.monotonic() < deadline
    assert bench.job(job).attempt == 0
    free[0] = 1000
    assert bench.ended(job).state == "succeeded"
    worker.stop()


def test_what_was_not_used_for_long_goes_though_there_is_room(make):
    cached = _filled(make(), 2)
    make().fetch(cached[1][0])
    assert make_room(cached[0][1].parents[2], unused_seconds=3600) == 1000
    assert [path.exists() for _, path in cached] == [False, True]


def test_room_is_told_and_made(bench, make):
    (_, path), *_ = _filled(make(), 1)
    settings = bench.settings.model_copy(update={"cache_dir": path.parents[2], "cache_bytes": 0})
    assert Room(settings).is_enough()
    assert Room(settings).tidy() == 1000
    assert not Room(settings.model_copy(update={"min_free_bytes": 10**18})).is_enough()


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        yield disk


def test_a_full_disk_takes_what_nobody_uses_from_the_cache_and_says_so_when_that_is_not_enough(make, disk):
    context = make(cache_dir=disk.folder)
    unused = context.store.put_bytes("jobs/unused", b"u" * 300_000)
    needed = context.store.put_bytes("jobs/needed", b"n" * 500_000)
    make(cache_dir=disk.folder).fetch(unused)
    filler = disk.fill(leave_bytes=300_000)
    assert context.fetch(needed).read_bytes() == b"n" * 500_000
    with pytest.raises(Unavailable, match=r"disk is full: no room for 300000 bytes of 'jobs/unused'"):
        make(cache_dir=disk.folder).fetch(unused)
    filler.unlink()
    assert make(cache_dir=disk.folder).fetch(unused).read_bytes() == b"u" * 300_000


def test_on_a_full_disk_files_of_tensors_are_errors_of_the_disk(disk):
    disk.fill()
    with pytest.raises(OSError, match="No space left") as raised:
        write_tensors(disk.folder / "a", {"a": torch.zeros(100_000)}, {})
    assert raised.value.errno == errno.ENOSPC


def test_a_state_for_which_there_is_no_room_is_not_kept_and_the_training_goes_on(make, disk):
    context = make()
    context.scratch = disk.folder

    class State:
        step = 3

        def save(self, path: Path, **extra: object) -> None:
            write_tensors(path, {"a": torch.from_numpy(np.zeros(100_000))}, {})

    filler = disk.fill()
    with Uploader(context) as uploader:
        uploader.take(State())
        assert "state after step 3 is not kept" in context.told[-1]["log"]
        filler.unlink()
        uploader.take(State())
    assert "bundle" in context.told[-1]
