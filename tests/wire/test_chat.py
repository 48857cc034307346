"""Chunks of odd shapes that servers send: nothing in them leaves unread."""

import json
from typing import Any

import pytest

from guardrail import Action, Policy
from guardrail.conversation import Message, Role
from guardrail.waiting import run
from guardrail.wire.chat import ChatGate
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange
from tests.service.servers import marker_guard
from tests.wire.texts import BAD, CLEAN

Chunk = dict[str, Any]


def exchange(policy: Policy | None = None, **details: Any) -> Exchange:
    """Return what a guard that stops at the marker is asked."""
    return Exchange(marker_guard(policy or Policy()), (Message(Role.USER, "How?"),), None, **details)


def chunk(delta: Chunk, finish_reason: str | None = None, **fields: Any) -> Chunk:
    """Return a chunk; keywords stand beside its choices."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **fields}


def passing(chunks: list[Chunk], policy: Policy | None = None) -> list[Chunk]:
    """Return what leaves."""
    gate = ChatGate(exchange(policy))
    left = [made for one in chunks for made in (*run(gate.taking(one)), *run(gate.catching_up()))]
    left += run(gate.finishing())
    gate.close()
    return left


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"citations": [BAD]}, id="chunk"),
        pytest.param({"x_groq": {"said": BAD}}, id="vendor"),
        pytest.param({"obfuscation": BAD}, id="padding"),
    ],
)
def test_what_stands_beside_a_stopped_choice_stays_back(extra: Chunk) -> None:
    """Of an answer that ends well it leaves, but for padding."""
    for text, leaves in ((CLEAN + BAD, False), (CLEAN, "obfuscation" not in extra)):
        left = passing([chunk({"content": text}, **extra), chunk({}, "stop")])
        assert ("FORBIDDEN" in json.dumps(left)) is leaves


def test_fields_of_a_choice_leave_at_its_end() -> None:
    """Probabilities name tokens that may not leave, and servers add fields of their own."""
    choice = {"index": 0, "delta": {"content": CLEAN}, "logprobs": {"content": [{"token": "x"}]}, "stop_reason": 5}
    left = passing([{**chunk({}), "choices": [choice]}, chunk({}, "stop")])
    found = [one for made in left for one in made["choices"] if "logprobs" in one]
    assert [(one["logprobs"], one["stop_reason"]) for one in found] == [(choice["logprobs"], 5)]
    assert left[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_role_is_said_once() -> None:
    """Some servers repeat it with every piece."""
    left = passing([chunk({"role": "assistant", "content": text}) for text in ("Bread", " needs")])
    assert [one["delta"].get("role") for made in left for one in made["choices"]].count("assistant") == 1


def test_texts_that_only_look_alike_are_both_read() -> None:
    """A refusal with the answer's own words is another text."""
    left = passing([chunk({"content": "No.", "refusal": "No."}), chunk({}, "stop")])
    deltas = [one["delta"] for made in left for one in made["choices"]]
    said = {name: "".join(delta.get(name, "") for delta in deltas) for name in ("content", "refusal")}
    assert said == {"content": "No.", "refusal": "No."}


def test_what_cannot_be_read_is_what_the_policy_says() -> None:
    """Audio in an answer."""
    spoken = chunk({"audio": {"data": "AAAA"}})
    assert "AAAA" in json.dumps(passing([spoken, chunk({}, "stop")]))
    with pytest.raises(NotUnderstood, match="audio or images"):
        passing([spoken], Policy(unreadable=Action.STOP))


@pytest.mark.parametrize("name", ["id", "object", "model", "system_fingerprint", "service_tier", "created"])
@pytest.mark.parametrize("value", [[BAD], {"x": BAD}, BAD * 20])
def test_a_name_tag_that_could_carry_text_is_none(name: str, value: Any) -> None:
    """They are passed on unread, and therefore short."""
    with pytest.raises(NotUnderstood, match="a name in a chunk"):
        passing([{**chunk({"content": CLEAN}), name: value}])


def test_how_long_text_was_held_is_told() -> None:
    """Once for each piece of text that left whole."""
    told: list[float] = []
    gate = ChatGate(exchange(on_release=told.append))
    for one in (chunk({"content": CLEAN}), chunk({"content": BAD})):
        run(gate.taking(one))
    run(gate.finishing())
    assert len(told) == 1
    assert told[0] > 0
