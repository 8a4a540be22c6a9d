"""Keep account of what is taken out of the store."""

import sqlalchemy as sa
from alembic import op

from transfusion_core.db.clock import UtcDateTime

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "removals",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("places", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removals")),
    )
    op.create_index(op.f("ix_removals_name"), "removals", ["name"], unique=False)
    op.create_table(
        "removed_objects",
        sa.Column("removal_id", sa.String(length=26), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["removal_id"], ["removals.id"], name=op.f("fk_removed_objects_removal_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("removal_id", "key", name=op.f("pk_removed_objects")),
    )
    op.create_index(op.f("ix_removed_objects_key"), "removed_objects", ["key"], unique=False)
    op.create_table(
        "chores",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chores")),
    )


def downgrade() -> None:
    op.drop_table("chores")
    op.drop_index(op.f("ix_removed_objects_key"), table_name="removed_objects")
    op.drop_table("removed_objects")
    op.drop_index(op.f("ix_removals_name"), table_name="removals")
    op.drop_table("removals")
