"""Run by Alembic: takes the connection, and the transaction on it, from whoever asked for the migration."""

from alembic import context

from guardrail.records.sql.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
