"""What Alembic runs: migrations on the connection of :mod:`central.store.engine`, within its transaction."""

from alembic import context

from central.store.engine import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
