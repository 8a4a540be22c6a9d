"""Share out the fleet: places in the queue, quotas of keys, and what each worker has."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

from transfusion_core.db.clock import UtcDateTime

revision = "0009"
down_revision = "0008"

JOBS: dict[str, tuple[TypeEngine[Any], str | None]] = {
    "share": (sa.Double(), "0"),
    "busy_seconds": (sa.Double(), "0"),
    "stored_bytes": (sa.BigInteger(), "0"),
    "owner": (sa.String(length=26), None),
    "origin": (sa.JSON(none_as_null=True), None),
}
KEYS: dict[str, TypeEngine[Any]] = {
    "quota_running_jobs": sa.Integer(),
    "quota_gpu_hours": sa.Double(),
    "quota_stored_bytes": sa.BigInteger(),
}
QUEUED = sa.text("state = 'queued'")


def upgrade() -> None:
    for name, (kind, default) in JOBS.items():
        op.add_column("jobs", sa.Column(name, kind, nullable=default is None, server_default=default))
    for name, kind in KEYS.items():
        op.add_column("api_keys", sa.Column(name, kind, nullable=True))
    _index_queued("turn", "share", "created_at", "id")
    op.create_index("ix_jobs_owner_state", "jobs", ["owner", "state"])
    op.create_table(
        "workers",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("found", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_workers"),
    )


def _index_queued(*columns: str) -> None:
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index("ix_jobs_queued", "jobs", list(columns), sqlite_where=QUEUED, postgresql_where=QUEUED)


def downgrade() -> None:
    op.drop_table("workers")
    op.drop_index("ix_jobs_owner_state", "jobs")
    _index_queued("turn", "created_at", "id")
    for name in KEYS:
        op.drop_column("api_keys", name)
    for name in JOBS:
        op.drop_column("jobs", name)
