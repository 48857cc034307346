"""What records of version 2 hold besides: packed positions, what the text is of the judged text, and its keyed hash."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = "guardrail_decisions"


def upgrade() -> None:
    """Add the columns, empty in the rows that are there: those stay of version 1, and are read as such."""
    op.add_column(TABLE, sa.Column("positions", sa.LargeBinary()))
    op.add_column(TABLE, sa.Column("text_form", sa.Text()))
    op.add_column(TABLE, sa.Column("text_hmac", sa.Text()))
