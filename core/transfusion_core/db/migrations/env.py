"""Alembic's entry: runs the migrations on the connection that the caller holds."""

from alembic import context

from transfusion_core.db.tables import Table

context.configure(connection=context.config.attributes["connection"], target_metadata=Table.metadata)
with context.begin_transaction():
    context.run_migrations()
