"""Whole answers of odd shapes: nothing in them passes unread."""

import json
from typing import Any

import pytest

from guardrail.conversation import Message, Role
from guardrail.waiting import run
from guardrail.wire.exchange import Exchange
from guardrail.wire.wholes import judging
from tests.service.servers import marker_guard
from tests.wire.texts import BAD, CLEAN


def judged(choice: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Return whether a choice is stopped, and what is left of it."""
    response = {"choices": [{"index": 0, "finish_reason": "stop", **choice}]}
    exchange = Exchange(marker_guard(), (Message(Role.USER, "How?"),), None)
    (decision,) = run(judging(exchange, response))
    return decision.stopped, response["choices"][0]


@pytest.mark.parametrize(("said", "text"), [(CLEAN, BAD), (BAD, CLEAN), (None, BAD)])
def test_a_choice_of_two_formats_is_read_in_both(said: str | None, text: str) -> None:
    """A client reads one of them."""
    stopped, left = judged({"message": {"role": "assistant", "content": said}, "text": text})
    assert stopped
    assert "FORBIDDEN" not in json.dumps(left)


def test_a_harmless_choice_of_two_formats_passes_as_it_is() -> None:
    """Reading changes nothing."""
    choice = {"message": {"role": "assistant", "content": CLEAN}, "text": CLEAN}
    stopped, left = judged(choice)
    assert not stopped
    assert {name: left[name] for name in choice} == choice
