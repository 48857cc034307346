"""The parts of a chunk on their way out, with what the guard reads of each."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.outputs import ChatGenerationChunk

from guardrail.adapters.langchain.calls import CALL_ARGUMENTS, Call
from guardrail.adapters.langchain.messages import (
    CALL_BLOCKS,
    NESTED_KEYS,
    all_texts,
    every_text,
    is_thinking,
    nested_texts,
    text_key,
)

Part = str | dict[str, Any]
"""A piece of content as LangChain has it: text, or a block."""

_GATED_ARGUMENTS = {"reasoning_content": True, "reasoning": True, "thinking": True, "refusal": False}
"""Text in additional_kwargs, and whether it is reasoning."""

_UNREAD = {
    "annotations", "citations", "data", "encrypted_content", "encrypted_index", "image_url", "result", "signature",
    "status", "thought_signature", "url",
}  # fmt: skip
"""Keys of blocks of other kinds whose values the LLM did not write as text."""


@dataclass(eq=False)
class Slot:
    """One part of the answer on its way out.

    Attributes:
        text: what the guard reads; empty for parts without text.
        thinking: whether it is reasoning before the answer.
        build: makes the content from released text; True says that the part is complete.
        arguments: goes into additional_kwargs instead of the content.
        is_whole: whether nothing of it leaves before all of its text is released.
        n_released: characters of `text` that the gate has released.
    """

    text: str = ""
    thinking: bool = False
    build: Callable[[str, bool], Part] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    is_whole: bool = False
    n_released: int = 0

    @property
    def is_done(self) -> bool:
        """Whether all of its text is released."""
        return self.n_released == len(self.text)


def slots_of(chunk: ChatGenerationChunk) -> Iterator[Slot]:
    """Yield the parts of a chunk in their order, without its tool calls."""
    message = chunk.message
    arguments = {key: value for key, value in message.additional_kwargs.items() if key not in CALL_ARGUMENTS}
    yield from _argument_slots(arguments)
    if isinstance(message.content, str):
        if message.content:
            yield Slot(message.content, build=lambda text, _: text)
    else:
        for part in message.content:
            yield from _part_slots(part)
    if arguments:
        yield Slot(arguments=arguments)


def _argument_slots(arguments: dict[str, Any]) -> Iterator[Slot]:
    """Take what holds text out of the extra arguments."""
    for key, thinking in _GATED_ARGUMENTS.items():
        if isinstance(arguments.get(key), str) and (text := arguments.pop(key)):
            yield Slot(text, thinking, arguments={key: text})
    for key in [key for key, value in arguments.items() if isinstance(value, dict | list)]:
        thinking = key.startswith("reasoning")
        if text := "".join(all_texts(arguments[key], is_text=thinking)):
            yield Slot(text, thinking, arguments={key: arguments.pop(key)}, is_whole=True)


def _part_slots(part: Part) -> Iterator[Slot]:
    if isinstance(part, str):
        yield Slot(part, build=lambda text, _: text)
        return
    if part.get("type") in CALL_BLOCKS:
        return
    nested, texts = nested_texts(part), list(all_texts(part))
    if (key := text_key(part)) and len(texts) == 1:
        yield Slot(str(part[key]), is_thinking(part), _block_builder(part, key))
    elif nested and is_thinking(part) and len(texts) == len(nested):
        yield from (_nested_slot(part, key, inner) for key, inner in nested)
    else:  # several texts in one block leave together, or not at all; calls of the provider's own tools are text too
        text = "".join([*texts, Call.of(part).arguments])
        if not text and not is_thinking(part):
            text = "\n".join(every_text(part, _UNREAD))
        yield Slot(text, is_thinking(part), lambda _text, _done: part, is_whole=bool(text))


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
