"""kill -9 in the middle of an ingest and of its pixels, and several who ask for the same: one pack, and it is right."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from packs import Shelf
from platforms import SOAK, job_children
from transfusion_core.db.engine import transact
from transfusion_core.db.placing import place
from transfusion_core.db.records import JobRow
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job
from transfusion_core.science.data.ingest import ingest
from transfusion_core.science.data.resizing import squared
from transfusion_core.specs.dataset import DatasetSpec, IngestResult, Pixels
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.store import open_store
from worker_bench import Bench, Start, is_running, until

pytestmark = pytest.mark.faults

SIZE, IMAGES = 12, 60
SQLITE = pytest.mark.parametrize("database", ["sqlite", "postgres"] if SOAK else ["sqlite"])
POSTGRES = pytest.mark.parametrize("database", ["sqlite", "postgres"] if SOAK else ["postgres"])
"""The long form has each test on both: of a database these tests ask the claim and the lease of any job, which
test_points.py, test_frozen.py and tests/core/db hold on both.
"""
PLACES = ("step", "uploaded")
"""Where a job is killed: among the images, and when the first piece lies in the store already."""
SPEC = DatasetSpec.model_validate({"name": "d", "kind": "folder", "location": "upload:zipped"}).resolved()


@pytest.fixture
def archive(bench: Bench, tmp_path: Path) -> Path:
    """An uploaded archive of two classes."""
    path, draw = tmp_path / "set.zip", np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as file:
        for number in range(IMAGES):
            stream = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(stream, "PNG")
            file.writestr(f"{number % 2}/{number}.png", stream.getvalue())
    open_store(bench.settings).put_file("uploads/zipped", path)
    return path


def _placed(bench: Bench, draft: JobDraft) -> str:
    placed: str = transact(bench.engine, lambda session: place(session, Scope(bench.engine), [draft])).ids[draft.key]
    return placed


def _check(bench: Bench, archive: Path, ended: list[JobRow]) -> None:
    """The results are those of an ingest that nobody disturbed."""
    found, pixels = IngestResult.model_validate(ended[0].result), Pixels.model_validate(ended[1].result)
    store, shelf = open_store(bench.settings), Shelf()
    expected = ingest(SPEC, source=archive, keep=shelf)
    assert found.digest == expected.digest
    pieces = b"".join(store.get_bytes(stored) for stored in found.pack)
    assert pieces == b"".join(shelf.kept[stored.key] for stored in expected.pack)
    shards = b"".join(store.get_bytes(shard.object) for shard in pixels.shards)
    assert shards == b"".join(_square(image) for image in shelf.pack(expected.pack))


def _square(file: object) -> bytes:
    assert isinstance(file, bytes)
    return squared(np.asarray(Image.open(io.BytesIO(file))), SIZE).tobytes()


@SQLITE
def test_jobs_that_are_killed_in_the_middle_begin_again(
    bench: Bench, start: Start, check, archive: Path, tmp_path: Path
) -> None:
    """Once at each place."""
    once = tmp_path / "once"
    once.mkdir()
    worker = start(environment={"FAULT": ",".join(f"{each}:kill9" for each in PLACES), "FAULT_ONCE": str(once)})
    draft, ended = ingest_draft(SPEC), []
    for each in (draft, pixels_draft(draft.key, SIZE)):
        ended.append(bench.ended(_placed(bench, each), seconds=240))
        for fallen in PLACES:
            (once / fallen).unlink()
    assert [(job.state, job.attempt, job.error) for job in ended] == [("succeeded", 3, None)] * 2
    _check(bench, archive, ended)
    check(worker.pid)


@POSTGRES
def test_a_worker_that_is_killed_with_its_ingest_in_hand_is_replaced_by_another(
    bench: Bench, start: Start, check, archive: Path, tmp_path: Path
) -> None:
    """The supervisor itself, when the first piece lies in the store: its child goes too, another does all of it."""
    once = tmp_path / "once"
    once.mkdir()
    draft = ingest_draft(SPEC)
    job = _placed(bench, draft)
    killed = start(environment={"FAULT": "uploaded:sleep:600", "FAULT_ONCE": str(once)}, lease_seconds=2.0)
    until((once / "uploaded").exists, seconds=120)
    children = job_children(killed.pid)
    killed.kill()
    worker = start()
    ended = [bench.ended(job, seconds=240)]
    ended.append(bench.ended(_placed(bench, pixels_draft(draft.key, SIZE)), seconds=240))
    assert [(job.state, job.attempt, job.error) for job in ended] == [("succeeded", 2, None), ("succeeded", 1, None)]
    _check(bench, archive, ended)
    check(worker.pid)
    assert not any(map(is_running, children))


@POSTGRES
def test_those_who_ask_for_the_same_get_one_pack(bench: Bench, start: Start, check, archive: Path) -> None:
    workers = [start() for _ in range(2)]
    draft = ingest_draft(SPEC)
    pixels = pixels_draft(draft.key, SIZE)
    for each in (draft, pixels):
        assert len({_placed(bench, each) for _ in range(3)}) == 1
    ended = [bench.ended(_placed(bench, each), seconds=240) for each in (draft, pixels)]
    with Session(bench.engine) as session:
        assert len(session.scalars(select(Job.id)).all()) == 2
    assert [(job.state, job.attempt) for job in ended] == [("succeeded", 1)] * 2
    _check(bench, archive, ended)
    check(*(worker.pid for worker in workers))
