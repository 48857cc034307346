"""An LLM asked through its own methods, below callbacks, caches and tracers: none of these sees raw text."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import ensure_config, run_in_executor
from langchain_core.runnables.config import var_child_runnable_config

from guardrail.adapters.langchain.chunks import aclosed_at_end, aeach_within, as_chunk, each_within
from guardrail.adapters.langchain.tracing import InnerRun, Spotter, atraced_chunks, traced_chunks


@dataclass(frozen=True, slots=True)
class Asking:
    """An LLM with what it is asked; each method asks, with more messages behind the others if it is asked again.

    Attributes:
        inner: the LLM.
        messages: what it is asked.
        stop: as the LLM takes it.
        kwargs: likewise.
        spotter: who shows the call in the traces; None leaves it out.
    """

    inner: BaseChatModel
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: dict[str, Any]
    spotter: Spotter | None = None

    def stream(self, more: Sequence[BaseMessage] = ()) -> Iterator[ChatGenerationChunk]:
        """Return the LLM's chunks; its whole answer as one chunk if it cannot stream."""
        if not self._overrides("_stream"):
            return (as_chunk(one) for one in self.generate(more).generations[:1])
        chunks = self._streamed(more)
        return traced_chunks(inner_run, chunks) if (inner_run := self._run(more)) else chunks

    def astream(self, more: Sequence[BaseMessage] = ()) -> AsyncIterator[ChatGenerationChunk]:
        """As `stream`; an LLM that only streams synchronously runs in a worker thread."""
        if self._overrides("_astream"):
            asked = [*self.messages, *more]
            chunks: AsyncIterator[ChatGenerationChunk]
            chunks = aeach_within(silence, self.inner._astream(asked, stop=self.stop, **self.kwargs))
        elif self._overrides("_stream"):
            chunks = _in_thread(self._streamed(more))
        else:
            return self._agenerated(more)
        return atraced_chunks(inner_run, chunks) if (inner_run := self._run(more)) else chunks

    def generate(self, more: Sequence[BaseMessage] = ()) -> ChatResult:
        """Return the LLM's whole answers."""
        inner_run = self._run(more)
        with inner_run.told() if inner_run else nullcontext():
            with silence():
                result = self.inner._generate([*self.messages, *more], stop=self.stop, **self.kwargs)
            if inner_run:
                inner_run.take(*result.generations)
        return result

    async def agenerate(self, more: Sequence[BaseMessage] = ()) -> ChatResult:
        """As `generate`, without blocking the event loop."""
        inner_run = self._run(more)
        async with inner_run.atold() if inner_run else nullcontext():
            with silence():
                result = await self.inner._agenerate([*self.messages, *more], stop=self.stop, **self.kwargs)
            if inner_run:
                inner_run.take(*result.generations)
        return result

    def stream_again(self, more: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        """Ask again, at the pace of the LLM's rate limiter, which the core keeps for the first time only."""
        self._wait_turn()
        return self.stream(more)

    async def astream_again(self, more: Sequence[BaseMessage]) -> AsyncIterator[ChatGenerationChunk]:
        """As `stream_again`, without blocking the event loop."""
        await self._await_turn()
        chunks = self.astream(more)
        async with aclosed_at_end(chunks):
            async for chunk in chunks:
                yield chunk

    def generate_again(self, more: Sequence[BaseMessage]) -> ChatGeneration:
        """Ask again for one whole answer."""
        self._wait_turn()
        return self.generate(more).generations[0]

    async def agenerate_again(self, more: Sequence[BaseMessage]) -> ChatGeneration:
        """As `generate_again`, without blocking the event loop."""
        await self._await_turn()
        return (await self.agenerate(more)).generations[0]

    def _wait_turn(self) -> None:
        if self.inner.rate_limiter:
            self.inner.rate_limiter.acquire(blocking=True)

    async def _await_turn(self) -> None:
        if self.inner.rate_limiter:
            await self.inner.rate_limiter.aacquire(blocking=True)

    def _streamed(self, more: Sequence[BaseMessage]) -> Iterator[ChatGenerationChunk]:
        return each_within(silence, self.inner._stream([*self.messages, *more], stop=self.stop, **self.kwargs))

    async def _agenerated(self, more: Sequence[BaseMessage]) -> AsyncIterator[ChatGenerationChunk]:
        for generation in (await self.agenerate(more)).generations[:1]:
            yield as_chunk(generation)

    def _run(self, more: Sequence[BaseMessage]) -> InnerRun | None:
        if self.spotter is None:
            return None
        return InnerRun(self.inner, self.spotter, [*self.messages, *more], self.stop, self.kwargs)

    def _overrides(self, method: str) -> bool:
        return getattr(type(self.inner), method) is not getattr(BaseChatModel, method)


@contextmanager
def silence() -> Iterator[None]:
    """Hide the running chain's callbacks from what the LLM calls itself: they would see its raw text."""
    token = var_child_runnable_config.set({**ensure_config(), "callbacks": None})
    try:
        yield
    finally:
        var_child_runnable_config.reset(token)


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
