"""Alembic's entry: runs on the connection that `schema.upgrade` has begun a transaction on, and leaves the commit to it."""

from alembic import context

from integrations.database.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transactional_ddl=True,  # SQLite can, and Alembic does not know
)
context.run_migrations()
