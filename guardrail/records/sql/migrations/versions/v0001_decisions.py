"""The table of decisions, with the fields of records of version 1."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TABLE = "guardrail_decisions"
INDEXES = {"tenant": "tenant", "conversation": "conversation_id", "stream": "stream_id"}


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        TABLE,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True),
        *_needed(sa.Integer(), "schema_version"),
        sa.Column("id", sa.Text(), nullable=False, unique=True),
        *_needed(sa.DateTime(timezone=True), "time"),
        *_needed(sa.Text(), "stream_id", "direction", "action", "would_action", "reason", "model", "model_sha256"),
        *_needed(sa.Text(), "engine", "precision", "policy", "policy_sha256"),
        *_needed(sa.BigInteger(), "released_chars", "withheld_chars", "leaked_chars", "unjudged_chars", "n_tokens"),
        *_needed(sa.BigInteger(), "n_windows", "n_dropped_turns", "n_deltas", "n_repairs", "n_repair_tokens"),
        *_needed(sa.Double(), "latency_ms"),
        *_needed(sa.JSON(), "unreadable"),
        *_optional(sa.Text(), "conversation_id", "risk", "category", "tool", "tenant", "text"),
        *_optional(sa.JSON(), "risk_probabilities", "category_probabilities", "failure", "tokens"),
        *_optional(sa.Boolean(), "is_scored", "refusal"),
        *_optional(sa.BigInteger(), "stop_offset", "saved_tokens"),
    )
    op.create_index(f"{TABLE}_time", TABLE, ["time", "seq"])
    for name, column in INDEXES.items():
        op.create_index(f"{TABLE}_{name}", TABLE, [column], postgresql_using="hash")


def _needed(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False) for name in names]


def _optional(kind: Any, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind) for name in names]
