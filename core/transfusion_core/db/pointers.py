"""Which objects of the store the database speaks for; all others may go.

A job that has not succeeded speaks for everything below its own place: its next attempt may start from a bundle, and a
bundle names checkpoints that no row does. One that has succeeded speaks for what its result names; one that did a part
of another job, only until that one has succeeded too.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from sqlalchemy import ColumnElement, Engine, and_, exists, literal, not_, select, text
from sqlalchemy.orm import Session, aliased

from transfusion_core.db import removals
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.moves import ENDED
from transfusion_core.db.scope import LOCAL
from transfusion_core.db.tables import Job, Need, Upload, Weights
from transfusion_core.db.transitions import batches
from transfusion_core.specs.dataset import UPLOAD
from transfusion_core.specs.job import PARTS
from transfusion_core.specs.removal import object_digests, object_keys

NOUNS = ("jobs", "uploads", "weights")
"""Where objects lie, by the first name of their keys. What lies elsewhere is not ours to judge."""
_ROWS_AT_A_TIME = 1000


def unpointed(engine: Engine, keys: Sequence[str]) -> list[str]:
    """Those of these keys that no row speaks for."""
    with unit_of_work(engine, write=False) as session:
        return _unpointed(session, keys)


def pointed(session: Session) -> Iterator[tuple[str, str]]:
    """Key and sha256 of every object that a row names, some more than once."""
    succeeded = select(Job.result).where(Job.state == "succeeded", ~is_spent())
    for query in (succeeded, select(Upload.object), select(Weights.object)):
        for named in session.scalars(query, execution_options={"yield_per": _ROWS_AT_A_TIME}):
            yield from object_digests(named)


def is_spent() -> ColumnElement[bool]:
    """Whether a job did a part of others, none of which is still to succeed: what it left is for nobody."""
    whole = aliased(Job)
    still = exists(
        select(literal(1))
        .where(Need.need_id == Job.id, whole.id == Need.job_id, whole.state != "succeeded")
        .correlate(Job)
    )
    return and_(Job.kind.in_(PARTS), Job.state == "succeeded", ~still)


def begun(session: Session) -> set[str]:
    """Ids of jobs that have begun and not succeeded: which objects they have, the store alone knows."""
    return set(session.scalars(select(Job.id).where(Job.state != "succeeded", Job.attempt > 0)))


def deleted(engine: Engine, keys: Collection[str], *, begun: Collection[str]) -> list[str]:
    """Which of these keys have gone with their rows: no row names them any more.

    Jobs that had `begun` replace objects as they go on: of theirs those count whose job is gone.
    """
    by_job = {key: key.split("/")[1] for key in keys if key.startswith("jobs/") and key.split("/")[1] in begun}
    named = [key for key in keys if key not in by_job]
    with unit_of_work(engine, write=False) as session:
        there: set[str] = set()
        for batch in batches(set(by_job.values())):
            there.update(session.scalars(select(Job.id).where(Job.id.in_(batch))))
        gone = [key for key, job_id in by_job.items() if job_id not in there]
        return sorted([*gone, *(set(named) - _spoken_for(session, named))])


def mark_unpointed(engine: Engine, objects: Sequence[tuple[str, int]]) -> str | None:
    """Mark those of these objects (key, bytes) that no row speaks for; the removal, None where all are spoken for."""

    def work(session: Session) -> str | None:
        if session.get_bind().dialect.name == "postgresql":
            # A file of weights may be named again at any moment: who names one now waits, and then sees the mark.
            session.execute(text("LOCK TABLE weights IN SHARE ROW EXCLUSIVE MODE"))
        found = _unpointed(session, [key for key, _ in objects])
        if not found:
            return None
        removal_id = removals.mark(session, "unpointed", f"{len(found)} objects", found, project=LOCAL)
        sizes = dict(objects)
        removals.add_objects(session, removal_id, [(key, sizes[key]) for key in found])
        return removal_id

    return transact(engine, work)


def expired_uploads(engine: Engine, *, seconds: float) -> list[str]:
    """Ids of uploads of that age which no dataset is made from, nor was for so long."""
    with unit_of_work(engine, write=False) as session:
        return _expired(session, seconds)


def expire_uploads(engine: Engine, *, seconds: float) -> list[str]:
    """Forget those uploads, and mark their objects; the removals."""

    def work(session: Session) -> list[str]:
        marked = []
        for batch in batches(_expired(session, seconds)):
            rows = select(Upload).where(Upload.id.in_(batch)).order_by(Upload.id).with_for_update(skip_locked=True)
            held = session.scalars(rows).all()
            still = set(_expired(session, seconds))  # a dataset may have come in between
            for row in held:
                if row.id in still:
                    session.delete(row)
                    marked.append(removals.mark(session, "upload", row.id, [row.key], project=row.project))
        return marked

    return transact(engine, work)


def _expired(session: Session, seconds: float) -> list[str]:
    old = session.scalars(select(Upload.id).where(Upload.created_at <= clock(-seconds)).order_by(Upload.id)).all()
    if not old:
        return []
    # What was read is in the pack, without names and tags that files bring along: those do not outlive it for long.
    read = and_(Job.state.in_(ENDED), Job.finished_at <= clock(-seconds))
    locations = session.scalars(select(Job.spec["location"].as_string()).where(Job.kind == "ingest", not_(read)))
    used = {location.removeprefix(UPLOAD) for location in locations if location}
    return [upload_id for upload_id in old if upload_id not in used]


def _unpointed(session: Session, keys: Sequence[str]) -> list[str]:
    ours = []
    going = removals.places_under_way(session)
    for key in keys:
        noun, slash, rest = key.partition("/")
        # What a deletion takes stands in its own account.
        if slash and noun in NOUNS and going.isdisjoint((key, f"{noun}/{rest.partition('/')[0]}/")):
            ours.append(key)
    return sorted(set(ours) - _spoken_for(session, ours))


def _spoken_for(session: Session, keys: Sequence[str]) -> set[str]:
    by_noun = {noun: [key for key in keys if key.startswith(f"{noun}/")] for noun in NOUNS}
    return {
        *_of_jobs(session, by_noun["jobs"]),
        *_of_uploads(session, by_noun["uploads"]),
        *_of_weights(session, by_noun["weights"]),
    }


def _of_jobs(session: Session, keys: Sequence[str]) -> Iterable[str]:
    below: dict[str, list[str]] = {}
    for key in keys:
        below.setdefault(key.split("/")[1], []).append(key)
    for batch in batches(sorted(below)):
        query = select(Job.id, Job.state, Job.result).where(Job.id.in_(batch), ~is_spent())
        for job_id, state, result in session.execute(query):
            yield from object_keys(result) if state == "succeeded" else below[job_id]


def _of_uploads(session: Session, keys: Sequence[str]) -> Iterable[str]:
    for batch in batches(keys):
        yield from session.scalars(select(Upload.key).where(Upload.key.in_(batch)))


def _of_weights(session: Session, keys: Sequence[str]) -> Iterable[str]:
    for batch in batches(keys):
        yield from session.scalars(
            select(Weights.object["key"].as_string()).where(Weights.object["key"].as_string().in_(batch))
        )
