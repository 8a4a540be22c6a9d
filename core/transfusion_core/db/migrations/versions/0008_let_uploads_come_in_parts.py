"""Let uploads come in parts."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

PART_BYTES = 8 << 20
"""Of uploads that were announced before."""


def upgrade() -> None:
    op.add_column("uploads", sa.Column("part_bytes", sa.BigInteger(), nullable=False, server_default=str(PART_BYTES)))
    op.add_column("uploads", sa.Column("token", sa.Text(), nullable=True))
    if op.get_bind().dialect.name == "postgresql":  # as in 0003
        op.alter_column("uploads", "part_bytes", server_default=None)


def downgrade() -> None:
    op.drop_column("uploads", "token")
    op.drop_column("uploads", "part_bytes")
