"""The token stream protocol, version 1: what clients send, and the events that tell them of a stream.

The service and `guardrail.client` both read it here; docs/stream_api.md explains it. Offsets are characters of the
answer (Unicode code points), half-open; probabilities lie in [0, 1].
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from guardrail.decision import Reason
from guardrail.policy import ReleaseMode
from guardrail.records import Record
from guardrail.taxonomy import RiskLevel

SUBPROTOCOL = "guardrail.v1"
"""WebSocket subprotocol of this version."""

BEFORE_ALL = -1
"""Number before the first event: `after` of a reader who has seen none, and `seq` of an error that is no stream's."""


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class OpenFrame(_Part):
    """Opens a stream.

    Attributes:
        type: "open".
        messages: what the LLM answers: OpenAI's messages, or a user's text.
        conversation_id: for the record, and so that nothing is read twice.
        verdicts: whether every token's verdict is told.
        enforce: false watches the answer to its end: its verdicts are told, and where it would have been stopped; no
            text is ever released.
    """

    type: Literal["open"] = "open"
    messages: str | list[dict[str, Any]]
    conversation_id: str | None = Field(default=None, max_length=256)
    verdicts: bool = True
    enforce: bool = True


class ResumeFrame(_Part):
    """Takes a stream up again, on a new connection.

    Attributes:
        type: "resume".
        id: of the stream.
        after: number of the last event that has come.
    """

    type: Literal["resume"] = "resume"
    id: str
    after: int = Field(default=BEFORE_ALL, ge=BEFORE_ALL)


class DeltaFrame(_Part):
    """The next piece of the answer.

    Attributes:
        type: "delta".
        text: cut anywhere between two characters.
        thinking: whether it is reasoning before the answer.
        offset: characters sent before it. What the service has of it already is not read again; a gap is an error.
    """

    type: Literal["delta"] = "delta"
    text: str
    thinking: bool = False
    offset: int | None = Field(default=None, ge=0)

    @field_validator("text")
    @classmethod
    def _refuse_half_characters(cls, text: str) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError("text was cut inside a character")
        return text


class FinishFrame(_Part):
    """Ends the answer.

    Attributes:
        type: "finish".
        offset: characters sent in all; a gap is an error.
    """

    type: Literal["finish"] = "finish"
    offset: int | None = Field(default=None, ge=0)


class CloseFrame(_Part):
    """Gives the stream up; it is recorded as abandoned."""

    type: Literal["close"] = "close"


Frame = Annotated[OpenFrame | ResumeFrame | DeltaFrame | FinishFrame | CloseFrame, Field(discriminator="type")]
FRAME: TypeAdapter[Frame] = TypeAdapter(Frame)


class EventBase(_Part):
    """What every event has.

    Attributes:
        seq: its number in the stream, from 0.
    """

    seq: int


class OpenedEvent(EventBase):
    """The stream is open: its id, its policy, and how that releases text."""

    type: Literal["opened"] = "opened"
    id: str
    policy: str
    release: ReleaseMode
    enforce: bool


class VerdictEvent(EventBase):
    """The verdict at one token."""

    type: Literal["verdict"] = "verdict"
    index: int
    start: int
    end: int
    risk: RiskLevel
    category: str | None
    risk_probabilities: dict[str, float]
    category_probabilities: dict[str, float]


class ReleaseEvent(EventBase):
    """Text that may be shown."""

    type: Literal["release"] = "release"
    start: int
    end: int
    text: str


class ReadEvent(EventBase):
    """All text before `end` has been taken; what it brought stands before this event. The rest of it is held."""

    type: Literal["read"] = "read"
    end: int


class StopEvent(EventBase):
    """The answer is stopped: stop the LLM too. The message is the policy's, for the reader."""

    type: Literal["stop"] = "stop"
    stop_offset: int
    risk: RiskLevel | None
    category: str | None
    reason: Reason
    message: str


class WouldStopEvent(EventBase):
    """The answer would have been stopped, if the policy were enforced."""

    type: Literal["would_stop"] = "would_stop"
    stop_offset: int
    risk: RiskLevel | None
    category: str | None
    reason: Reason


class DecisionEvent(EventBase):
    """The decision, as it is recorded."""

    type: Literal["decision"] = "decision"
    record: Record


class ErrorDetail(_Part):
    """OpenAI's error; never user text."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEvent(EventBase):
    """Something failed; nothing more is released."""

    type: Literal["error"] = "error"
    error: ErrorDetail


class ClosedEvent(EventBase):
    """The last event."""

    type: Literal["closed"] = "closed"


Event = Annotated[
    OpenedEvent
    | VerdictEvent
    | ReleaseEvent
    | ReadEvent
    | StopEvent
    | WouldStopEvent
    | DecisionEvent
    | ErrorEvent
    | ClosedEvent,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
