"""What a guard in a plain sequence needs besides: the chain's values as chunks and back, and its run in the traces."""

import operator
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_async_callback_manager_for_config, get_callback_manager_for_config

from guardrail.adapters.langchain.chunks import aclosed_at_end, as_chunk, closed_at_end
from guardrail.errors import ConversationError


def generation_of(value: object) -> ChatGeneration:
    """Return an answer, text or message, as a generation.

    Raises:
        ConversationError: it is neither.
    """
    if isinstance(value, str):
        return ChatGeneration(message=AIMessage(value))
    if isinstance(value, AIMessageChunk):
        return ChatGenerationChunk(message=value)
    if isinstance(value, AIMessage):
        return ChatGeneration(message=value)
    raise ConversationError(f"a guard cannot read {type(value).__name__} as an answer", hint="put it before the parser")


def like(value: object, generation: ChatGeneration) -> Any:
    """Return a generation in the form that the answer came in: text or message."""
    return str(generation.message.text) if isinstance(value, str) else generation.message


def chunks_of(first: object, rest: Iterator[Any]) -> Iterator[ChatGenerationChunk]:
    """Yield a chain's items as chunks; close the chain at the end."""
    with closed_at_end(rest):
        yield as_chunk(generation_of(first))
        for item in rest:
            yield as_chunk(generation_of(item))


async def achunks_of(first: object, rest: AsyncIterator[Any]) -> AsyncIterator[ChatGenerationChunk]:
    """As `chunks_of`."""
    async with aclosed_at_end(rest):
        yield as_chunk(generation_of(first))
        async for item in rest:
            yield as_chunk(generation_of(item))


def traced(step: Runnable[Any, Any], config: RunnableConfig, items: Iterator[Any]) -> Iterator[Any]:
    """Yield items, in a run of their own that callbacks see."""
    manager = get_callback_manager_for_config(config)
    run = manager.on_chain_start(
        None, {"input": ""}, name=config.get("run_name") or step.get_name(), run_id=config.pop("run_id", None)
    )
    passed: list[Any] = []
    try:
        with closed_at_end(items):
            for item in items:
                passed.append(item)
                yield item
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(_whole(passed))


async def atraced(
    step: Runnable[Any, Any], config: RunnableConfig, items: AsyncIterator[Any]
) -> AsyncGenerator[Any, None]:
    """As `traced`."""
    manager = get_async_callback_manager_for_config(config)
    run = await manager.on_chain_start(
        None, {"input": ""}, name=config.get("run_name") or step.get_name(), run_id=config.pop("run_id", None)
    )
    passed: list[Any] = []
    try:
        async with aclosed_at_end(items):
            async for item in items:
                passed.append(item)
                yield item
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(_whole(passed))


def _whole(passed: list[Any]) -> Any:
    return reduce(operator.add, passed) if passed else None
