"""Events of responses of odd shapes: nothing in them leaves unread."""

import json
from typing import Any

import pytest

from guardrail.waiting import run
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.responses import ResponsesGate
from guardrail.wire.wholes import judging
from tests.wire.test_chat import exchange
from tests.wire.texts import BAD, CLEAN

Event = dict[str, Any]

PLACE = {"item_id": "i", "output_index": 0, "content_index": 0}
CITED = {"type": "response.output_text.annotation.added", "annotation": {"title": BAD}, **PLACE}
END = {"type": "response.completed", "response": {"output": []}}


def said(text: str) -> Event:
    """Return an event with a piece of text."""
    return {"type": "response.output_text.delta", "delta": text, **PLACE}


def passing(events: list[Event]) -> list[Event]:
    """Return what leaves."""
    gate = ResponsesGate(exchange())
    left = [made for one in events for made in (*run(gate.taking(one)), *run(gate.catching_up()))]
    left += run(gate.finishing())
    gate.close()
    return left


@pytest.mark.parametrize(("text", "leaves"), [(CLEAN, True), (CLEAN + BAD, False)])
def test_a_citation_leaves_at_the_end_of_an_answer_that_ends_well(text: str, leaves: bool) -> None:
    """What it quotes stands beside the answer."""
    left = passing([said(text[:5]), CITED, said(text[5:]), END])
    assert (CITED in left) is leaves
    assert (left[-2:] == [CITED, END]) is leaves
    assert ("FORBIDDEN" in json.dumps(left)) is leaves


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.something.new", "text": BAD},
        {"type": "response.output_item.done", "output_index": 0, "item": {"type": "mcp_list_tools", "tools": [BAD]}},
        {"type": "response.content_part.added", "part": {"type": "output_audio", "data": "A"}, **PLACE},
    ],
    ids=lambda event: str(event["type"]),
)
def test_what_is_not_known_is_not_understood(event: Event) -> None:
    """And the error names nothing of it."""
    with pytest.raises(NotUnderstood) as caught:
        passing([event])
    assert "FORBIDDEN" not in str(caught.value)


def test_a_whole_response_that_is_cut_keeps_no_copy() -> None:
    """Neither in the text that some servers repeat, nor beside it."""
    part = {"type": "output_text", "text": CLEAN + BAD, "annotations": [{"title": BAD}], "logprobs": [{"token": BAD}]}
    call = {"type": "function_call", "name": "search", "arguments": "{}"}
    response = {"output": [{"type": "message", "content": [part]}, call], "output_text": CLEAN + BAD}
    (decision,) = run(judging(exchange(), response))
    assert decision.stopped
    assert "FORBIDDEN" not in json.dumps(response)
    assert [item["type"] for item in response["output"]] == ["message"]  # type: ignore[index]  # a list of items
