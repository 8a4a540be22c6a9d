"""Count the GPUs that jobs need, and find those that began last."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

SEVERAL = {
    "postgresql": "CAST(spec #>> '{training,gpus}' AS INTEGER)",
    "sqlite": "json_extract(spec, '$.training.gpus')",
}
"""What the spec of a training says where it is more than 1."""
QUEUED = sa.text("state = 'queued'")
BEGUN = sa.text("started_at IS NOT NULL")


def upgrade() -> None:
    # The default stays: processes of the version before write rows without the column.
    op.add_column("jobs", sa.Column("gpus", sa.Integer(), nullable=False, server_default="1"))
    several = SEVERAL[op.get_bind().dialect.name]
    op.execute(f"UPDATE jobs SET gpus = {several} WHERE kind = 'train' AND {several} > 1")
    _index_queued("turn", "share", "created_at", "id", "gpus")
    op.create_index("ix_jobs_started_at", "jobs", ["started_at"], sqlite_where=BEGUN, postgresql_where=BEGUN)


def _index_queued(*columns: str) -> None:
    op.drop_index("ix_jobs_queued", "jobs")
    op.create_index("ix_jobs_queued", "jobs", list(columns), sqlite_where=QUEUED, postgresql_where=QUEUED)


def downgrade() -> None:
    op.drop_index("ix_jobs_started_at", "jobs")
    _index_queued("turn", "share", "created_at", "id")
    op.drop_column("jobs", "gpus")
