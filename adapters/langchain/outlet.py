"""The order of an answer's parts: what may leave with the text that the gate has released, and what waits behind it.

Everything the LLM sends goes into one queue. Text waits for its release; blocks and extra arguments wait until all text
before them has left, so that nothing overtakes a stop. Tool calls wait for the end, where they have been judged: half a
call may look whole. Metadata waits for the end, since it may hold the text again (log-probabilities) and since finish
reasons of two chunks would be glued together.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks, add_usage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils._merge import merge_dicts, merge_lists

from guardrail.adapters.langchain.calls import calls_of
from guardrail.adapters.langchain.metadata import closing_info, closing_metadata
from guardrail.adapters.langchain.slots import Slot, slots_of
from guardrail.decision import Decision

_DIALECT = ("model_provider", "output_version")
"""Metadata that every chunk carries: it says how the blocks are to be read."""


@dataclass
class _Ready:
    """What the next chunk will carry."""

    pieces: list[tuple[Slot, str]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    calls: AIMessageChunk | None = None
    usage: UsageMetadata | None = None

    def __bool__(self) -> bool:
        return bool(self.pieces or self.arguments or self.calls or self.usage)


class Outlet:
    """Takes an LLM's chunks, gives out what the gate has released. One caller at a time.

    Attributes:
        released: text that may leave or has left, in pieces, each with whether it is reasoning.
        is_listed: whether the answer's content comes as blocks.
    """

    def __init__(self) -> None:
        self._queue: deque[Slot] = deque()
        self._ready = _Ready()
        self._calls: list[AIMessageChunk] = []
        self._id: str | None = None
        self._metadata: dict[str, Any] = {}
        self._info: dict[str, Any] = {}
        self._is_answering = False
        self.released: list[tuple[str, bool]] = []
        self.is_listed = False

    def take(self, chunk: ChatGenerationChunk) -> Iterator[Slot]:
        """Queue a chunk; yield its texts for the guard to read, one after the other."""
        message = chunk.message
        self._id = self._id or message.id
        self._metadata = merge_dicts(self._metadata, message.response_metadata)
        self._info = merge_dicts(self._info, chunk.generation_info or {})
        self.is_listed |= isinstance(message.content, list)
        if isinstance(message, AIMessageChunk):
            if message.usage_metadata:
                self._ready.usage = add_usage(self._ready.usage, message.usage_metadata)
            if calls := calls_of(message):
                self._calls.append(calls)
        for slot in slots_of(chunk):
            self._queue.append(slot)
            if slot.text:
                # Reasoning after the answer has begun is judged as answer: the format has one think block, in front.
                slot.thinking = slot.thinking and not self._is_answering
                self._is_answering = not slot.thinking
                yield slot

    def release(self, text: str) -> None:
        """Move released text, and what waited for it, into the next chunk."""
        rest = text
        while self._queue:
            slot = self._queue[0]
            size = min(len(rest), len(slot.text) - slot.n_released)
            slot.n_released += size
            piece = rest[:size]
            rest = rest[size:]
            if slot.is_whole and slot.is_done:
                piece = slot.text
            elif slot.is_whole:
                break
            if piece or not slot.text:
                self._move(slot, piece)
            if not slot.is_done:
                break
            self._queue.popleft()

    @property
    def waiting(self) -> list[tuple[str, bool]]:
        """Text that has not left, in pieces, each with whether it is reasoning."""
        return [(slot.text[0 if slot.is_whole else slot.n_released :], slot.thinking) for slot in self._queue]

    def rewind(self) -> list[tuple[str, bool]]:
        """Return the text that has not left: all of it is to be released anew."""
        for slot in self._queue:
            slot.n_released = 0 if slot.is_whole else slot.n_released
        return self.waiting

    @property
    def calls(self) -> AIMessageChunk | None:
        """All pieces of tool calls so far, put together; None when there are none."""
        return add_ai_message_chunks(*self._calls) if self._calls else None

    def release_calls(self, calls: AIMessageChunk) -> None:
        """Move tool calls into the next chunk: the answer has ended, and they are judged."""
        self._ready.calls = calls

    def emit(self) -> ChatGenerationChunk | None:
        """Return a chunk of what has been released since the last one; None when there is nothing."""
        return ChatGenerationChunk(message=self._message()) if self._ready else None

    def drop(self) -> None:
        """Forget what was released and has not left yet, but for the usage."""
        self._ready = _Ready(usage=self._ready.usage)

    def restart(self) -> None:
        """Make ready for another attempt of the LLM, which goes on behind what was released."""
        self._queue.clear()
        self._calls.clear()
        self._metadata, self._info = {}, {}

    def last(
        self, decision: Decision, text: str = "", calls: Mapping[str, Decision] | None = None
    ) -> ChatGenerationChunk:
        """Return the chunk that ends the answer, with the decision; after a stop what waits is never given out.

        Args:
            decision: on the answer, or on the prompt when the LLM was not asked.
            text: message to show after a stop.
            calls: decisions on the tool calls that leave, by their ids.
        """
        self._queue.clear()
        self._calls.clear()
        message = self._message()
        if text:
            message.content = [{"type": "text", "text": text}] if self.is_listed else text
        message.response_metadata = closing_metadata(self._metadata, decision, calls)
        message.chunk_position = "last"
        return ChatGenerationChunk(message=message, generation_info=closing_info(self._info, decision))

    def _move(self, slot: Slot, piece: str) -> None:
        ready = self._ready
        if piece:
            self.released.append((piece, slot.thinking))
        if slot.build:
            ready.pieces.append((slot, piece))
        elif slot.text and not slot.is_whole:
            (key,) = slot.arguments
            ready.arguments = merge_dicts(ready.arguments, {key: piece})
        else:
            ready.arguments = merge_dicts(ready.arguments, slot.arguments)

    def _message(self) -> AIMessageChunk:
        ready, self._ready = self._ready, _Ready()
        built = [slot.build(text, slot.is_done) for slot, text in _joined(ready.pieces) if slot.build]
        parts = [part for part in built if part]
        if ready.calls and isinstance(ready.calls.content, list):
            parts += ready.calls.content
        plain = [part for part in parts if isinstance(part, str)]
        content: str | list[str | dict[str, Any]] = merge_lists([], parts) or []
        if not self.is_listed and len(plain) == len(parts):
            content = "".join(plain)
        return AIMessageChunk(
            content=content,
            additional_kwargs=merge_dicts(ready.arguments, ready.calls.additional_kwargs if ready.calls else {}),
            tool_call_chunks=ready.calls.tool_call_chunks if ready.calls else [],
            response_metadata={key: self._metadata[key] for key in _DIALECT if key in self._metadata},
            usage_metadata=ready.usage,
            id=self._id,
        )


def _joined(pieces: list[tuple[Slot, str]]) -> list[tuple[Slot, str]]:
    """Join neighbouring pieces of one part."""
    joined: list[tuple[Slot, str]] = []
    for slot, text in pieces:
        if joined and joined[-1][0] is slot:
            joined[-1] = (slot, joined[-1][1] + text)
        else:
            joined.append((slot, text))
    return joined
