"""Alembic runs this for a migration; the connection comes from whoever asked for it."""

from alembic import context

from shared.stores.sql_migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
