"""Whole answers as chunks and back, and iterators of chunks that are closed for certain."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TypeVar

from langchain_core.messages import AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

T = TypeVar("T")


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
