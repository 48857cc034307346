"""Chunks of an LLM taken from its own methods, below callbacks, caches and tracers: none of these sees raw text."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import run_in_executor

from guardrail.adapters.langchain.gating import as_chunk


def open_chunks(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> Iterator[ChatGenerationChunk]:
    """Return the LLM's chunks; its whole answer as one chunk if it cannot stream."""
    if _overrides(inner, "_stream"):
        return inner._stream(messages, stop=stop, **kwargs)
    return (as_chunk(one) for one in inner._generate(messages, stop=stop, **kwargs).generations[:1])


def open_async_chunks(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> AsyncIterator[ChatGenerationChunk]:
    """As `open_chunks`; an LLM that only streams synchronously runs in a worker thread."""
    if _overrides(inner, "_astream"):
        return inner._astream(messages, stop=stop, **kwargs)
    if _overrides(inner, "_stream"):
        return _in_thread(inner._stream(messages, stop=stop, **kwargs))
    return _generated(inner, messages, stop, kwargs)


def _overrides(inner: BaseChatModel, method: str) -> bool:
    return getattr(type(inner), method) is not getattr(BaseChatModel, method)


async def _generated(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> AsyncIterator[ChatGenerationChunk]:
    result = await inner._agenerate(messages, stop=stop, **kwargs)
    for generation in result.generations[:1]:
        yield as_chunk(generation)


async def _in_thread(chunks: Iterator[ChatGenerationChunk]) -> AsyncIterator[ChatGenerationChunk]:
    """Iterate in worker threads; unlike the core's own version it closes the iterator when nobody reads on."""
    end = None
    call: asyncio.Future[ChatGenerationChunk | None] | None = None
    try:
        while True:
            call = asyncio.ensure_future(run_in_executor(None, next, chunks, end))
            chunk = await asyncio.shield(call)
            if chunk is end:
                break
            yield chunk
    finally:
        close = getattr(chunks, "close", lambda: None)
        if call is None or call.done():
            close()
        else:  # cancelled while a chunk was on its way: a running generator cannot be closed
            call.add_done_callback(lambda _: close())
