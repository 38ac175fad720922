"""Alembic's entry for history.db: runs the steps on the connection that `aggregator.db.migrate` passes."""

from alembic import context

from aggregator.db.schema import HISTORY

context.configure(connection=context.config.attributes["connection"], target_metadata=HISTORY)
context.run_migrations()
