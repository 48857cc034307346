"""The table of decisions as this version writes it: one column a field of `Record`.

A change here needs a migration beside it (`migrations/versions`); a test compares both, and with the fields.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

METADATA = MetaData()

VERSION_TABLE = "guardrail_alembic_version"
"""Alembic's own name may be taken: the database may be another program's too."""

JSON_TEXT = JSON(none_as_null=True)
"""JSON as it was written: PostgreSQL's `json` keeps the order of keys, `jsonb` does not."""


class UtcTime(TypeDecorator[datetime]):
    """A moment: `timestamp with time zone` in PostgreSQL, UTC without saying so in SQLite, which has no zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _needed(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


DECISIONS = Table(
    "guardrail_decisions",
    METADATA,
    # in the order of insertion: what came first of two records of the same moment
    Column("seq", BigInteger().with_variant(Integer(), "sqlite"), primary_key=True),
    _needed("schema_version", Integer),
    Column("id", Text, nullable=False, unique=True),
    _needed("stream_id", Text),
    Column("conversation_id", Text),
    _needed("time", UtcTime),
    _needed("direction", Text),
    _needed("action", Text),
    _needed("would_action", Text),
    _needed("reason", Text),
    Column("risk", Text),
    Column("category", Text),
    Column("risk_probabilities", JSON_TEXT),
    Column("category_probabilities", JSON_TEXT),
    Column("is_scored", Boolean),
    Column("refusal", Boolean),
    Column("stop_offset", BigInteger),
    _needed("released_chars", BigInteger),
    _needed("withheld_chars", BigInteger),
    _needed("leaked_chars", BigInteger),
    _needed("unjudged_chars", BigInteger),
    _needed("n_tokens", BigInteger),
    _needed("n_windows", BigInteger),
    _needed("n_dropped_turns", BigInteger),
    _needed("unreadable", JSON_TEXT),
    _needed("model", Text),
    _needed("model_sha256", Text),
    _needed("engine", Text),
    _needed("precision", Text),
    _needed("policy", Text),
    _needed("policy_sha256", Text),
    _needed("latency_ms", Double),
    Column("failure", JSON_TEXT),
    Column("tool", Text),
    _needed("n_deltas", BigInteger),
    Column("saved_tokens", BigInteger),
    _needed("n_repairs", BigInteger),
    _needed("n_repair_tokens", BigInteger),
    Column("tenant", Text),
    Column("tokens", JSON_TEXT),
    Column("text", Text),
    Column("positions", LargeBinary),
    Column("text_form", Text),
    Column("text_hmac", Text),
    Index("guardrail_decisions_time", "time", "seq"),
    # by hash in PostgreSQL, whose ordered indexes refuse rows with long ids
    Index("guardrail_decisions_tenant", "tenant", postgresql_using="hash"),
    Index("guardrail_decisions_conversation", "conversation_id", postgresql_using="hash"),
    Index("guardrail_decisions_stream", "stream_id", postgresql_using="hash"),
)
