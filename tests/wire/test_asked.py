"""What is read of a request: nothing that an LLM would see is passed over, and what cannot be read is said."""

import json
from typing import Any

import pytest

from guardrail import Action, EngineError, Guard, Policy
from guardrail.conversation import Role
from guardrail.waiting import run
from guardrail.wire.admission import Admission, KeptResults, admitting
from guardrail.wire.asked import Asked
from guardrail.wire.exchange import Exchange
from tests.service.servers import failing_guard, marker_guard
from tests.wire.texts import BAD, CLEAN

STOPS = Policy(unreadable=Action.STOP)
IMAGE = {"type": "image_url", "text": CLEAN, "image_url": {"url": "data:,"}}


def admit(data: dict[str, Any], guard: Guard | None = None, kept: KeptResults | None = None) -> Admission:
    """Judge a request; poisoned results are replaced in it."""
    exchange = Exchange(guard or marker_guard(), tuple(Asked.of(data).messages), None)
    return run(admitting(exchange, data, kept or KeptResults(), replaces=True))


def with_result(content: Any) -> dict[str, Any]:
    """Return a request with a tool's result."""
    return {"messages": [{"role": "user", "content": "How?"}, {"role": "tool", "content": content}]}


@pytest.mark.parametrize("form", ["messages", "input"])
def test_a_text_does_not_make_an_image_readable(form: str) -> None:
    """Both are in one part: the text is read, and the policy says what becomes of the rest."""
    for text, policy in ((CLEAN, STOPS), (BAD, Policy())):
        data = {form: [{"role": "user", "content": [{**IMAGE, "text": text}]}]}
        assert admit(data, marker_guard(policy)).refusal
    (message,) = Asked.of({form: [{"role": "user", "content": [IMAGE]}]}).messages
    assert (message.content, message.unreadable) == (CLEAN, ("image_url",))


@pytest.mark.parametrize("kind", ["text", "input_text", "output_text", "summary_text", "reasoning_text", None])
def test_a_part_of_text_is_read_whole(kind: str | None) -> None:
    """By its type, or without one."""
    (message,) = Asked.of({"messages": [{"role": "user", "content": [{"type": kind, "text": CLEAN}]}]}).messages
    assert (message.content, message.unreadable) == (CLEAN, ())


@pytest.mark.parametrize("image", [IMAGE, {"type": "image", "source": {}}])
def test_an_image_that_a_tool_brought_is_what_the_policy_says(image: dict[str, Any]) -> None:
    """Withheld where it stops; a result with the same text and no image is another one."""
    guard, kept = marker_guard(STOPS), KeptResults()
    for parts, passes in (([], True), ([image], False), ([], True)):
        data = with_result([{"type": "text", "text": CLEAN}, *parts])
        before = json.dumps(data)
        assert admit(data, guard, kept).refusal is None
        assert (json.dumps(data) == before) is passes
        assert "image" not in json.dumps(data)


def test_a_failure_is_not_told_as_a_poisoned_result() -> None:
    """The request ends with the failure; nothing in it is called withheld."""
    data = with_result(CLEAN)
    refusal = admit(data, failing_guard(EngineError("down"))).refusal
    assert refusal
    assert refusal.failure
    assert data == with_result(CLEAN)


@pytest.mark.parametrize("prompts", [[BAD, [1, 2]], [[1, 2], BAD], [1, BAD]])
def test_tokens_hide_no_text_beside_them(prompts: list[Any]) -> None:
    """Texts among several prompts are read; the others cannot be."""
    assert admit({"prompt": prompts}).refusal
    (message,) = Asked.of({"prompt": prompts}).messages
    assert (message.content, message.unreadable) == (BAD, ("token_ids",))


@pytest.mark.parametrize(("prompt", "n"), [("a", 1), (["a", "b"], 2), (["a", [1]], 2), ([[1], [2]], 2), ([1, 2], 1)])
def test_each_prompt_has_its_answers(prompt: Any, n: int) -> None:
    """A list of numbers is one prompt."""
    assert Asked.of({"prompt": prompt, "n": 3}).n_choices == 3 * n


def test_a_stored_prompt_hides_no_input() -> None:
    """It stands in the request beside what is judged."""
    data = {"input": CLEAN, "prompt": {"id": "stored"}}
    assert admit(data, marker_guard(STOPS)).refusal
    assert [message.content for message in Asked.of(data).prompt(with_system=False)] == [CLEAN]
    assert admit({"prompt": {"id": "stored"}}, marker_guard(STOPS)).refusal


def test_each_of_several_inputs_is_read() -> None:
    """Those of a request for embeddings."""
    (message,) = Asked.of({"input": [BAD, CLEAN, [1]]}).prompt(with_system=False)
    assert (message.content, message.unreadable) == (f"{BAD}\n{CLEAN}", ("token_ids",))


SYSTEM, USER = {"role": "system", "content": BAD}, {"role": "user", "content": "How?"}
HARMLESS = {"role": "developer", "content": CLEAN}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"messages": [SYSTEM]}, id="alone"),
        pytest.param({"messages": [SYSTEM, HARMLESS]}, id="first"),
        pytest.param({"messages": [SYSTEM, {"role": "tool", "content": CLEAN}]}, id="result"),
        pytest.param({"messages": [USER, SYSTEM, HARMLESS]}, id="behind"),
        pytest.param({"instructions": BAD}, id="instructions"),
    ],
)
def test_system_text_is_judged_where_the_policy_says_so(data: dict[str, Any]) -> None:
    """Wherever it stands; else it passes."""
    assert admit(data, marker_guard(Policy(judge_system=True))).refusal
    assert not admit(data).refusal
    assert Role.TOOL not in [message.role for message in Asked.of(data).prompt(with_system=True)]
