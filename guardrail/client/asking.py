"""What the clients send over HTTP and how they read the answers; no I/O."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from guardrail.errors import GuardError
from guardrail.records import Record

Conversation = str | Sequence[Mapping[str, Any]]
"""One user message as text, or OpenAI's messages."""


class ClientError(GuardError):
    """The service could not be asked, or refused to answer: nothing was judged, and nothing may be shown.

    Attributes:
        status: HTTP's; None where no answer came, or inside a stream.
        code: of OpenAI's error; None where there is none.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status: int | None = status
        self.code: str | None = code
        self.retryable: bool = status in (None, 408, 429, 503)


class _Result(BaseModel):
    """One of OpenAI's results; of its fields only ours is read."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    guardrail: Record


class _Moderation(BaseModel):
    """OpenAI's answer."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    results: tuple[_Result]


def to_body(conversation: Conversation, answer: str | None, conversation_id: str | None) -> dict[str, Any]:
    """Return the request for a moderation of a conversation's last turn, or of an answer to it."""
    messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else [*conversation]
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "conversation_id": conversation_id}


def to_record(status: int, body: bytes) -> Record:
    """Return the decision's record in an answer.

    Raises:
        ClientError: it holds none.
    """
    if status != 200:
        raise refusal(status, body)
    try:
        return _Moderation.model_validate_json(body).results[0].guardrail
    except ValidationError as error:
        raise ClientError(f"the answer is no moderation of ours: {error.error_count()} errors", status=status) from None


def refusal(status: int, body: bytes) -> ClientError:
    """Return the error that an answer tells of, in OpenAI's envelope or not."""
    try:
        error = _Envelope.model_validate_json(body).error
    except ValidationError:
        return ClientError(f"the service answered with status {status}", status=status)
    return ClientError(error.message, status=status, code=error.code)


class _Error(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    message: str
    code: str | None = None


class _Envelope(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    error: _Error
