"""What a worker tidies up by itself, and `transfusion sweep`."""

import threading

import pytest

from transfusion_core.db import removals
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.scope import LOCAL, Scope
from transfusion_core.errors import Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.job import Bundle
from transfusion_core.store import FolderStore, open_store
from transfusion_worker import cli, forgetting, tidying
from transfusion_worker.forgetting import Forgetting
from worker_bench import until


@pytest.fixture
def store(bench):
    return open_store(bench.settings)


def test_a_worker_sweeps_the_store_and_goes_on_with_deletions(bench, store, monkeypatch):
    monkeypatch.setattr("transfusion_worker.worker.TIDY_SECONDS", 0.05)
    store.put_bytes("jobs/never/1/a", b"1")
    worker = bench.worker(keep_unpointed_seconds=0, sweep_seconds=0.1)
    worker.start()
    until(lambda: not list(store.list("jobs/")))
    store.put_bytes("elsewhere/a", b"1")
    with unit_of_work(bench.engine) as session:
        removal = removals.mark(session, "experiment", "e", ["elsewhere/"], project=LOCAL)
    until(lambda: removals.get(Scope(bench.engine), removal).state == "done")
    assert list(store.list("")) == []
    worker.stop()


def test_a_sweep_while_jobs_run_takes_nothing_from_them(bench, working, store):
    """Whatever the grace: a running job's objects are no row's yet, and stay."""
    job = bench.add_wait()
    bench.pid()
    store.put_bytes(f"jobs/{job}/1/early", b"1")
    tidying.Tidying(bench.engine, bench.settings.model_copy(update={"keep_unpointed_seconds": 0}), working._room).tidy()
    assert store.exists(f"jobs/{job}/1/early")
    bench.go()
    assert bench.ended(job).state == "succeeded"


def test_the_command_says_what_would_go_and_then_removes_it(bench, store, monkeypatch, capsys):
    settings = bench.settings.model_copy(update={"keep_unpointed_seconds": 0})
    monkeypatch.setattr(cli, "Settings", lambda: settings)
    store.put_bytes("jobs/never/1/a", b"123")
    draft = bench.folder / "store" / "jobs" / ".half.part"
    draft.write_bytes(b"")
    with unit_of_work(bench.engine) as session:
        removal = removals.mark(session, "experiment", "e", ["jobs/x/"], project=LOCAL)
    cli.sweep(dry_run=True)
    told = capsys.readouterr().out
    assert "object jobs/never/1/a: 3 bytes" in told
    assert "unfinished write of jobs, of " in told
    assert f"deletion {removal}, which was interrupted" in told
    assert "1 objects of 3 bytes would go" in told
    assert store.exists("jobs/never/1/a")
    cli.sweep()
    told = capsys.readouterr().out
    assert "1 objects of 3 bytes are gone" in told
    assert "cache: 0 bytes freed" in told
    assert not store.exists("jobs/never/1/a")
    assert not draft.exists()


def test_the_command_says_nothing_to_worry_about_where_all_is_tidy(bench, monkeypatch, capsys):
    monkeypatch.setattr(cli, "Settings", lambda: bench.settings)
    cli.sweep(dry_run=True)
    assert capsys.readouterr().out == "0 objects of 0 bytes would go\n"


def test_a_store_that_hangs_keeps_nobody_who_lets_bundles_go(bench, monkeypatch, caplog):
    hanging, hung = threading.Event(), threading.Event()

    class Hanging(FolderStore):
        def delete(self, key: str) -> None:
            hung.set()
            hanging.wait(30)
            raise Unavailable("away")

    monkeypatch.setattr(forgetting, "open_store", lambda settings: Hanging(bench.folder))
    letting_go = Forgetting(bench.settings)
    letting_go.forget([Bundle(step=1, object=StoredObject(key="jobs/a", size_bytes=1, sha256="0" * 64))])
    letting_go.close()
    assert hung.wait(10)
    hanging.set()
    until(lambda: "bundle jobs/a stays in the store: away" in caplog.text)
