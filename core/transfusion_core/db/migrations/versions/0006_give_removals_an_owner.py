"""Give removals an owner."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

FIRST = "default"
"""The project that accounts of before belong to: that of those who run the service."""


def upgrade() -> None:
    op.add_column("removals", sa.Column("project", sa.String(length=128), nullable=False, server_default=FIRST))
    if op.get_bind().dialect.name == "postgresql":  # as in 0003
        op.alter_column("removals", "project", server_default=None)


def downgrade() -> None:
    op.drop_column("removals", "project")
