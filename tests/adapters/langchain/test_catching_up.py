"""An LLM that is faster than the guard: what has arrived is read in one call, and the answer is the same."""

from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk

from guardrail import Guard, GuardTokenizer
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.testing import MarkerEngine
from tests.counting import CountingEngine

USAGE: Any = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}


def answer_in_pieces(samples: Any) -> list[AIMessageChunk]:
    """Reasoning, text, a call in pieces, and how it ended."""
    thoughts = [AIMessageChunk(content="", additional_kwargs={"reasoning_content": f"I think {n}. "}) for n in "abc"]
    head: Any = {"name": "look_up", "args": "", "id": "c", "index": 0, "type": "tool_call_chunk"}
    pieces = [{**head, "name": None, "id": None, "args": piece} for piece in ('{"wo', 'rd": ', '"dough"}')]
    calls: Any = [AIMessageChunk(content="", tool_call_chunks=[piece]) for piece in [head, *pieces]]
    end = AIMessageChunk(content="", usage_metadata=USAGE, response_metadata={"finish_reason": "tool_calls"})
    return [*thoughts, *samples.cut(samples.safe, 3), *calls, end]


@pytest.fixture
def engine(tokenizer: GuardTokenizer) -> CountingEngine:
    """Counts the calls of an engine that stops at a marker."""
    return CountingEngine(MarkerEngine(tokenizer, {"☠": ("Unsafe", "Violent")}))


async def ask(model: Any, engine: CountingEngine) -> tuple[AIMessageChunk, int]:
    """Return the answer, without what the record says of time, and the calls of the engine that it took."""
    n_calls = len(engine.fed)
    chunks = [chunk async for chunk in model.astream("How?")]
    assert [chunk.chunk_position for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    whole = sum(chunks[1:], chunks[0])
    for record in (whole.response_metadata["guardrail"], *whole.response_metadata.get("guardrail_calls", {}).values()):
        for name in ("latency_ms", "time", "stream_id", "record_id", "conversation_id", "id"):
            record.pop(name, None)
    whole.id = None
    return whole, len(engine.fed) - n_calls


@pytest.mark.parametrize("way", ["model", "chain"])
async def test_a_fast_llm_is_answered_in_few_calls(
    engine: CountingEngine, tokenizer: GuardTokenizer, script: Any, samples: Any, way: str
) -> None:
    """Text, reasoning, calls, usage, finish reason and records are those of a slow one, piece by piece."""
    step = GuardRunnable(Guard(engine, tokenizer))
    answers = []
    for is_slow in (True, False):
        llm = script(chunks=answer_in_pieces(samples), is_slow=is_slow)
        answers.append(await ask(GuardedChatModel(llm, step.guard) if way == "model" else step | llm | step, engine))
    (slow, n_slow), (fast, n_fast) = answers
    assert fast == slow
    assert fast.text == samples.safe
    assert fast.tool_calls[0]["args"] == {"word": "dough"}
    assert fast.usage_metadata == USAGE
    assert n_fast == 6  # the prompt; the answer's context, and the answer; the call's context, arguments and end
    assert n_slow > 2 * n_fast


async def test_what_waits_for_nothing_is_read_though_no_text_follows(
    engine: CountingEngine, tokenizer: GuardTokenizer, script: Any, samples: Any
) -> None:
    """Text before a chunk without text, behind which the LLM pauses, leaves before the pause ends."""
    silent = AIMessageChunk(content="")
    chunks = [AIMessageChunk(content="Take flour and "), silent, *samples.cut(samples.safe, 9)]
    llm: Any = script(chunks=chunks, kind=samples.kinds["stalling"])
    stream: Any = GuardedChatModel(llm, Guard(engine, tokenizer)).astream("How?")
    first = await anext(stream)
    assert first.text.startswith("Take flour")
    assert llm.n_closed == 0
    await stream.aclose()
    assert llm.n_closed == 1
