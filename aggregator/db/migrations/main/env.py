"""Alembic's entry for main.db: runs the steps on the connection that `aggregator.db.migrate` passes."""

from alembic import context

from aggregator.db.schema import MAIN

context.configure(connection=context.config.attributes["connection"], target_metadata=MAIN)
context.run_migrations()
