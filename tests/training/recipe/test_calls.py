"""What tells calls apart: equal calls are one question, and every field of a call is part of it."""

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardrail.conversation import Message, Role, ToolCall
from guardrail.training.recipe.calls import Call
from tests.strategies import texts

MESSAGES = st.builds(Message, st.sampled_from(Role), texts(3), st.none() | texts(2))
CALLS = st.builds(
    Call,
    model=st.just("m"),
    form=st.sampled_from(["chat", "completion", "guard"]),
    messages=st.lists(MESSAGES, max_size=3).map(tuple),
    prompt=texts(3),
    n=st.integers(1, 9),
    sample=st.integers(0, 9),
    max_tokens=st.integers(1, 4096),
    temperature=st.floats(0, 2) | st.integers(0, 2),
    top_p=st.floats(0, 1) | st.integers(0, 1),
    stop=st.lists(texts(1), max_size=2).map(tuple),
    schema=st.none() | st.just({"type": "object"}),
)

CALL = Call("m", messages=(Message(Role.USER, "Hi"),))
OTHERS: dict[str, Any] = {
    "form": "guard", "messages": (Message(Role.USER, "Hi."),), "prompt": "x", "n": 2, "sample": 1, "max_tokens": 1025,
    "temperature": 0.5, "top_p": 0.9, "stop": ("\n",), "schema": {"type": "object"},
}  # fmt: skip


@given(CALLS, CALLS)
def test_calls_have_one_key_exactly_if_they_are_equal(one: Call, other: Call) -> None:
    """Also where numbers are equal and written otherwise."""
    assert (one.key("a") == other.key("a")) is (one == other)
    assert one.key("a") == replace(one).key("a")
    assert one.key("a") != one.key("b")


@pytest.mark.parametrize("name", OTHERS)
def test_every_field_is_part_of_the_key(name: str) -> None:
    """Another value is another question."""
    assert replace(CALL, **{name: OTHERS[name]}).key("a") != CALL.key("a")


def test_no_field_is_forgotten() -> None:
    """The test above knows all of them; the model's name alone stands for itself: two names may mean one model."""
    assert set(OTHERS) | {"model"} == {field.name for field in fields(Call)}
    assert replace(CALL, model="other").key("a") == CALL.key("a")


@pytest.mark.parametrize(
    "message",
    [
        Message(Role.SYSTEM, "Hi"),
        Message(Role.USER, "Hi", "hm"),
        Message(Role.USER, "Hi", tool_calls=(ToolCall("f", "{}"),)),
    ],
)
def test_all_of_a_message_is_part_of_the_key(message: Message) -> None:
    """Its role, its thinking and its calls too."""
    assert replace(CALL, messages=(message,)).key("a") != CALL.key("a")


def test_the_order_of_a_schemas_keys_does_not_matter() -> None:
    """The same schema is the same question."""
    one, other = {"type": "object", "title": "A"}, {"title": "A", "type": "object"}
    assert replace(CALL, schema=one).key("a") == replace(CALL, schema=other).key("a")
