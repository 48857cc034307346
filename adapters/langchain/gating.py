"""Runs an LLM's chunks through the guard, sync and async; both share every decision (`answer.py`)."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from guardrail.adapters.langchain.answer import Answer
from guardrail.adapters.langchain.chunks import as_chunk, closed_at_end
from guardrail.adapters.langchain.exchange import Exchange
from guardrail.adapters.langchain.metadata import kept_at_stop
from guardrail.adapters.langchain.outlet import Outlet
from guardrail.ahead import Ahead
from guardrail.decision import Decision
from guardrail.waiting import arun, run

Messages = list[BaseMessage]
Chunks = Iterator[ChatGenerationChunk]
AsyncChunks = AsyncIterator[ChatGenerationChunk]


def gate_chunks(exchange: Exchange, chunks: Chunks, ask_again: Callable[[Messages], Chunks] | None = None) -> Chunks:
    """Yield what the guard releases of an answer, at last an empty chunk with the decision.

    The LLM's iterator is closed at a stop, before the last chunk is given out, and whenever nobody reads on.

    Args:
        exchange: what is answered, and who guards it.
        chunks: from the LLM.
        ask_again: asks the LLM to go on, with these messages behind the others; None cannot repair a stopped answer.

    Raises:
        ContentStopped: the answer was stopped, and the policy raises; what was released has been yielded before.
    """
    with Answer(exchange) as answer:
        while True:
            with closed_at_end(chunks):
                run(answer.opening())
                for chunk in chunks:
                    run(answer.taking(chunk))
                    if ready := answer.emit():
                        yield ready
                    if answer.is_stopped:
                        break
            run(answer.finishing())
            if not (ask_again and (more := answer.repair())):
                break
            chunks = ask_again(more)
        yield from answer.ending()


async def agate_chunks(
    exchange: Exchange, chunks: AsyncChunks, ask_again: Callable[[Messages], AsyncChunks] | None = None
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """As `gate_chunks`, without blocking the event loop; all that came while the guard was reading is read at once."""
    with Answer(exchange) as answer:
        while True:
            async with Ahead(chunks) as arrivals:
                await arun(answer.opening())
                async for arrival in arrivals:
                    await arun(answer.taking(arrival.item, more=arrival.more))
                    if ready := answer.emit():
                        yield ready
                    if answer.is_stopped:
                        break
            await arun(answer.finishing())
            if not (ask_again and (more := answer.repair())):
                break
            chunks = ask_again(more)
        for last in answer.ending():
            yield last


def gate_generation(
    exchange: Exchange, generation: ChatGeneration, ask_again: Callable[[Messages], ChatGeneration] | None = None
) -> ChatGeneration:
    """Return a whole answer as far as the guard releases it; one that passes is unchanged but for its metadata.

    Raises:
        ContentStopped: the answer was stopped, and the policy raises.
    """
    with Answer(replace(exchange, max_tokens=None)) as answer:  # it is written: a stop saves nothing
        while True:
            run(answer.opening())
            run(answer.taking(as_chunk(generation)))
            run(answer.finishing())
            if not (ask_again and (more := answer.repair())):
                return answer.whole(generation)
            generation = ask_again(more)


async def agate_generation(
    exchange: Exchange,
    generation: ChatGeneration,
    ask_again: Callable[[Messages], Awaitable[ChatGeneration]] | None = None,
) -> ChatGeneration:
    """As `gate_generation`, without blocking the event loop."""
    with Answer(replace(exchange, max_tokens=None)) as answer:  # it is written: a stop saves nothing
        while True:
            await arun(answer.opening())
            await arun(answer.taking(as_chunk(generation)))
            await arun(answer.finishing())
            if not (ask_again and (more := answer.repair())):
                return answer.whole(generation)
            generation = await ask_again(more)


def stopped_prompt(exchange: Exchange, decision: Decision) -> ChatGenerationChunk:
    """Return the whole answer to a prompt that was stopped; the LLM is not asked.

    Raises:
        ContentStopped: the policy raises.
    """
    return Outlet().last(decision, exchange.closing_text(decision))


def llm_output(output: dict[str, Any] | None, generations: Sequence[ChatGeneration]) -> dict[str, Any] | None:
    """Return what the provider says beside its answers; the core merges it into their metadata."""
    reasons = [one.message.response_metadata.get("finish_reason") for one in generations]
    return kept_at_stop(output) if output and "content_filter" in reasons else output
