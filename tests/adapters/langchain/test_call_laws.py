# ruff: noqa: ARG002 - signatures of the core
"""The laws for tool calls: however a call is cut, and beside whatever else, its decision is that of the whole call."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult

from guardrail import Guard, GuardTokenizer, Message, Policy, Role, ToolCall
from guardrail.adapters.langchain import GuardedChatModel
from guardrail.testing import HashEngine
from tests.adapters.langchain.call_forms import joined, piece_of
from tests.strategies import chunk_sizes, cuts, texts

PROMPT = "Do something."


class Calling(BaseChatModel):
    """Streams the chunks it was made with."""

    chunks: list[AIMessageChunk]

    @property
    def _llm_type(self) -> str:
        return "calling"

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk.model_copy())

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError


def expected(guard: Guard, calls: list[ToolCall]) -> list[Any]:
    """Return the decisions on whole calls, each behind those before it that passed."""
    user = Message(Role.USER, PROMPT)
    passed: list[ToolCall] = []
    found = []
    for call in calls:
        turn = [Message(Role.ASSISTANT, "", tool_calls=tuple(passed))] if passed else []
        decision = guard.check_tool_call([user, *turn], call)
        passed += [] if decision.stopped else [call]
        found.append((decision.action, decision.risk, decision.stop_offset))
    return found


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@given(
    values=st.lists(texts(6), min_size=1, max_size=3),
    sizes=chunk_sizes,
    seed=st.integers(0, 50),
    is_ascii=st.booleans(),
)
def test_a_call_is_judged_as_a_whole_one(
    tokenizer: GuardTokenizer, is_async: bool, values: list[str], sizes: list[int], seed: int, is_ascii: bool
) -> None:
    """Any text in the arguments, spelled with escapes or without, in any pieces; stopped ones are empty."""
    engine = HashEngine(vocab_size=tokenizer.vocab_size, risky_share=0.08, seed=seed)
    guard = Guard(engine, tokenizer, policy=Policy(), kept_bytes=0)
    arguments = [json.dumps({"text": value}, ensure_ascii=is_ascii) for value in values]
    chunks = []
    for i, args in enumerate(arguments):
        first, *rest = cuts(args, sizes)
        pieces = [piece_of(f"tool_{i}", first, f"c{i}", i), *(piece_of(None, one, None, i) for one in rest)]
        chunks += [AIMessageChunk(content="", tool_call_chunks=[one]) for one in pieces]
    model = GuardedChatModel(Calling(chunks=chunks), guard, checks_prompt=False, on_call="mark")

    async def aread() -> list[Any]:
        return [chunk async for chunk in model.astream(PROMPT)]

    whole = joined(asyncio.run(aread()) if is_async else model.stream(PROMPT))
    records = whole.response_metadata["guardrail_calls"]
    found = [(one["action"], one["risk"], one["stop_offset"]) for one in records.values()]
    wanted = expected(guard, [ToolCall(f"tool_{i}", args) for i, args in enumerate(arguments)])
    assert found == wanted
    left = [call["args"] for call in whole.tool_calls]
    assert left == [
        {} if action == "stop" else {"text": value} for (action, *_), value in zip(wanted, values, strict=True)
    ]
