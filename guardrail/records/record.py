"""The record: what is stored of a decision, with its published JSON Schema. No user text unless asked for."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    WithJsonSchema,
    field_validator,
)

from guardrail.actions import Action
from guardrail.decision import Decision, Direction, Reason
from guardrail.json_text import well_formed
from guardrail.records.positions import Positions
from guardrail.records.privacy import Privacy, TextForm
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict

SCHEMA_VERSION: Literal[2] = 2
"""Raised whenever fields come or change their meaning; readers keep reading old versions (`versions.py`)."""

SHOWN = Privacy(positions=False)
"""For records that are shown, not stored."""


def _from_base64(value: Any) -> Any:
    return base64.b64decode(value, validate=True) if isinstance(value, str) else value


Packed = Annotated[
    bytes,
    BeforeValidator(_from_base64),
    PlainSerializer(lambda data: base64.b64encode(data).decode(), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]
"""Bytes; base64 in JSON."""


class _Part(BaseModel):
    """Text from outside (ids, kinds of parts, folder names) may hold lone surrogates, which no UTF-8 file can: they
    become U+FFFD, so that no record is lost for them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _make_well_formed(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [well_formed(item) if isinstance(item, str) else item for item in value]
        return well_formed(value) if isinstance(value, str) else value


class FailureRecord(_Part):
    """What failed; never user text."""

    kind: str
    message: str


class TokenRecord(_Part):
    """One token verdict: span in characters, and the full vectors in the order of the labels."""

    start: int
    end: int
    risk: list[float]
    category: list[float]


class Record(_Part):
    """One decision as stored. Older versions are read by `guardrail.records.read_records`."""

    schema_version: Literal[2] = SCHEMA_VERSION
    id: str
    stream_id: str
    conversation_id: str | None
    time: str = Field(description="UTC, ISO 8601")
    direction: Direction
    action: Action
    would_action: Action = Field(description="what the rules ask for; differs from action only in shadow mode")
    reason: Reason
    risk: RiskLevel | None
    category: str | None
    risk_probabilities: dict[str, float] | None = Field(description="at the decisive token")
    category_probabilities: dict[str, float] | None = Field(description="at the decisive token")
    is_scored: bool | None = Field(None, description="whether the probabilities were measured, or stand in for a label")
    refusal: bool | None = Field(None, description="whether the answer refuses, if the model says so")
    stop_offset: int | None = Field(description="characters")
    released_chars: int
    withheld_chars: int
    leaked_chars: int
    unjudged_chars: int
    n_tokens: int
    n_windows: int
    n_dropped_turns: int
    unreadable: list[str]
    model: str
    model_sha256: str
    engine: str
    precision: str
    policy: str
    policy_sha256: str
    latency_ms: float
    failure: FailureRecord | None
    tool: str | None = Field(None, description="name of the tool that is called or answered")
    n_deltas: int = Field(0, description="pieces in which the LLM's text came")
    saved_tokens: int | None = Field(None, description="at most so many tokens a stopped LLM would still have made")
    n_repairs: int = Field(0, description="earlier attempts at this answer that were stopped")
    n_repair_tokens: int = Field(0, description="tokens of those attempts, judged and never passed on")
    tenant: str | None = Field(None, description="whose text it was")
    positions: Packed | None = Field(None, description="every judged position, packed: guardrail.records.Positions")
    tokens: list[TokenRecord] | None = Field(None, description="all token verdicts once more, if asked for")
    text: str | None = Field(None, description="the judged text, if asked for")
    text_form: TextForm = Field(TextForm.NONE, description="what `text` is of the judged text")
    text_hmac: str | None = Field(None, description="HMAC-SHA256 of the judged text, hexadecimal, if a key was given")
    _stored_version: int = PrivateAttr(SCHEMA_VERSION)

    @property
    def stored_version(self) -> int:
        """Schema version in which it was stored, before it was read as today's."""
        return self._stored_version

    @classmethod
    def of(cls, decision: Decision, text: str = "", privacy: Privacy = SHOWN) -> Self:
        """Return the record of a decision.

        Args:
            decision: which.
            text: the judged text.
            privacy: what is kept of it; by default nothing, and no positions: a record to be shown, not to be stored.
        """
        verdict, identity, failure = decision.verdict, decision.identity, decision.failure
        same = {name: getattr(decision, name) for name in _SAME_NAMES}
        return cls(
            **same,
            time=datetime.fromtimestamp(decision.time, UTC).isoformat(),
            unreadable=list(decision.unreadable),
            risk_probabilities=verdict.risk_probabilities if verdict else None,
            category_probabilities=verdict.category_probabilities if verdict else None,
            is_scored=verdict.is_scored if verdict else None,
            refusal=verdict.refusal if verdict else None,
            model=identity.model,
            model_sha256=identity.model_sha256,
            engine=identity.engine,
            precision=identity.precision,
            policy=identity.policy,
            policy_sha256=identity.policy_sha256,
            failure=FailureRecord(kind=failure.kind, message=failure.message) if failure else None,
            positions=_positions(decision) if privacy.positions else None,
            tokens=[_token(t) for t in decision.tokens] if privacy.tokens else None,
            text=privacy.kept(decision, text),
            text_form=privacy.text,
            text_hmac=privacy.hashed(text),
        )

    def to_json(self) -> str:
        """Return one line of JSON."""
        return self.model_dump_json(exclude_none=False)


_SAME_NAMES = (
    "id", "stream_id", "conversation_id", "direction", "action", "would_action", "reason", "risk", "category",
    "stop_offset", "released_chars", "withheld_chars", "leaked_chars", "unjudged_chars", "n_tokens", "n_windows",
    "n_dropped_turns", "latency_ms", "tool", "n_deltas", "saved_tokens", "n_repairs", "n_repair_tokens", "tenant",
)  # fmt: skip
"""Fields that a record takes over from its decision under the same name."""


def record_values(decision: Decision) -> dict[str, Any]:
    """Return a decision's record as JSON values, as adapters hand it on."""
    return Record.of(decision).model_dump(mode="json")


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record."""
    return Record.model_json_schema()


def _positions(decision: Decision) -> bytes | None:
    """Return all that was judged, packed; None where nothing was."""
    if decision.tokens:
        return Positions.of(decision.tokens).to_bytes()
    return Positions.of_readings(decision.readings).to_bytes() if decision.readings else None


def _token(token: TokenVerdict) -> TokenRecord:
    vectors = token.verdict
    return TokenRecord(
        start=token.start, end=token.end, risk=list(vectors.risk_vector), category=list(vectors.category_vector)
    )
