"""The janitor and deletions, on both databases and a folder: what nothing points at goes, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from transfusion_core.db import chores, datasets, jobs, pointers, removals, tables, uploads, weights
from transfusion_core.db.clock import clock
from transfusion_core.db.scope import LOCAL, Scope
from transfusion_core.errors import Conflict, NotFound, Unavailable
from transfusion_core.janitor import Janitor
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.job import Bundle, Handover
from transfusion_core.store import FolderStore

DAY = 86_400.0
LATER = datetime.now(UTC) + timedelta(days=2)
"""By when nothing that the tests write now is under its grace any more."""


class World:
    """A database with jobs and a store with their objects."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.store = engine, FolderStore(folder / "store")
        self.settings = Settings(store_url=f"file://{folder}/store")

    def janitor(self, store: Any = None, **more: Any) -> Janitor:
        return Janitor(self.engine, store or self.store, self.settings, **{"now": lambda: LATER, **more})

    def job(self, job_id: str, state: str = "running", **values: Any) -> None:
        with Session(self.engine) as session, session.begin():
            row = {"key": job_id.ljust(64, "0"), "kind": "train", "queue": "gpu", "spec": {}, "labels": {}}
            session.add(tables.Job(id=job_id, state=state, attempt=1, **(row | values)))

    def put(self, key: str, data: bytes = b"bytes") -> StoredObject:
        return self.store.put_bytes(key, data)

    def keys(self) -> list[str]:
        return [listed.key for listed in self.store.list("")]

    def age(self, table: Any, *, seconds: float) -> None:
        with Session(self.engine) as session, session.begin():
            session.execute(update(table).values(created_at=clock(-seconds)))


@pytest.fixture
def world(engine: Engine, tmp_path: Path) -> World:
    return World(engine, tmp_path)


def _pointed(world: World) -> list[str]:
    """Objects that rows speak for: of a result, of jobs that have not succeeded, of uploads, of weights."""
    kept = [world.put(f"jobs/done/{attempt}/kept", b"kept") for attempt in (1, 2)]
    result = {"checkpoints": [kept[0].model_dump() | {"bytes": 4}], "deep": [{"report": kept[1].model_dump()}]}
    world.job("done", "succeeded", result=result)
    states = ("waiting", "queued", "running", "failed", "cancelled")
    for state in states:
        world.job(state, state)
    unended = [world.put(f"jobs/{state}/1/state-7").key for state in states]
    upload = uploads.create(Scope(world.engine), filename="a.zip", size_bytes=5)
    named = world.put("weights/abc")
    weights.register(Scope(world.engine), "w", named)
    foreign = world.put("elsewhere/file").key
    return sorted([*(stored.key for stored in kept), *unended, world.put(upload.key).key, named.key, foreign])


UNPOINTED = ["jobs/done/1/lost", "jobs/never/1/a", "uploads/none", "weights/unnamed"]


def test_what_no_row_speaks_for_goes_and_nothing_else(world):
    kept = _pointed(world)
    for key in UNPOINTED:
        world.put(key)
    assert [listed.key for listed in world.janitor().look().objects] == UNPOINTED
    assert world.keys() == sorted([*kept, *UNPOINTED])
    done = world.janitor().sweep()
    assert ([listed.key for listed in done.objects], done.size_bytes) == (UNPOINTED, 5 * len(UNPOINTED))
    assert world.keys() == kept
    again = world.janitor().sweep()
    assert (again.objects, again.removals) == ([], [])
    (removal,) = removals.page(Scope(world.engine), limit=5).items
    assert (removal.kind, removal.state, removal.objects, removal.size_bytes) == ("unpointed", "done", 4, 20)
    assert [each.key for each in removals.objects(Scope(world.engine), removal.id, limit=9).items] == UNPOINTED[::-1]


def test_what_is_young_is_left_alone(world):
    world.put("jobs/never/1/a")
    (Path(world.settings.store_url.removeprefix("file://")) / "jobs" / ".half.part").write_bytes(b"half")
    now = world.janitor(now=lambda: datetime.now(UTC))
    assert (now.look().objects, now.look().unfinished) == ([], [])
    now.sweep()
    assert world.keys() == ["jobs/never/1/a"]
    assert [each.key for each in world.janitor().look().unfinished] == ["jobs"]
    assert len(world.janitor().sweep().unfinished) == 1
    assert list(world.store.unfinished()) == []


def test_a_job_that_is_to_be_resumed_keeps_its_bundles_and_one_that_has_succeeded_its_result(world):
    """The janitor against a resume: at every moment of it, what the next attempt reads is there."""
    bundle, older = (world.put(f"jobs/run/1/state-{step}", b"%d" % step) for step in (7, 5))
    first = world.put("jobs/run/1/init")
    handover = Handover(bundles=[Bundle(step=7, object=bundle), Bundle(step=5, object=older)])
    world.job("run", "queued", handover=handover.model_dump(mode="json"))
    world.janitor().sweep()
    claimed = jobs.claim(world.engine, worker="w", queues=["gpu"], lease_seconds=60)
    world.janitor().sweep()
    assert [world.store.get_bytes(each.object) for each in claimed.handover.bundles] == [b"7", b"5"]
    jobs.succeed(world.engine, "run", claimed.attempt, {"checkpoints": [first.model_dump()]})
    world.janitor().sweep()
    assert world.keys() == [first.key]


def test_a_row_that_comes_between_the_list_and_the_decision_keeps_its_object(world):
    stored = world.put("jobs/late/1/a")

    class Slow(FolderStore):
        def list(self, prefix: str):
            yield from super().list(prefix)
            if prefix == "jobs/":
                world.job("late", "succeeded", result={"a": stored.model_dump()})

    world.janitor(Slow(Path(world.settings.store_url.removeprefix("file://")))).sweep()
    assert world.keys() == [stored.key]


def test_weights_are_not_named_while_their_file_goes(world):
    stored = world.put("weights/abc")

    class Interrupted(FolderStore):
        def delete(self, key: str) -> None:
            raise Unavailable("away")

    root = Path(world.settings.store_url.removeprefix("file://"))
    with pytest.raises(Unavailable):
        world.janitor(Interrupted(root)).sweep()
    with pytest.raises(Conflict, match="being removed"):
        weights.register(Scope(world.engine), "w", stored)
    assert len(world.janitor().go_on()) == 1
    assert world.keys() == []
    assert weights.register(Scope(world.engine), "w", world.put("weights/abc")).name == "w"
    world.janitor().sweep()
    assert world.keys() == ["weights/abc"]


def test_uploads_that_came_to_nothing_go_and_those_of_datasets_stay(world):
    used, left = (uploads.create(Scope(world.engine), filename="a.zip", size_bytes=5) for _ in range(2))
    for upload in (used, left):
        uploads.finish(Scope(world.engine), upload.id, world.put(upload.key))
    spec = DatasetSpec(name="mine", kind="folder", location=f"upload:{used.id}")
    datasets.register(Scope(world.engine), spec, ingest_draft(spec))
    assert world.janitor().look().uploads == []
    world.age(tables.Upload, seconds=DAY + 60)
    assert world.janitor().look().uploads == [left.id]
    assert world.janitor().sweep().uploads == [left.id]
    assert world.keys() == [used.key]
    with pytest.raises(NotFound):
        uploads.get(Scope(world.engine), left.id)
    gone = DatasetSpec(name="late", kind="folder", location=f"upload:{left.id}")
    with pytest.raises(Conflict, match="has expired"):
        datasets.register(Scope(world.engine), gone, ingest_draft(gone))
    (removal,) = [each for each in removals.page(Scope(world.engine), limit=9).items if each.kind == "upload"]
    assert (removal.name, removal.state, removal.size_bytes) == (left.id, "done", 5)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_an_upload_goes_some_time_after_it_was_read_or_given_up(world, state):
    """Patients' names and tags are in it: what a dataset needs of it is in the pack."""
    scope = Scope(world.engine)
    upload = uploads.create(scope, filename="a.zip", size_bytes=5)
    stored = world.put(upload.key)
    uploads.finish(scope, upload.id, stored)
    spec = DatasetSpec(name="mine", kind="folder", location=f"upload:{upload.id}")
    datasets.register(scope, spec, ingest_draft(spec, stored.sha256))
    world.age(tables.Upload, seconds=9 * DAY)
    for finished_at, gone in ((clock(-DAY + 60), []), (clock(-DAY - 60), [upload.id])):
        with Session(world.engine) as session, session.begin():
            ingests = update(tables.Job).where(tables.Job.kind == "ingest")
            session.execute(ingests.values(state=state, finished_at=finished_at))
        assert world.janitor().sweep().uploads == gone
    assert world.keys() == []
    assert datasets.get(scope, "mine@1").state == state


class Failing(FolderStore):
    """Goes away after so many deletions."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.left = after

    def delete(self, key: str) -> None:
        if not self.left:
            raise Unavailable("away")
        self.left -= 1
        super().delete(key)


@pytest.mark.parametrize("after", range(5))
def test_a_deletion_that_is_interrupted_anywhere_goes_on_to_the_same_account(world, after):
    for name in "abcd":
        world.put(f"jobs/x/1/{name}")
    other = world.put("jobs/xy/1/a").key
    with Session(world.engine) as session, session.begin():
        removal_id = removals.mark(session, "experiment", "e", removals.places_of_jobs(["x"]), project=LOCAL)
    root = Path(world.settings.store_url.removeprefix("file://"))
    if after < 4:
        with pytest.raises(Unavailable):
            world.janitor(Failing(root, after)).finish(removal_id)
        assert removals.get(Scope(world.engine), removal_id).state == "removing"
        assert len(world.keys()) == 5 - after
    account = world.janitor(Failing(root, 4)).finish(removal_id)
    assert (account.state, account.objects, account.size_bytes) == ("done", 4, 20)
    assert world.keys() == [other]
    assert world.janitor().finish(removal_id) == account
    assert world.janitor().go_on() == []


def test_a_deletion_takes_no_longer_than_it_may_and_is_gone_on_with(world):
    world.put("jobs/x/1/a")
    with Session(world.engine) as session, session.begin():
        removal_id = removals.mark(session, "experiment", "e", ["jobs/x/"], project=LOCAL)
    assert world.janitor().finish(removal_id, seconds=-1).state == "removing"
    assert world.janitor().go_on() == [removal_id]
    assert removals.get(Scope(world.engine), removal_id).state == "done"
    with pytest.raises(NotFound):
        removals.get(Scope(world.engine), "none")
    with pytest.raises(NotFound):
        removals.objects(Scope(world.engine), "none", limit=1)


def test_two_janitors_at_once_are_as_good_as_one(world):
    for key in UNPOINTED:
        world.put(key)
    kept = world.put("jobs/done/1/kept")
    world.job("done", "succeeded", result={"a": kept.model_dump()})
    marked = pointers.mark_unpointed(world.engine, [(key, 5) for key in UNPOINTED])
    assert pointers.mark_unpointed(world.engine, [(key, 5) for key in UNPOINTED]) is None
    done = world.janitor().sweep()
    assert (done.objects, done.removals) == ([], [marked])
    assert removals.get(Scope(world.engine), marked).objects == 4
    assert removals.get(Scope(world.engine), marked).state == "done"
    assert world.keys() == [kept.key]


def test_a_chore_is_one_callers_turn_until_its_time_has_passed(world):
    assert chores.take(world.engine, "sweep", every_seconds=3600)
    assert not chores.take(world.engine, "sweep", every_seconds=3600)
    assert chores.take(world.engine, "other", every_seconds=3600)
    assert chores.take(world.engine, "sweep", every_seconds=0)
