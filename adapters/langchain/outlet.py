"""The order of an answer's parts: what may leave with the text that the gate has released, and what waits behind it.

Everything the LLM sends goes into one queue. Text waits for its release; blocks, tool calls and extra arguments wait
until all text before them has left, so that nothing overtakes a stop. Tool calls wait for the end: half a call may
look whole. Metadata waits for the end, since it may hold the text again (log-probabilities) and since finish reasons of
two chunks would be glued together.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import ToolCallChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.utils._merge import merge_dicts

from guardrail.adapters.langchain.messages import (
    CALL_BLOCKS,
    NESTED_KEYS,
    all_texts,
    is_thinking,
    nested_texts,
    text_key,
)
from guardrail.decision import Decision
from guardrail.records import Record

Part = str | dict[str, Any]
"""A piece of content as LangChain has it: text, or a block."""

_GATED_ARGUMENTS = {"reasoning_content": True, "refusal": False}
"""Text in additional_kwargs, and whether it is reasoning."""

_CALL_ARGUMENTS = ("tool_calls", "function_call")
"""Tool calls in additional_kwargs."""

_KEPT_AT_STOP = {
    "model_name", "model", "model_provider", "id", "system_fingerprint", "service_tier", "created", "created_at",
    "output_version",
}  # fmt: skip
"""Metadata that stays after a stop; anything else might hold withheld text, or say that the answer ended well."""


@dataclass(eq=False)
class Slot:
    """One part of the answer on its way out.

    Attributes:
        text: what the guard reads; empty for parts without text.
        thinking: whether it is reasoning before the answer.
        build: makes the content from released text; True says that the part is complete.
        arguments: goes into additional_kwargs instead of the content.
        calls: pieces of tool calls.
        is_call: whether it is a piece of a tool call, in whatever form.
        n_released: characters of `text` that have left.
    """

    text: str = ""
    thinking: bool = False
    build: Callable[[str, bool], Part] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    calls: list[ToolCallChunk] = field(default_factory=list)
    is_call: bool = False
    n_released: int = 0


@dataclass
class _Ready:
    """What the next chunk will carry."""

    pieces: list[tuple[Slot, str]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    calls: list[ToolCallChunk] = field(default_factory=list)
    usage: UsageMetadata | None = None

    def __bool__(self) -> bool:
        return bool(self.pieces or self.arguments or self.calls or self.usage)


class Outlet:
    """Takes an LLM's chunks, gives out what the gate has released. One caller at a time.

    Attributes:
        is_listed: whether the answer's content comes as blocks.
    """

    def __init__(self) -> None:
        self._queue: deque[Slot] = deque()
        self._ready = _Ready()
        self._calls: list[Slot] = []
        self._id: str | None = None
        self._metadata: dict[str, Any] = {}
        self._info: dict[str, Any] = {}
        self._is_answering = False
        self.is_listed = False

    def take(self, chunk: ChatGenerationChunk) -> Iterator[Slot]:
        """Queue a chunk; yield its texts for the guard to read, one after the other."""
        message = chunk.message
        self._id = message.id or self._id
        self._metadata = merge_dicts(self._metadata, message.response_metadata)
        self._info = merge_dicts(self._info, chunk.generation_info or {})
        self.is_listed |= isinstance(message.content, list)
        if isinstance(message, AIMessageChunk) and message.usage_metadata:
            self._ready.usage = add_usage(self._ready.usage, message.usage_metadata)
        for slot in _slots(chunk):
            (self._calls if slot.is_call else self._queue).append(slot)
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
            if size or not slot.text:
                self._move(slot, rest[:size])
            rest = rest[size:]
            if slot.n_released < len(slot.text):
                break
            self._queue.popleft()

    def release_calls(self) -> None:
        """Move the tool calls into the next chunk: the answer has ended, and nothing of it was stopped."""
        while self._calls:
            self._move(self._calls.pop(0), "")

    def emit(self) -> ChatGenerationChunk | None:
        """Return a chunk of what has been released since the last one; None when there is nothing."""
        return ChatGenerationChunk(message=self._message()) if self._ready else None

    def last(self, decision: Decision, text: str = "") -> ChatGenerationChunk:
        """Return the chunk that ends the answer, with the decision; after a stop what waits is never given out.

        Args:
            decision: on the answer, or on the prompt when the LLM was not asked.
            text: message to show after a stop.
        """
        self._queue.clear()
        self._calls.clear()
        message = self._message()
        if text:
            message.content = [{"type": "text", "text": text}] if self.is_listed else text
        message.response_metadata = closing_metadata(self._metadata, decision)
        message.chunk_position = "last"
        return ChatGenerationChunk(message=message, generation_info=closing_info(self._info, decision))

    def _move(self, slot: Slot, piece: str) -> None:
        ready = self._ready
        if slot.build:
            ready.pieces.append((slot, piece))
        elif slot.text:
            ((key, value),) = slot.arguments.items()
            if isinstance(value, str):
                ready.arguments = merge_dicts(ready.arguments, {key: piece})
            elif _done(slot):
                ready.arguments = merge_dicts(ready.arguments, slot.arguments)
        else:
            ready.arguments = merge_dicts(ready.arguments, slot.arguments)
        ready.calls += slot.calls

    def _message(self) -> AIMessageChunk:
        ready, self._ready = self._ready, _Ready()
        parts = [part for slot, text in _joined(ready.pieces) if slot.build and (part := slot.build(text, _done(slot)))]
        plain = [part for part in parts if isinstance(part, str)]
        content: str | list[str | dict[str, Any]] = list(parts)
        if not self.is_listed and len(plain) == len(parts):
            content = "".join(plain)
        return AIMessageChunk(
            content=content,
            additional_kwargs=ready.arguments,
            tool_call_chunks=ready.calls,
            usage_metadata=ready.usage,
            id=self._id,
        )


def decision_metadata(decision: Decision) -> dict[str, Any]:
    """Return a decision as it stands in `response_metadata["guardrail"]`: the record, as JSON values."""
    return Record.of(decision).model_dump(mode="json")


def closing_metadata(metadata: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """Return an answer's metadata with the decision; after a stop with our finish reason and without copies of text."""
    if decision.stopped:
        return {**kept_at_stop(metadata), "finish_reason": "content_filter", "guardrail": decision_metadata(decision)}
    earlier = metadata.get("guardrail")
    if isinstance(earlier, Mapping) and earlier.get("action") == "stop":
        return dict(metadata)  # a guard inside this one stopped the answer: that decision stands
    return {**metadata, "guardrail": decision_metadata(decision)}


def closing_info(info: Mapping[str, Any], decision: Decision) -> dict[str, Any] | None:
    """Return generation_info likewise; it is merged below the metadata by the core."""
    return (kept_at_stop(info) if decision.stopped else dict(info)) or None


def kept_at_stop(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an answer's metadata that cannot hold its text."""
    return {key: value for key, value in metadata.items() if key in _KEPT_AT_STOP}


def _done(slot: Slot) -> bool:
    return slot.n_released == len(slot.text)


def _joined(pieces: list[tuple[Slot, str]]) -> list[tuple[Slot, str]]:
    """Join neighbouring pieces of one part."""
    joined: list[tuple[Slot, str]] = []
    for slot, text in pieces:
        if joined and joined[-1][0] is slot:
            joined[-1] = (slot, joined[-1][1] + text)
        else:
            joined.append((slot, text))
    return joined


def _slots(chunk: ChatGenerationChunk) -> Iterator[Slot]:
    message = chunk.message
    arguments = dict(message.additional_kwargs)
    yield from _argument_slots(arguments)
    if isinstance(message.content, str):
        if message.content:
            yield Slot(message.content, build=lambda text, _: text)
    else:
        for part in message.content:
            yield from _part_slots(part)
    raw_calls = {key: arguments.pop(key) for key in _CALL_ARGUMENTS if key in arguments}
    if arguments:
        yield Slot(arguments=arguments)
    if raw_calls:
        yield Slot(arguments=raw_calls, is_call=True)
    if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
        yield Slot(calls=message.tool_call_chunks, is_call=True)


def _argument_slots(arguments: dict[str, Any]) -> Iterator[Slot]:
    """Take what holds text out of the extra arguments."""
    for key, thinking in _GATED_ARGUMENTS.items():
        if isinstance(arguments.get(key), str) and (text := arguments.pop(key)):
            yield Slot(text, thinking, arguments={key: text})
    for key in [key for key, value in arguments.items() if isinstance(value, dict | list)]:
        if key not in _CALL_ARGUMENTS and (text := "".join(all_texts(arguments[key]))):
            yield Slot(text, key.startswith("reasoning"), arguments={key: arguments.pop(key)})


def _part_slots(part: Part) -> Iterator[Slot]:
    if isinstance(part, str):
        yield Slot(part, build=lambda text, _: text)
        return
    nested, texts = nested_texts(part), list(all_texts(part))
    if part.get("type") in CALL_BLOCKS:
        yield Slot(build=lambda _text, _done: part, is_call=True)
    elif (key := text_key(part)) and len(texts) == 1:
        yield Slot(str(part[key]), is_thinking(part), _block_builder(part, key))
    elif nested and is_thinking(part) and len(texts) == len(nested):
        yield from (_nested_slot(part, key, inner) for key, inner in nested)
    else:  # several texts in one block leave together, or not at all
        yield Slot("".join(texts), is_thinking(part), lambda _text, done: part if done else "")


def _block_builder(block: dict[str, Any], key: str) -> Callable[[str, bool], Part]:
    """Return a builder of pieces of a block; signatures and annotations come with its last piece only."""
    stem = {str(name): block[name] for name in ("type", "index", "id") if name in block}

    def build(text: str, done: bool) -> Part:
        return {**block, key: text} if done else {**stem, key: text}

    return build


def _nested_slot(block: dict[str, Any], key: str, inner: Mapping[str, Any]) -> Slot:
    """Return the slot of one text inside a reasoning block, such as a summary's."""
    build_inner = _block_builder(dict(inner), "text")
    stem = {str(name): block[name] for name in ("type", "index", "id") if name in block}
    is_last = nested_texts(block)[-1][1] is inner
    rest = {name: value for name, value in block.items() if name not in NESTED_KEYS} if is_last else {}

    def build(text: str, done: bool) -> Part:
        piece = build_inner(text, done)
        return {**stem, **(rest if done else {}), key: [piece] if isinstance(block[key], list) else piece}

    return Slot(str(inner["text"]), thinking=True, build=build)
