"""How a guarded model ends its LLM: at a stop, when it dies, when nobody reads on; and that calls do not mix."""

import asyncio
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda

from guardrail.adapters.langchain import GuardedChatModel
from guardrail.answering import UNREAD_CHARS
from guardrail.policy import ReleaseMode

LEFT = ("abandoned", "failure")
"""Reasons of an answer whose reader was cancelled: between two readings, or inside one."""


async def read_all(model: Any, way: str, config: Any) -> None:
    """Read a stream to its end."""
    if way == "stream":
        list(model.stream("How?", config))
    else:
        _ = [chunk async for chunk in model.astream("How?", config)]


@pytest.mark.parametrize("kind", ["both", "sync"])
async def test_a_stop_closes_the_llm(guard: Any, script: Any, samples: Any, kind: str) -> None:
    """The LLM's iterator is closed by the time the last chunk arrives, soon after the marker was written."""
    inner = script(samples.answer * 5, size=1, kind=samples.kinds[kind])
    marker = samples.answer.index("☠☠") + 2
    for chunk in GuardedChatModel(inner, guard).stream("How?"):
        if chunk.chunk_position == "last":
            assert inner.n_closed == 1
    assert marker <= inner.n_chunks <= marker + 8
    async for _ in GuardedChatModel(inner, guard).astream("How?"):
        pass
    assert inner.n_closed == 2
    n_at_hand = UNREAD_CHARS if kind == "sync" else 0  # a thread does not wait until they are read
    assert inner.n_chunks <= 2 * (marker + 8) + n_at_hand


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_an_llm_that_dies_leaves_no_trace_of_held_text(
    make_guard: Any, script: Any, samples: Any, sink: Any, ear: Any, way: str
) -> None:
    """The LLM's own exception reaches the caller; the answer is recorded as abandoned; what was held stays held."""
    inner = script(samples.secret, size=4, error=ConnectionError("upstream"))
    model = GuardedChatModel(inner, make_guard(release=ReleaseMode.ANSWER))
    with pytest.raises(ConnectionError, match="upstream"):
        await read_all(model, way, {"callbacks": [ear]})
    assert sink.decisions[-1].reason == "abandoned"
    assert inner.n_closed == 1
    assert not [one for one in ear.heard if samples.secret in one]


def test_a_caller_that_stops_reading_closes_the_llm(guard: Any, script: Any, sink: Any) -> None:
    """Closing our stream closes the LLM's, and the record says abandoned."""
    inner = script(size=1)
    stream: Any = GuardedChatModel(inner, guard).stream("How?")
    next(stream)
    stream.close()
    assert inner.n_closed == 1
    assert sink.decisions[-1].reason == "abandoned"


async def test_cancelling_a_task_closes_the_llm(guard: Any, samples: Any, sink: Any, script: Any) -> None:
    """A cancelled reader leaves a closed LLM and a record."""
    inner = script(kind=samples.kinds["stalling"], size=8)

    async def read() -> None:
        async for _ in GuardedChatModel(inner, guard).astream("How?"):
            pass

    task = asyncio.create_task(read())
    await inner.stalled.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert inner.n_closed == 1
    assert sink.decisions[-1].reason in LEFT


async def test_cancelling_while_a_thread_waits_for_the_llm(guard: Any, samples: Any, script: Any, sink: Any) -> None:
    """A synchronous LLM that is busy when its reader is cancelled is closed as soon as its next chunk is there."""
    inner = script(kind=samples.kinds["blocking"], size=8)

    async def read() -> None:
        async for _ in GuardedChatModel(inner, guard).astream("How?"):
            pass

    task = asyncio.create_task(read())
    await asyncio.to_thread(inner.waiting.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.decisions[-1].reason in LEFT
    inner.go_on.set()
    assert await asyncio.to_thread(inner.closed.wait, 30)
    assert inner.n_chunks == 3


async def test_batches_do_not_mix(guard: Any, script: Any, samples: Any, sink: Any) -> None:
    """Parallel calls have a conversation and a decision each."""
    model: BaseChatModel = GuardedChatModel(script(samples.safe), guard)
    questions = [f"Question {i}" + "☠" * (i % 2) for i in range(8)]
    for answers in (model.batch(list(questions)), await model.abatch(list(questions))):
        assert [answer.text == samples.safe for answer in answers] == [i % 2 == 0 for i in range(8)]
    assert len({d.conversation_id for d in sink.decisions}) == 16


async def test_models_inside_the_llm_tell_no_callbacks(guard: Any, script: Any, samples: Any, ear: Any) -> None:
    """An LLM that asks another one does so without the callbacks of the chain."""
    nested = script(kind=samples.kinds["whole"])

    def ask(_: Any, messages: Any, **__: Any) -> Any:
        return ChatResult(generations=[ChatGeneration(message=nested.invoke(messages))])

    asking = type("Asking", (samples.kinds["whole"],), {"_generate": ask})
    inner = script(kind=asking)
    chain: Any = RunnableLambda(lambda text: text) | GuardedChatModel(inner, guard)
    chain.invoke("Q", {"callbacks": [ear]})
    assert not [one for one in ear.heard if samples.secret in one]
