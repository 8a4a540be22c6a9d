"""Say what weights expect of their images."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("weights", sa.Column("input", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    op.drop_column("weights", "input")
