"""Which columns are judged, and what a row asks for."""

from typing import Any

import pytest

from guardrail import Check, ConfigurationError, Message, Role, ToolCall
from guardrail.scanning.columns import Columns, Target, UnreadableRow

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["id", "text", "label"], Columns(prompt="text", id="id")),
        (["question", "answer"], Columns(prompt="question", response="answer")),
        (["instruction", "output", "input"], Columns(prompt="instruction", response="output")),
        (["messages", "prompt", "id"], Columns(messages="messages", id="id")),
        (["conversations"], Columns(messages="conversations")),
        (["completion"], Columns(response="completion")),
    ],
)
def test_columns_are_found_by_their_usual_names(names: list[str], found: Columns) -> None:
    """Messages come first, since they say most."""
    assert Columns().among(names) == found


def test_named_columns_are_the_only_ones() -> None:
    """Who names a column gets no others beside it but the id."""
    assert Columns(prompt="label").among(["id", "label", "messages", "answer"]) == Columns(prompt="label", id="id")


@pytest.mark.parametrize("asked", [Columns(), Columns(prompt="nope"), Columns(prompt="label", id="nope")])
def test_columns_that_are_not_there_are_an_error(asked: Columns) -> None:
    """The error lists those that are."""
    with pytest.raises(ConfigurationError, match="label"):
        asked.among(["label"])


@pytest.mark.parametrize(
    ("values", "target", "conversation", "answer"),
    [
        ({"prompt": "q", "response": "a"}, None, "q", "a"),
        ({"prompt": "q", "response": "a"}, "prompt", "q", None),
        ({"prompt": "q", "response": None}, None, "q", None),
        ({"prompt": None, "response": "a"}, None, "", "a"),
        ({"messages": [USER, ASSISTANT]}, None, "q", "a"),
        ({"messages": [USER, ASSISTANT]}, "response", "q", "a"),
        ({"messages": [USER]}, None, "q", None),
        ({"messages": [USER], "response": "a"}, None, "q", "a"),
        ({"messages": '[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]'}, None, "q", "a"),
    ],
)
def test_a_row_asks_for_its_answer_or_its_prompt(
    values: dict[str, Any], target: Target | None, conversation: str, answer: str | None
) -> None:
    """The answer where there is one, unless the prompt is asked for."""
    columns = Columns("prompt", "response", "messages", target=target)
    check = columns.to_check(values)
    said = check.answer.content if isinstance(check.answer, Message) else check.answer
    assert (check.conversation, said) == ((Message(Role.USER, conversation),), answer)


def test_the_last_turn_of_an_assistant_is_judged_with_all_that_it_holds() -> None:
    """Reasoning, calls and what cannot be read are no less part of it than its text."""
    call = {"type": "function", "function": {"name": "shell", "arguments": "{}"}}
    turn = {"role": "assistant", "content": [{"type": "image_url"}], "reasoning_content": "r", "tool_calls": [call]}
    check = Columns(messages="messages").to_check({"messages": [USER, turn]})
    whole = Message(Role.ASSISTANT, "", "r", (ToolCall("shell", "{}"),), ("image_url",))
    assert check == Check((Message(Role.USER, "q"),), whole)


def test_the_prompt_of_a_whole_conversation_is_its_last_user_turn() -> None:
    """The answer behind it stays in the messages and is not judged."""
    check = Columns(messages="messages", target="prompt").to_check({"messages": [USER, ASSISTANT]})
    assert check.answer is None
    assert len(check.conversation) == 2


@pytest.mark.parametrize(
    ("values", "target", "said"),
    [
        ({}, None, "prompt: nothing to judge"),
        ({"prompt": 3}, None, "prompt: int, not text"),
        ({"response": ["secret"]}, None, "response: list, not text"),
        ({"prompt": "q"}, "response", "response: no answer"),
        ({"response": "a"}, "prompt", "prompt: nothing to judge"),
        ({"messages": []}, None, "messages: no user or tool message"),
        ({"messages": [{"role": "system", "content": "secret"}]}, None, "messages: no user or tool message"),
        ({"messages": ["secret"]}, None, "messages: str in place of a message"),
        ({"messages": [{"role": "secret", "content": ""}]}, None, "messages: a role that is none of"),
        ({"messages": [{"role": "user", "content": 7}]}, None, "messages: content must be text"),
        ({"messages": "secret"}, None, "messages: neither a list nor the JSON text of one"),
        ({"messages": '{"a": 1}'}, None, "messages: dict, not a list"),
        ({"messages": "[" * 100_000}, None, "messages: neither a list"),
        ({"messages": [USER]}, "response", "response: no answer"),
    ],
)
def test_a_row_with_nothing_to_judge_says_why_without_its_text(
    values: dict[str, Any], target: Target | None, said: str
) -> None:
    """The column and the type, never what stands there."""
    with pytest.raises(UnreadableRow) as caught:
        Columns("prompt", "response", "messages", target=target).to_check(values)
    assert str(caught.value).startswith(said)
    assert "secret" not in str(caught.value)
