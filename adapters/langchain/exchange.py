"""One call of a chat model as the guard sees it, and the conversation that it belongs to."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig, ensure_config

from guardrail.adapters.langchain.messages import to_guard_messages
from guardrail.closing import closing_text
from guardrail.conversation import Message, Role
from guardrail.decision import Decision
from guardrail.errors import ConfigurationError
from guardrail.guard import Guard

OnCall = Literal["stop", "mark"]
"""What a refused tool call does: it stops the whole answer, or it leaves without its arguments, marked."""

_ID_KEYS = ("thread_id", "conversation_id", "session_id")

_called: ContextVar[str | None] = ContextVar("guardrail_conversation_id", default=None)


@contextmanager
def called_with(config: RunnableConfig | None) -> Iterator[None]:
    """Let exchanges find the conversation's id in the settings of the call that they are part of."""
    token = _called.set(_id_in(config or {}) or _called.get())
    try:
        yield
    finally:
        _called.reset(token)


def conversation_id(config: RunnableConfig | None = None) -> str | None:
    """Return the conversation's id in these settings, else in those of the call or chain under way; None without one.

    It is their `thread_id`, `conversation_id` or `session_id`, configured or in the metadata.
    """
    return _id_in(config or {}) or _called.get() or _id_in(ensure_config())


def _id_in(config: RunnableConfig) -> str | None:
    names = {**config.get("metadata", {}), **config.get("configurable", {})}
    return next((str(names[key]) for key in _ID_KEYS if names.get(key)), None)


def checked_guard(guard: Guard) -> Guard:
    """Return a guard as it is.

    Raises:
        ConfigurationError: it is something else, such as a guard that is wrapped already, or a model's name.
    """
    if not isinstance(guard, Guard):
        raise ConfigurationError(f"a guard is needed, not {type(guard).__name__}", hint="such as Guard.default()")
    return guard


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a chat model.

    Attributes:
        guard: judges.
        messages: what was said before.
        id: of the conversation, a new one where the caller names none; its records share it.
        on_call: what a refused tool call does.
        max_tokens: most tokens asked of the LLM; None if unknown.
        holds_answer: whether nothing leaves before the whole answer is judged.
    """

    guard: Guard
    messages: tuple[Message, ...]
    id: str
    on_call: OnCall = "stop"
    max_tokens: int | None = None
    holds_answer: bool = False

    @classmethod
    def of(cls, guard: Guard, messages: Sequence[BaseMessage], **fields: Any) -> "Exchange":
        """Return the exchange that these messages begin.

        Args:
            guard: judges.
            messages: what was said before.
            fields: the other attributes.

        Raises:
            ConversationError: the messages cannot be read.
        """
        return cls(guard, to_guard_messages(messages), conversation_id() or uuid.uuid4().hex, **fields)

    @property
    def has_prompt(self) -> bool:
        """Whether there is a turn that a prompt check can judge."""
        return any(message.role in (Role.USER, Role.TOOL) for message in self.messages)

    def check_prompt(self) -> Decision | None:
        """Judge the prompt; None when there is none."""
        return self.guard.check_prompt(self.messages, conversation_id=self.id) if self.has_prompt else None

    async def acheck_prompt(self) -> Decision | None:
        """As `check_prompt`, without blocking the event loop."""
        return await self.guard.acheck_prompt(self.messages, conversation_id=self.id) if self.has_prompt else None

    def closing_text(self, decision: Decision) -> str:
        """Return the text to show for this decision: the policy's message if it replaces stopped content, else "".

        Raises:
            ContentStopped: it is a stop, and the policy raises.
        """
        return closing_text(self.guard.policy, decision) if refuses(decision) else ""


def refuses(decision: Decision) -> bool:
    """Whether nothing may pass under this decision where nobody can be asked."""
    return decision.stopped or decision.asks


def harder(known: Decision | None, found: Decision) -> Decision:
    """Return the decision that asks for more."""
    return known if known and known.action.rank > found.action.rank else found
