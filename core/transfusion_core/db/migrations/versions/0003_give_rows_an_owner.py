"""Give every row an owner, browsers a session, deeds a record and the service a secret."""

import sqlalchemy as sa
from alembic import op

from transfusion_core.db.clock import UtcDateTime

revision = "0003"
down_revision = "0002"

FIRST = "default"
"""The project that rows of before belong to."""
KEYED = {"comparisons": ["id"], "weights": ["name"], "idempotent_answers": ["key", "route"]}
"""Tables in whose primary key the project is, and the rest of that key."""
OWNED = ("experiments", "datasets", "uploads", "api_keys")


def upgrade() -> None:
    for table in (*OWNED, *KEYED):
        op.add_column(table, sa.Column("project", sa.String(length=128), nullable=False, server_default=FIRST))
    for table, rest in KEYED.items():
        _set_key(table, ["project", *rest])
    if op.get_bind().dialect.name == "postgresql":
        # SQLite would have to make the tables anew, and so lose the rows that point at theirs: there the default stays.
        for table in (*OWNED, *KEYED):
            op.alter_column(table, "project", server_default=None)
    _set_dataset_names(["project", "name", "version"], instead_of=["name", "version"])
    op.create_index("ix_experiments_project_id", "experiments", ["project", "id"])
    op.create_index("ix_comparisons_id", "comparisons", ["id"])
    _web_sessions()
    _audit_events()
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )


def _set_key(table: str, columns: list[str]) -> None:
    with op.batch_alter_table(table) as batch:
        batch.drop_constraint(f"pk_{table}", type_="primary")
        batch.create_primary_key(f"pk_{table}", columns)


def _set_dataset_names(columns: list[str], *, instead_of: list[str]) -> None:
    with op.batch_alter_table("datasets") as batch:
        batch.drop_constraint(f"uq_datasets_{'_'.join(instead_of)}", type_="unique")
        batch.create_unique_constraint(f"uq_datasets_{'_'.join(columns)}", columns)


def _web_sessions() -> None:
    op.create_table(
        "web_sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=26), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_web_sessions_key_id"),
        sa.PrimaryKeyConstraint("digest", name="pk_web_sessions"),
    )


def _audit_events() -> None:
    op.create_table(
        "audit_events",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.String(length=26), nullable=False),
        sa.Column("project", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for deed in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_events_no_{deed.lower()} BEFORE {deed} ON audit_events "
                "BEGIN SELECT RAISE(ABORT, 'audit events are only ever added'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_events_stay() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit events are only ever added'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_events_stay BEFORE UPDATE OR DELETE ON audit_events "
        "FOR EACH ROW EXECUTE FUNCTION audit_events_stay()"
    )


def downgrade() -> None:
    """Rows of other projects than the first go: their names could be there twice."""
    for table in ("web_sessions", "secrets", "audit_events"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_events_stay")
    op.drop_index("ix_experiments_project_id", "experiments")
    op.drop_index("ix_comparisons_id", "comparisons")
    for table in ("datasets", *KEYED):
        op.execute(sa.text(f"DELETE FROM {table} WHERE project <> :first").bindparams(first=FIRST))
    _set_dataset_names(["name", "version"], instead_of=["project", "name", "version"])
    for table, rest in KEYED.items():
        _set_key(table, rest)
    for table in (*OWNED, *KEYED):
        op.drop_column(table, "project")
