"""A model that is faster than the guard: what has arrived is read in one call, and the response is the same."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, ThinkingPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.pydantic_ai import GuardedModel
from guardrail.testing import MarkerEngine
from tests.adapters.pydantic_ai.scripted import ANSWER, SAFE, Script
from tests.counting import CountingEngine


def essence(response: Any) -> tuple[Any, ...]:
    """Return what two responses must agree on."""
    assert isinstance(response, ModelResponse)
    record = (response.metadata or {})["guardrail"]
    usage = None if record["stop_offset"] else response.usage  # a fast model has written more by the time of the stop
    return response.parts, usage, response.finish_reason, record["action"], record["stop_offset"]


@pytest.mark.parametrize("answer", [SAFE, ANSWER])
async def test_a_fast_model_is_answered_in_few_calls(tokenizer: GuardTokenizer, answer: str) -> None:
    """Texts, thoughts, calls, usage and finish reason are those of a slow one; the pieces join to the same text."""
    engine = CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))
    guard, found = Guard(engine, tokenizer), []
    thoughts = ThinkingPart("Let me see. ", signature="s", id="t")
    for is_slow in (True, False):
        n_before = len(engine.fed)
        call = ToolCallPart("look_up", {"word": "dough"}, tool_call_id="c")
        agent = Agent(GuardedModel(Script([[thoughts, "I look.", call], [answer]], is_slow=is_slow).model, guard))
        agent.tool_plain(look_up)
        async with agent.run_stream_events("How?") as events:
            *_, last = [event async for event in events]
        assert last.event_kind == "agent_run_result"
        responses = [essence(one) for one in last.result.all_messages()[1::2]]
        found.append((responses, last.result.output, len(engine.fed) - n_before))
    (*slow, n_slow), (*fast, n_fast) = found
    assert fast == slow
    assert n_slow > 2 * n_fast


def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} rests"


async def test_leaving_a_stream_closes_the_model_that_is_asked(guard: Guard) -> None:
    """A reader that leaves while the model thinks does not leave it running."""
    closed = asyncio.Event()

    async def stream(_messages: Any, _info: Any) -> AsyncIterator[str]:
        try:
            yield "Bread needs flour and time. "
            await asyncio.Event().wait()
        finally:
            closed.set()

    agent = Agent(GuardedModel(FunctionModel(stream_function=stream), guard))
    async with agent.run_stream("How?") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            assert text
            break
    assert closed.is_set()
