"""Chunks of an LLM taken from its own methods, below callbacks, caches and tracers: none of these sees raw text."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import ensure_config, run_in_executor
from langchain_core.runnables.config import var_child_runnable_config

from guardrail.adapters.langchain.gating import aeach_within, as_chunk, each_within


def open_chunks(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> Iterator[ChatGenerationChunk]:
    """Return the LLM's chunks; its whole answer as one chunk if it cannot stream."""
    if _overrides(inner, "_stream"):
        return each_within(silence, inner._stream(messages, stop=stop, **kwargs))
    with silence():
        result = inner._generate(messages, stop=stop, **kwargs)
    return (as_chunk(one) for one in result.generations[:1])


def open_async_chunks(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> AsyncIterator[ChatGenerationChunk]:
    """As `open_chunks`; an LLM that only streams synchronously runs in a worker thread."""
    if _overrides(inner, "_astream"):
        return aeach_within(silence, inner._astream(messages, stop=stop, **kwargs))
    if _overrides(inner, "_stream"):
        return _in_thread(each_within(silence, inner._stream(messages, stop=stop, **kwargs)))
    return _generated(inner, messages, stop, kwargs)


@contextmanager
def silence() -> Iterator[None]:
    """Hide the running chain's callbacks from what the LLM calls itself: they would see its raw text."""
    token = var_child_runnable_config.set({**ensure_config(), "callbacks": None})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


def _overrides(inner: BaseChatModel, method: str) -> bool:
    return getattr(type(inner), method) is not getattr(BaseChatModel, method)


async def _generated(
    inner: BaseChatModel, messages: list[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]
) -> AsyncIterator[ChatGenerationChunk]:
    with silence():
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
