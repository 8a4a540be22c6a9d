"""The tables. Rows never leave this package: what others see are records made of them."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, MetaData, String, Text, UniqueConstraint, text
from sqlalchemy import Table as BareTable
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from transfusion_core.db.clock import UtcDateTime, clock

Document = JSON(none_as_null=True)
"""JSON and not JSONB: it keeps the order of keys and floats as they were written; nothing is indexed inside it."""
Serial = BigInteger().with_variant(Integer, "sqlite")


class Table(DeclarativeBase):
    """What all tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: Document, list[Any]: Document}


def bare(entity: type[Table]) -> BareTable:
    """The table itself, for rows that are written and not read again: that takes half the time of mapped ones."""
    return entity.metadata.tables[entity.__tablename__]


class Job(Table):
    """A unit of work."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("uq_jobs_shared_key", "key", unique=True, sqlite_where=text("shared"), postgresql_where=text("shared")),
        Index("ix_jobs_key", "key"),
        Index(
            "ix_jobs_queued",
            "turn",
            "share",
            "created_at",
            "id",
            "gpus",  # last: jobs that are too large for a worker are passed over without a look at their rows
            sqlite_where=text("state = 'queued'"),
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_started_at",
            "started_at",
            sqlite_where=text("started_at IS NOT NULL"),
            postgresql_where=text("started_at IS NOT NULL"),
        ),
        Index("ix_jobs_state_kind", "state", "kind"),
        Index("ix_jobs_kind_id", "kind", "id"),
        Index("ix_jobs_owner_state", "owner", "state"),
    )

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    key: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    queue: Mapped[str] = mapped_column(String(16))
    spec: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    """Words of the first experiment that asked for it."""
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[dict[str, Any] | None]
    turn: Mapped[int] = mapped_column(default=0)
    """Minus the priority: what is lower goes first, so that a plain index holds the order of claims."""
    share: Mapped[float] = mapped_column(default=0.0)
    """Its place among those of one turn, see sharing.py."""
    owner: Mapped[str | None] = mapped_column(String(26))
    """Id of the API key that first asked for it: on whose account it is, see quotas.py."""
    gpus: Mapped[int] = mapped_column(default=1)
    """That it needs of a worker that has any, see specs.job.JobDraft."""
    origin: Mapped[dict[str, Any] | None]
    """What asked for it first, see specs.job.Origin."""
    needs_success: Mapped[bool] = mapped_column(default=True)
    shared: Mapped[bool] = mapped_column(default=True)
    """The one job of its key that others are given."""
    attempt: Mapped[int] = mapped_column(default=0)
    """Raised by each claim: the fencing token."""
    crashes: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    """Since when a queued job can be claimed, or from when on; of one that was claimed, since when it could be."""
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    handover: Mapped[dict[str, Any] | None]
    """What the attempts so far leave for the next one, see specs.job.Handover."""
    busy_seconds: Mapped[float] = mapped_column(default=0.0)
    """Of all attempts that have ended, by the clock: however many GPUs they had."""
    stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of the objects that its result names."""
    created_at: Mapped[datetime] = mapped_column(default=clock())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def priority(self) -> int:
        """What was asked for: higher goes first."""
        return -self.turn


class Need(Table):
    """A job that must end before another starts."""

    __tablename__ = "needs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    need_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)


class Experiment(Table):
    """A spec and its place among others; its state is that of its jobs."""

    __tablename__ = "experiments"
    __table_args__ = (Index("ix_experiments_project_id", "project", "id"),)

    project: Mapped[str] = mapped_column(String(128))
    """Its owner, see scope.py; so in every table that has it."""
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), index=True)
    dataset: Mapped[str] = mapped_column(String(160), index=True)
    spec: Mapped[dict[str, Any]]
    digest: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(String(26))
    created_at: Mapped[datetime] = mapped_column(default=clock())
    cancelled_at: Mapped[datetime | None]


class ExperimentJob(Table):
    """A job that an experiment asks for, and what it calls it."""

    __tablename__ = "experiment_jobs"

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiments.id", ondelete="CASCADE"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    ordinal: Mapped[int]
    labels: Mapped[dict[str, Any]]


class Comparison(Table):
    """A comparison that a project asked for by itself; its id is its job's, which others may have asked for too."""

    __tablename__ = "comparisons"

    project: Mapped[str] = mapped_column(String(128), primary_key=True)
    id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True, index=True)
    a: Mapped[str] = mapped_column(String(160))
    b: Mapped[str] = mapped_column(String(160))
    created_at: Mapped[datetime] = mapped_column(default=clock())


class Dataset(Table):
    """A dataset version."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("project", "name", "version"),)

    project: Mapped[str] = mapped_column(String(128))
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[int]
    spec: Mapped[dict[str, Any]]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    result: Mapped[dict[str, Any] | None]
    """What the ingest found; stays while lost bytes are ingested again."""
    created_at: Mapped[datetime] = mapped_column(default=clock())


class Weights(Table):
    """A file of source weights."""

    __tablename__ = "weights"

    project: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    object: Mapped[dict[str, Any]]
    input: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=clock())


class Upload(Table):
    """A file on its way in."""

    __tablename__ = "uploads"

    project: Mapped[str] = mapped_column(String(128))
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    filename: Mapped[str] = mapped_column(String(255))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(512))
    part_bytes: Mapped[int] = mapped_column(BigInteger)
    """Of each part but the last."""
    token: Mapped[str | None] = mapped_column(Text)
    """What the store calls the parts, once some are to come."""
    state: Mapped[str] = mapped_column(String(16), default="open")
    object: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=clock())


class Event(Table):
    """Something that happened; never changed."""

    __tablename__ = "events"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    at: Mapped[datetime] = mapped_column(default=clock())
    experiment_id: Mapped[str | None] = mapped_column(String(26), index=True)
    job_id: Mapped[str | None] = mapped_column(String(26), index=True)
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]


class Point(Table):
    """One value of one curve."""

    __tablename__ = "points"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    split: Mapped[str] = mapped_column(String(16), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float | None]


class LogLine(Table):
    """One line that a job said."""

    __tablename__ = "log_lines"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: Mapped[int] = mapped_column(Serial, primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    attempt: Mapped[int]
    line: Mapped[str] = mapped_column(Text)


class ApiKey(Table):
    """An API key, hashed."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    project: Mapped[str] = mapped_column(String(128))
    """Whose rows it reaches."""
    role: Mapped[str] = mapped_column(String(16))
    secret_digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=clock())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    quota_running_jobs: Mapped[int | None]
    quota_gpu_hours: Mapped[float | None]
    quota_stored_bytes: Mapped[int | None] = mapped_column(BigInteger)


class IdempotentAnswer(Table):
    """What a request with an Idempotency-Key was answered."""

    __tablename__ = "idempotent_answers"

    project: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    route: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_digest: Mapped[str] = mapped_column(String(64))
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=clock())


class WebSession(Table):
    """A browser that has shown an API key; only a digest of what its cookie holds is kept."""

    __tablename__ = "web_sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    expires_at: Mapped[datetime]


class AuditEvent(Table):
    """Who did what, and when. Rows are only ever added: a trigger refuses every change."""

    __tablename__ = "audit_events"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    at: Mapped[datetime] = mapped_column(default=clock())
    actor: Mapped[str] = mapped_column(String(26))
    """Id of the API key; `local` in embedded mode."""
    project: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(128))
    request_id: Mapped[str | None] = mapped_column(String(64))


class Secret(Table):
    """Random bytes that the service made for itself, as hexadecimal."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))


class Removal(Table):
    """Objects that are to go from the store, or have gone: nothing points at them since this row is there."""

    __tablename__ = "removals"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    name: Mapped[str] = mapped_column(String(160), index=True)
    """Of what was deleted."""
    places: Mapped[list[Any]]
    """Keys, and prefixes that end with a slash."""
    project: Mapped[str] = mapped_column(String(128))
    """Whose it was; what no row named was nobody's, and stands with those who run the service."""
    created_at: Mapped[datetime] = mapped_column(default=clock())
    finished_at: Mapped[datetime | None]


class RemovedObject(Table):
    """An object of a removal; written before its bytes go."""

    __tablename__ = "removed_objects"

    removal_id: Mapped[str] = mapped_column(ForeignKey("removals.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(512), primary_key=True, index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Worker(Table):
    """A worker that looks for jobs, or did."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    found: Mapped[dict[str, Any]]
    """What it has, see specs.worker."""
    started_at: Mapped[datetime] = mapped_column(default=clock())
    seen_at: Mapped[datetime] = mapped_column(default=clock())


class Chore(Table):
    """Something that one worker does now and then for all."""

    __tablename__ = "chores"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    begun_at: Mapped[datetime] = mapped_column(default=clock())
