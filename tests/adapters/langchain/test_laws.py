# ruff: noqa: ARG002 - signatures of the core
"""The laws of the gate through LangChain: what a chain gives out is what a plain stream of the guard gives out."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from guardrail.actions import Action
from guardrail.adapters.langchain import GuardedChatModel, GuardRunnable
from guardrail.encoding import GuardTokenizer
from guardrail.engines.base import Engine
from guardrail.guard import Guard
from guardrail.policy import Policy, ReleaseMode
from tests.strategies import chunk_sizes, cuts, texts

PROMPT = "Tell me something."


class Pieces(BaseChatModel):
    """Streams the pieces it was made with."""

    pieces: list[str]

    @property
    def _llm_type(self) -> str:
        return "pieces"

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for piece in self.pieces:
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.pieces)))])


def streamed(guard: Guard, llm: Pieces) -> str:
    return "".join(str(chunk.text) for chunk in GuardedChatModel(llm, guard).stream(PROMPT))


def astreamed(guard: Guard, llm: Pieces) -> str:
    async def collect() -> str:
        return "".join([str(chunk.text) async for chunk in GuardedChatModel(llm, guard).astream(PROMPT)])

    return asyncio.run(collect())


def invoked(guard: Guard, llm: Pieces) -> str:
    return str((GuardRunnable(guard) | llm | GuardRunnable(guard)).invoke(PROMPT).text)


def in_a_plain_sequence(guard: Guard, llm: Pieces) -> str:
    step = GuardRunnable(guard, position="response")
    chunks = (AIMessageChunk(content=piece) for piece in llm.pieces)
    return "".join(str(chunk.text) for chunk in step.transform(chunks))


@pytest.mark.parametrize("way", [streamed, astreamed, invoked, in_a_plain_sequence])
@pytest.mark.parametrize("name", ["fake", "torch", "onnx-fp32", "onnx-int8"])
@pytest.mark.filterwarnings("ignore::guardrail.adapters.langchain.RawCallbacksWarning")
@given(text=texts(), sizes=chunk_sizes, release=st.sampled_from(ReleaseMode), debounce=st.sampled_from([1, 2]))
def test_a_chain_gives_out_what_a_stream_of_the_guard_gives_out(
    engines: dict[str, Engine], tokenizer: GuardTokenizer, name: str, way: Callable[[Guard, Pieces], str], text: str,
    sizes: list[int], release: ReleaseMode, debounce: int,
) -> None:  # fmt: skip
    """Laws 1 to 5: the same prefix, for every engine, mode and way of asking, and the LLM's text if nothing stops."""
    policy = Policy()
    policy = replace(policy, release=release, response=replace(policy.response, debounce=debounce))
    policy = replace(policy, prompt=replace(policy.prompt, controversial=Action.ALLOW, unsafe=Action.ALLOW))
    guard = Guard(engines[name], tokenizer, policy=policy)
    pieces = cuts(text, sizes) or [""]
    stream = guard.open_stream([] if way is in_a_plain_sequence else PROMPT)
    expected = ""
    for piece in ["".join(pieces)] if way is invoked else pieces:
        expected += stream.feed(piece)
    expected += stream.finish()
    found = way(guard, Pieces(pieces=pieces))
    assert text.startswith(found)
    if way is astreamed and release is ReleaseMode.OPTIMISTIC:  # lets out what has arrived before it is read
        assert found.startswith(expected)
    else:
        assert found == expected
    assert stream.decision.stopped or found == text
