"""Tell SQLite that a state is that of many jobs: it took them all and sorted them for each claim.

Without statistics SQLite holds any index on an equal value for one that leaves ten rows. PostgreSQL keeps its own.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("ANALYZE")
        op.execute("DELETE FROM sqlite_stat1 WHERE idx = 'ix_jobs_state_kind'")
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('jobs', 'ix_jobs_state_kind', '100000 20000 5000')"
        )
        op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DELETE FROM sqlite_stat1 WHERE idx = 'ix_jobs_state_kind'")
