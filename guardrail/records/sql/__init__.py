"""Records in a database, SQLite or PostgreSQL; needs the extra `sql`."""

from guardrail.errors import MissingExtra

try:
    import alembic as _alembic  # noqa: F401  # asked for here, once, for every module of this package
    import sqlalchemy as _sqlalchemy  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra(error.name or "sqlalchemy", "sql") from error

from guardrail.records.sql.deleting import count_rows, delete_rows, files_of
from guardrail.records.sql.reading import read_rows
from guardrail.records.sql.store import SqlStore

__all__ = ["SqlStore", "count_rows", "delete_rows", "files_of", "read_rows"]
