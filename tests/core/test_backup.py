"""Backups, both ways: SQLite with a folder, PostgreSQL with an S3 server."""

import fcntl
import gzip
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Engine, delete, insert, select, text, update
from sqlalchemy.orm import Session

from s3_server import KEY, SECRET, TOOL, shared_s3
from servers import postgres_url
from transfusion_core import backup
from transfusion_core.backup import MANIFEST, MOST_ROUNDS, Backup
from transfusion_core.db import dump, removals
from transfusion_core.db.clock import UtcDateTime
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.scope import LOCAL
from transfusion_core.db.tables import Event, Job, Table, Weights
from transfusion_core.errors import Conflict, ObjectCorrupt, StoreError, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.store import FolderStore, Store, open_store

AT = datetime(2026, 1, 31, 12, 0, 0, 123_000, UTC)
DONE, BEGUN, WAITING = "done", "begun", "waiting"


class Place:
    """A database and a store."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self.engine, self.store = engine, store

    def rows(self, without: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[Any]]:
        """Everything that is in the database, but for these columns of these tables."""
        left_out = without or {}
        with self.engine.connect() as connection:
            found = {
                each.name: connection.execute(
                    select(*(column for column in each.columns if column.name not in left_out.get(each.name, ())))
                ).all()
                for each in Table.metadata.sorted_tables
            }
        return {name: sorted(map(repr, rows)) for name, rows in found.items()}

    def objects(self) -> dict[str, bytes]:
        """Everything that is in the store."""
        return {listed.key: self.store.get_bytes(listed.key) for listed in self.store.list("")}

    def add(self, table: type[Table], **values: Any) -> None:
        """A row, with something in every column that is not given."""
        row = {column.name: _anything(column.type) for column in table.__table__.columns} | values
        with self.engine.begin() as connection:
            connection.execute(insert(table), row)


def _anything(of: Any) -> Any:
    if isinstance(of, UtcDateTime):
        return AT
    if isinstance(of, JSON):
        return {"b": 0.1, "a": [None, "ä\u2028"]}
    return {bool: True, int: 7, float: 0.1}.get(of.python_type, "x")


@pytest.fixture(scope="module")
def endpoint() -> str:
    """A real S3 server."""
    if not TOOL.exists():
        pytest.skip(f"no S3 server to start: {TOOL} is missing")
    return shared_s3()


class Places:
    """Empty ones of a kind, as many as a test wants."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self._folder, self._made = request, folder, 0
        self.kind = request.param

    def __call__(self) -> Place:
        self._made += 1
        if self.kind == "sqlite":
            url = f"sqlite:///{self._folder}/{self._made}.db"
            settings = Settings(store_url=f"file://{self._folder}/store-{self._made}")
        else:
            url = self._url()
            bucket = f"b{abs(hash(self._folder))}-{self._made}"
            endpoint = self._request.getfixturevalue("endpoint")
            settings = Settings(store_url=f"s3://{bucket}/v1", s3_endpoint_url=endpoint)
        return Place(self._engine(url), open_store(settings))

    def _url(self) -> str:
        context = postgres_url()
        url = context.__enter__()
        self._request.addfinalizer(lambda: context.__exit__(None, None, None))
        return url

    def _engine(self, url: str) -> Engine:
        engine = connect(url)
        self._request.addfinalizer(engine.dispose)
        return engine


@pytest.fixture(params=["sqlite", "postgres"])
def places(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return Places(request, tmp_path)


@pytest.fixture
def full(places: Places) -> Place:
    """A place with a row in every table, and objects of a result, an upload, weights and of a job at work."""
    place = places()
    migrate(place.engine)
    stored = {
        name: place.store.put_bytes(name, name.encode()).model_dump()
        for name in (f"jobs/{DONE}/1/a", f"jobs/{BEGUN}/1/state-5", "uploads/u", "weights/w", f"jobs/{DONE}/1/old")
    }
    job = {"shared": False, "handover": None}
    place.add(Job, id=DONE, state="succeeded", result={"deep": [stored[f"jobs/{DONE}/1/a"]]}, **job)
    place.add(Job, id=BEGUN, state="running", attempt=1, result=None, **job)
    place.add(Job, id=WAITING, state="waiting", attempt=0, result=None, **job)
    given: dict[str, dict[str, Any]] = {
        "needs": {"job_id": WAITING, "need_id": BEGUN},
        "experiments": {"id": "e"},
        "experiment_jobs": {"experiment_id": "e", "job_id": DONE},
        "comparisons": {"id": DONE},
        "datasets": {"job_id": DONE},
        "weights": {"object": stored["weights/w"]},
        "uploads": {"object": stored["uploads/u"], "key": "uploads/u"},
        "events": {"id": 41},
        "points": {"job_id": DONE, "value": None},
        "log_lines": {"job_id": DONE},
        "api_keys": {"id": "k"},
        "web_sessions": {"key_id": "k"},
        "removals": {"id": "r", "finished_at": None, "places": []},
        "removed_objects": {"removal_id": "r"},
    }
    for mapper in sorted(
        Table.registry.mappers, key=lambda each: [*Table.metadata.sorted_tables].index(each.local_table)
    ):
        if mapper.class_ is not Job:
            place.add(mapper.class_, **given.get(mapper.local_table.name, {}))
    return place


KEPT = [f"jobs/{BEGUN}/1/state-5", f"jobs/{DONE}/1/a", "uploads/u", "weights/w"]


def test_every_row_and_every_object_that_one_points_at_come_back(full: Place, places: Places, tmp_path: Path):
    written = Backup(tmp_path / "backup").write(full.engine, full.store)
    assert (written.objects, written.lost) == (4, [])
    assert {each.name: each.rows for each in written.tables} == {name: len(rows) for name, rows in full.rows().items()}
    assert all(each.rows for each in written.tables)
    other = places()
    Backup(tmp_path / "backup").restore(other.engine, other.store)
    assert other.rows() == full.rows()
    assert sorted(other.objects()) == KEPT
    assert other.objects().items() <= full.objects().items()
    again = Backup(tmp_path / "again").write(other.engine, other.store)
    assert (again.objects, again.size_bytes) == (written.objects, written.size_bytes)


def test_events_are_counted_on_from_far_above(full: Place, places: Places, tmp_path: Path):
    """A client that saw event 1000, of which the restored database knows nothing, hears what comes next."""
    Backup(tmp_path / "backup").write(full.engine, full.store)
    other = places()
    Backup(tmp_path / "backup").restore(other.engine, other.store)
    with Session(other.engine) as session, session.begin():
        event = Event(kind="k", data={})
        session.add(event)
        session.flush()
        assert event.id == 41 + dump.ID_JUMP + 1


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_what_sqlite_wrote_postgres_takes(full: Place, tmp_path: Path):
    Backup(tmp_path / "backup").write(full.engine, full.store)
    with postgres_url() as url:
        other = Place(connect(url), FolderStore(tmp_path / "other"))
        Backup(tmp_path / "backup").restore(other.engine, other.store)
        assert other.rows() == full.rows()
        other.engine.dispose()


def test_a_second_backup_copies_only_what_is_new_and_forgets_what_is_gone(full: Place, tmp_path: Path):
    folder = tmp_path / "backup"
    first = Backup(folder).write(full.engine, full.store)
    before = {key: (folder / "objects" / key).stat().st_mtime_ns for key in KEPT}
    with full.engine.begin() as connection:
        connection.execute(delete(Weights))
    new = full.store.put_bytes("weights/new", b"new")
    full.add(Weights, name="new", object=new.model_dump())
    (folder / "objects" / "uploads" / "u").write_bytes(b"rot")
    second = Backup(folder).write(full.engine, full.store)
    assert (second.objects, second.lost, second.folder != first.folder) == (4, [], True)
    after = {key: (folder / "objects" / key).stat().st_mtime_ns for key in KEPT[:2]}
    assert after == {key: before[key] for key in KEPT[:2]}
    assert not (folder / "objects" / "weights" / "w").exists()
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST, "objects", second.folder]
    assert Backup(folder).check() == second
    assert folder.stat().st_mode & 0o077 == 0


class Meddled:
    """A store in which something happens before an object is read."""

    def __init__(self, store: Store, happens: Any) -> None:
        self._store, self._happens = store, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def open_stream(self, key: str) -> Iterator[bytes]:
        self._happens(key)
        return self._store.open_stream(key)


def test_what_is_deleted_meanwhile_is_in_no_backup_and_spoils_none(full: Place, places: Places, tmp_path: Path):
    """Both kinds: an object that a row named, and all of a job that was at work; the deletion is not even finished."""
    gone: list[str] = []

    def happens(key: str) -> None:
        if key != f"jobs/{BEGUN}/1/state-5" or gone:
            return
        gone.append(key)
        with Session(full.engine) as session, session.begin():
            session.execute(text("DELETE FROM needs"))
            session.execute(delete(Weights))
            session.execute(delete(Job).where(Job.id == BEGUN))
            removals.mark(session, "experiment", "e", [f"jobs/{BEGUN}/", "weights/w"], project=LOCAL)
        full.store.delete(key)
        full.store.delete("weights/w")

    written = Backup(tmp_path / "backup").write(full.engine, Meddled(full.store, happens))
    assert (written.objects, written.lost) == (2, [])
    other = places()
    Backup(tmp_path / "backup").restore(other.engine, other.store)
    assert other.rows() == full.rows()


def test_a_job_that_goes_on_may_replace_its_bundles_and_end(full: Place, tmp_path: Path):
    def happens(key: str) -> None:
        full.store.delete(f"jobs/{BEGUN}/1/state-5")
        with full.engine.begin() as connection:
            connection.execute(update(Job).where(Job.id == BEGUN).values(state="succeeded", result={}))

    written = Backup(tmp_path / "backup").write(full.engine, Meddled(full.store, happens))
    assert (written.objects, written.lost) == (3, [])


def test_what_a_row_names_and_the_store_has_lost_is_told_and_the_rest_is_backed_up(
    full: Place, places: Places, tmp_path: Path
):
    full.store.delete("weights/w")
    full.store.delete("uploads/u")
    full.store.put_bytes("uploads/u", b"rot")
    written = Backup(tmp_path / "backup").write(full.engine, full.store)
    assert (written.objects, written.lost) == (2, ["uploads/u", "weights/w"])
    other = places()
    assert Backup(tmp_path / "backup").restore(other.engine, other.store).lost == written.lost
    assert other.rows() == full.rows()


def test_deletions_without_an_end_are_unavailable_and_leave_the_earlier_backup(full: Place, tmp_path: Path):
    first = Backup(tmp_path / "backup").write(full.engine, full.store)
    names = iter(range(100))

    def happens(key: str) -> None:
        if key.startswith("weights/"):
            with full.engine.begin() as connection:
                connection.execute(delete(Weights))
            full.store.delete(key)
            name = f"weights/{next(names)}"
            full.add(Weights, object=full.store.put_bytes(name, b"new").model_dump())

    full.add(Weights, name="new", object=full.store.put_bytes("weights/new", b"new").model_dump())
    with pytest.raises(Unavailable, match=f"in {MOST_ROUNDS} rounds something was deleted"):
        Backup(tmp_path / "backup").write(full.engine, Meddled(full.store, happens))
    assert Backup(tmp_path / "backup").check() == first


@pytest.fixture
def written(full: Place, tmp_path: Path) -> Path:
    """The folder of a backup."""
    Backup(tmp_path / "backup").write(full.engine, full.store)
    return tmp_path / "backup"


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", [f"objects/jobs/{DONE}/1/a", "rows-*/jobs.jsonl.gz", "rows-*/objects.jsonl"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_backup_is_refused_and_the_file_named(written: Path, places: Places, name: str, damage: str):
    (file,) = written.glob(name)
    held = bytearray(file.read_bytes())
    held[len(held) // 2] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(held if damage == "flip" else held[:-1])
    other = places()
    with pytest.raises(ObjectCorrupt, match=f"damaged:\n  {file}"):
        Backup(written).restore(other.engine, other.store)
    assert other.objects() == {}
    migrate(other.engine)
    assert not any(other.rows().values())


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_twenty_damaged_files_are_named_and_the_others_counted(
    written: Path, monkeypatch: pytest.MonkeyPatch, places: Places
):
    monkeypatch.setattr(backup, "NAMED", 2)
    for path in (written / "objects").rglob("*"):
        if path.is_file():
            path.write_bytes(b"rot")
    with pytest.raises(ObjectCorrupt, match="and 2 more"):
        Backup(written).check()


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_what_is_no_backup_or_of_another_version_is_refused(written: Path, tmp_path: Path, places: Places):
    with pytest.raises(Conflict, match=r"expected a finished backup in .*nothing, got no manifest\.json"):
        Backup(tmp_path / "nothing").check()
    manifest = json.loads((written / MANIFEST).read_text())
    (written / MANIFEST).write_text(json.dumps(manifest | {"revision": "9999"}))
    with pytest.raises(Conflict, match=r"expected a revision up to \d+, got 9999: it is of a newer Transfusion"):
        Backup(written).check()
    (written / MANIFEST).write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ObjectCorrupt, match="is no manifest of a backup that this version reads"):
        Backup(written).check()
    (written / MANIFEST).write_text(json.dumps(manifest))
    tables = [each | {"rows": each["rows"] + 1} for each in manifest["tables"]]
    (written / MANIFEST).write_text(json.dumps(manifest | {"tables": tables}))
    other = places()
    with pytest.raises(ObjectCorrupt, match=r"expected \d+ rows, got \d+"):
        Backup(written).restore(other.engine, other.store)


def test_only_an_empty_database_and_an_empty_store_are_filled(full: Place, places: Places, written: Path):
    with pytest.raises(Conflict, match="expected an empty database, got rows in its table"):
        Backup(written).restore(full.engine, places().store)
    used, fresh = places(), places()
    used.store.put_bytes("weights/theirs", b"theirs")
    with pytest.raises(Conflict, match="expected an empty store, got one with 'weights/theirs'"):
        Backup(written).restore(fresh.engine, used.store)
    clash = places()
    clash.store.put_bytes("weights/w", b"theirs")
    with pytest.raises(StoreError, match="exists with other bytes"):
        Backup(written).restore(fresh.engine, clash.store)
    migrate(fresh.engine)
    assert not any(fresh.rows().values())


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_a_restore_that_was_interrupted_goes_on(full: Place, places: Places, written: Path):
    other = places()
    other.store.put_bytes("weights/w", b"weights/w")
    Backup(written).restore(other.engine, other.store)
    assert sorted(other.objects()) == KEPT


SINCE_0007 = {
    "uploads": ("part_bytes", "token"),
    "jobs": ("share", "owner", "origin", "busy_seconds", "stored_bytes", "gpus"),
    "api_keys": ("quota_running_jobs", "quota_gpu_hours", "quota_stored_bytes"),
}
"""Columns that came later."""


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_an_older_backup_is_brought_to_this_version(full: Place, places: Places, tmp_path: Path, written: Path):
    """As one of revision 0007 would be: uploads had no parts then, and nobody a share, a quota or an account."""
    manifest = json.loads((written / MANIFEST).read_text())
    manifest["tables"] = [each for each in manifest["tables"] if each["name"] != "workers"]
    digests = {each["name"]: each for each in manifest["files"]}
    for each in manifest["tables"]:
        later = SINCE_0007.get(each["name"], ())
        kept = [place for place, name in enumerate(each["columns"]) if name not in later]
        each["columns"] = {name: kind for name, kind in each["columns"].items() if name not in later}
        (file,) = written.glob(f"rows-*/{each['name']}.jsonl.gz")
        rows = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
        file.write_bytes(gzip.compress("".join(f"{json.dumps([row[n] for n in kept])}\n" for row in rows).encode()))
        digests[file.name]["sha256"] = backup.digest_of(file)
    (written / MANIFEST).write_text(json.dumps(manifest | {"revision": "0007"}))
    other = places()
    migrate(other.engine)  # tables of this version, without rows, are in nobody's way
    Backup(written).restore(other.engine, other.store)
    assert other.rows(SINCE_0007) == full.rows(SINCE_0007) | {"workers": []}


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_a_database_of_another_version_is_not_backed_up(places: Places, tmp_path: Path):
    with pytest.raises(Conflict, match=r"expected tables of revision \d+, got None: run 'transfusion migrate'"):
        Backup(tmp_path / "backup").write(places().engine, places().store)


@pytest.mark.parametrize("places", ["sqlite"], indirect=True)
def test_a_folder_of_somebody_else_or_in_use_is_left_alone(full: Place, tmp_path: Path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    handle = os.open(folder, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(Conflict, match="another backup is being written"):
        Backup(folder).write(full.engine, full.store)
    os.close(handle)
    (folder / "thesis.doc").write_text("theirs")
    with pytest.raises(Conflict, match=r"expected an empty folder or an earlier backup in .*, got 'thesis\.doc'"):
        Backup(folder).write(full.engine, full.store)
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"the backup's folder .*/file fails: File exists"):
        Backup(tmp_path / "file").write(full.engine, full.store)
