"""The order of an answer's parts on their way out, whatever the parts are and however they are cut."""

import operator
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from guardrail.adapters.langchain.outlet import Outlet

KINDS = st.sampled_from(["plain", "text", "thinking", "refusal"])
PARTS = st.lists(st.tuples(KINDS, st.text(max_size=8)), max_size=8)


def chunk_of(kind: str, text: str, index: int) -> ChatGenerationChunk:
    """Return a chunk with one part."""
    content: Any = text if kind == "plain" else [{"type": kind, kind: text, "index": index}]
    return ChatGenerationChunk(message=AIMessageChunk(content=content))


def texts_in(chunk: ChatGenerationChunk) -> str:
    """Return all text in a chunk's content, in order."""
    content = chunk.message.content
    parts: list[Any] = [content] if isinstance(content, str) else content
    return "".join(p if isinstance(p, str) else p.get(p["type"], "") for p in parts)


@given(parts=PARTS, data=st.data())
def test_what_leaves_is_what_was_released_in_order(parts: list[tuple[str, str]], data: st.DataObject) -> None:
    """Whatever the gate releases at each step leaves, no more and no less, part by part in the LLM's order."""
    outlet, fed, released, given_out = Outlet(), "", 0, ""
    for index, (kind, text) in enumerate(parts):
        fed += "".join(slot.text for slot in outlet.take(chunk_of(kind, text, index)))
        size = data.draw(st.integers(0, len(fed) - released))
        outlet.release(fed[released : released + size])
        released += size
        if ready := outlet.emit():
            given_out += texts_in(ready)
        assert given_out == fed[:released]
    assert fed == "".join(text for _, text in parts)


def test_text_cut_by_the_gate_joins_again() -> None:
    """Pieces of one block released at different times merge into that block."""
    outlet = Outlet()
    list(outlet.take(chunk_of("text", "one two three", 0)))
    messages = []
    for piece in ("one", " two", " three"):
        outlet.release(piece)
        ready = outlet.emit()
        assert ready
        messages.append(ready.message)
    assert reduce(operator.add, messages).content == [{"type": "text", "text": "one two three", "index": 0}]


@pytest.mark.parametrize("text", ["Fine.", "Bad.☠☠"])
def test_generation_info_waits_for_the_decision(guard: Any, text: str) -> None:
    """What the provider says beside the message is given out at the end, after a stop without copies of the text."""
    outlet = Outlet()
    info = {"finish_reason": "stop", "logprobs": {"content": ["☠"]}, "model_name": "m"}
    list(outlet.take(ChatGenerationChunk(message=AIMessageChunk(content=text), generation_info=info)))
    outlet.release(text[:3])
    ready = outlet.emit()
    assert ready
    assert ready.generation_info is None
    decision = guard.check_response("Q", text)
    last = outlet.last(decision)
    assert last.generation_info == ({"model_name": "m"} if decision.stopped else info)
    assert last.text == ""
