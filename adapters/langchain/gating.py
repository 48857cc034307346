"""Runs an LLM's chunks through one stream of the guard, sync and async; both share every decision."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.runnables import RunnableConfig, ensure_config

from guardrail.adapters.langchain.messages import to_guard_messages
from guardrail.adapters.langchain.outlet import Outlet, closing_info, closing_metadata, kept_at_stop
from guardrail.conversation import Message, Role
from guardrail.decision import Decision
from guardrail.errors import ContentStopped
from guardrail.guard import Guard
from guardrail.policy import OnStop
from guardrail.stream import Stream

T = TypeVar("T")

_ID_KEYS = ("thread_id", "conversation_id", "session_id")

_called: ContextVar[str | None] = ContextVar("guardrail_conversation_id", default=None)


@contextmanager
def called_with(config: RunnableConfig | None) -> Iterator[None]:
    """Let exchanges find the conversation's id in the settings of the call that they are part of."""
    token = _called.set(_conversation_id(config or {}) or _called.get())
    try:
        yield
    finally:
        _called.reset(token)


def _conversation_id(config: RunnableConfig) -> str | None:
    names = {**config.get("metadata", {}), **config.get("configurable", {})}
    return next((str(names[key]) for key in _ID_KEYS if names.get(key)), None)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call of a chat model: who guards it, what was said before, and the id that its records share."""

    guard: Guard
    messages: tuple[Message, ...]
    id: str

    @classmethod
    def of(cls, guard: Guard, messages: Sequence[BaseMessage]) -> "Exchange":
        """Return the exchange that these messages begin.

        The id is the `thread_id`, `conversation_id` or `session_id` of the call's settings or of the chain it runs in,
        else a new one.

        Raises:
            ConversationError: the messages cannot be read.
        """
        found = _called.get() or _conversation_id(ensure_config())
        return cls(guard, to_guard_messages(messages), found or uuid.uuid4().hex)

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

    def open_stream(self) -> Stream:
        """Start to moderate the answer."""
        return self.guard.open_stream(self.messages, conversation_id=self.id)

    async def aopen_stream(self) -> Stream:
        """As `open_stream`, without blocking the event loop."""
        return await self.guard.aopen_stream(self.messages, conversation_id=self.id)

    def closing_text(self, decision: Decision) -> str:
        """Return the text to show for this decision: the policy's message if it replaces stopped content, else "".

        Raises:
            ContentStopped: it is a stop, and the policy raises.
        """
        policy = self.guard.policy
        if not decision.stopped or policy.on_stop is OnStop.TRUNCATE:
            return ""
        if policy.on_stop is OnStop.RAISE:
            raise ContentStopped(decision)
        return policy.stop_message(decision.category)


def gate_chunks(exchange: Exchange, chunks: Iterator[ChatGenerationChunk]) -> Iterator[ChatGenerationChunk]:
    """Yield what the guard releases of an answer, at last an empty chunk with the decision.

    The LLM's iterator is closed at a stop, before the last chunk is given out, and whenever nobody reads on.

    Raises:
        ContentStopped: the answer was stopped, and the policy raises; what was released has been yielded before.
    """
    outlet = Outlet()
    with closed_at_end(chunks), exchange.open_stream() as stream:
        for chunk in chunks:
            _feed(stream, outlet, chunk)
            if ready := outlet.emit():
                yield ready
            if stream.is_stopped:
                break
        outlet.release(stream.finish())
        decision = stream.decision
    yield from _ending(exchange, outlet, decision)


async def agate_chunks(
    exchange: Exchange, chunks: AsyncIterator[ChatGenerationChunk]
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """As `gate_chunks`, without blocking the event loop."""
    outlet = Outlet()
    async with aclosed_at_end(chunks):
        with await exchange.aopen_stream() as stream:
            async for chunk in chunks:
                await _afeed(stream, outlet, chunk)
                if ready := outlet.emit():
                    yield ready
                if stream.is_stopped:
                    break
            outlet.release(await stream.afinish())
            decision = stream.decision
    for last in _ending(exchange, outlet, decision):
        yield last


def gate_generation(exchange: Exchange, generation: ChatGeneration) -> ChatGeneration:
    """Return a whole answer as far as the guard releases it; one that passes is unchanged but for its metadata.

    Raises:
        ContentStopped: the answer was stopped, and the policy raises.
    """
    outlet = Outlet()
    with exchange.open_stream() as stream:
        _feed(stream, outlet, as_chunk(generation))
        outlet.release(stream.finish())
    return _whole(exchange, outlet, generation, stream.decision)


async def agate_generation(exchange: Exchange, generation: ChatGeneration) -> ChatGeneration:
    """As `gate_generation`, without blocking the event loop."""
    outlet = Outlet()
    with await exchange.aopen_stream() as stream:
        await _afeed(stream, outlet, as_chunk(generation))
        outlet.release(await stream.afinish())
    return _whole(exchange, outlet, generation, stream.decision)


def stopped_prompt(exchange: Exchange, decision: Decision) -> ChatGenerationChunk:
    """Return the whole answer to a prompt that was stopped; the LLM is not asked.

    Raises:
        ContentStopped: the policy raises.
    """
    return Outlet().last(decision, exchange.closing_text(decision))


def as_chunk(generation: ChatGeneration) -> ChatGenerationChunk:
    """Return a whole answer as a single chunk."""
    if isinstance(generation, ChatGenerationChunk):
        return generation
    message = generation.message
    names = set(AIMessageChunk.model_fields) - {"type", "tool_call_chunks", "chunk_position"}
    fields = {name: getattr(message, name) for name in names if hasattr(message, name)}
    return ChatGenerationChunk(message=AIMessageChunk(**fields), generation_info=generation.generation_info)


def as_generation(chunk: ChatGenerationChunk) -> ChatGeneration:
    """Return a chunk that holds a whole answer as that answer."""
    return ChatGeneration(message=message_chunk_to_message(chunk.message), generation_info=chunk.generation_info)


def llm_output(output: dict[str, Any] | None, generations: Sequence[ChatGeneration]) -> dict[str, Any] | None:
    """Return what the provider says beside its answers; the core merges it into their metadata."""
    is_stopped = any(one.message.response_metadata["guardrail"]["action"] == "stop" for one in generations)
    return kept_at_stop(output) if output and is_stopped else output


def _feed(stream: Stream, outlet: Outlet, chunk: ChatGenerationChunk) -> None:
    for slot in outlet.take(chunk):
        outlet.release(stream.feed(slot.text, thinking=slot.thinking))
        if stream.is_stopped:
            return
    outlet.release("")


async def _afeed(stream: Stream, outlet: Outlet, chunk: ChatGenerationChunk) -> None:
    for slot in outlet.take(chunk):
        outlet.release(await stream.afeed(slot.text, thinking=slot.thinking))
        if stream.is_stopped:
            return
    outlet.release("")


def _ending(exchange: Exchange, outlet: Outlet, decision: Decision) -> Iterator[ChatGenerationChunk]:
    if not decision.stopped:
        outlet.release_calls()
    if ready := outlet.emit():
        yield ready
    yield outlet.last(decision, exchange.closing_text(decision))


def _whole(exchange: Exchange, outlet: Outlet, generation: ChatGeneration, decision: Decision) -> ChatGeneration:
    text = exchange.closing_text(decision)
    message = generation.message
    metadata = closing_metadata(message.response_metadata, decision)
    info = closing_info(generation.generation_info or {}, decision)
    if not decision.stopped:
        return ChatGeneration(message=message.model_copy(update={"response_metadata": metadata}), generation_info=info)
    prefix = outlet.emit()
    last = outlet.last(decision, text)
    whole = last if text or prefix is None else prefix + last
    answer = as_generation(whole).message
    kept: dict[str, Any] = {"response_metadata": metadata, "name": message.name}
    if isinstance(answer, AIMessage) and isinstance(message, AIMessage):
        kept["usage_metadata"] = message.usage_metadata
    return ChatGeneration(message=answer.model_copy(update=kept), generation_info=info)


@contextmanager
def closed_at_end(chunks: object) -> Iterator[None]:
    """Close an iterator when the block ends, if it can be closed: that ends the LLM's request."""
    try:
        yield
    finally:
        if callable(close := getattr(chunks, "close", None)):
            close()


@asynccontextmanager
async def aclosed_at_end(chunks: object) -> AsyncIterator[None]:
    """As `closed_at_end`."""
    try:
        yield
    finally:
        if callable(aclose := getattr(chunks, "aclose", None)):
            await aclose()


def each_within(context: Callable[[], AbstractContextManager[None]], chunks: Iterator[T]) -> Iterator[T]:
    """Yield chunks, each made inside a context of its own: one held open across a yield would leak into the reader."""
    with closed_at_end(chunks):
        while True:
            with context():
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


async def aeach_within(
    context: Callable[[], AbstractContextManager[None]], chunks: AsyncIterator[T]
) -> AsyncGenerator[T, None]:
    """As `each_within`."""
    async with aclosed_at_end(chunks):
        while True:
            with context():
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk
