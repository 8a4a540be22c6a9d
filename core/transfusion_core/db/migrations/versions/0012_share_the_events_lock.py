"""Have PostgreSQL itself take the events lock where events are written, which saves who writes them a question."""

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        # Before the statement, so before its first id is given. 7233802 is engine.EVENTS_LOCK.
        op.execute(
            "CREATE FUNCTION share_events_lock() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock_shared(7233802); RETURN NULL; END $$"
        )
        op.execute(
            "CREATE TRIGGER events_share_their_lock BEFORE INSERT ON events "
            "FOR EACH STATEMENT EXECUTE FUNCTION share_events_lock()"
        )


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER events_share_their_lock ON events")
        op.execute("DROP FUNCTION share_events_lock()")
