"""Odd shapes of answers and requests that a provider, a bridge or a client may send: nothing in them goes unread."""

import json
import traceback
from typing import Any

import pytest
from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import Choices, Message, ModelResponse, TextChoices, TextCompletionResponse

from guardrail import Action, EngineError, Guard, OnStop, Policy
from guardrail.adapters.litellm import NotUnderstood, guarded_completion
from guardrail.adapters.litellm.requests import exchange_of
from guardrail.adapters.litellm.wholes import judging
from guardrail.adapters.litellm.wire import dumped
from guardrail.testing import FailingEngine, raising
from guardrail.waiting import arun, run
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.chat import ChatGate
from tests.adapters.litellm.conftest import BAD_PROMPT
from tests.adapters.litellm.gatekeepers import make_guard
from tests.adapters.litellm.test_wire import chunk, gate
from tests.wire.texts import BAD, CLEAN, dig

# litellm's own types make pydantic warn, once, when the first of them is built

RISKY = json.dumps({"q": BAD}, ensure_ascii=False)


def piece(name: str, arguments: str, **tags: Any) -> dict[str, Any]:
    """Return a piece of a tool call, at the index that LiteLLM gives those without one."""
    return {"index": 0, "type": "function", "function": {"name": name, "arguments": arguments}, **tags}


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([piece("search", "", id="a"), piece("pay", "{}", id="b")], id="ids"),
        pytest.param([piece("search", "{}"), piece("pay", "{}")], id="no-ids"),
        pytest.param([piece("pay", "{", id="a"), piece("pay", "}", id="a")], id="repeated-name"),
    ],
)
async def test_a_tool_keeps_its_rule_however_its_name_comes(calls: list[dict[str, Any]]) -> None:
    """Calls that share an index are told apart, and a repeated name is one name: `pay` always asks."""
    out = await gate([*(chunk(tool_calls=[call]) for call in calls), chunk(finish_reason="tool_calls")])
    assert [c.finish_reason for one in out for c in one.choices if c.finish_reason] == ["content_filter"]
    assert not [c for one in out for c in one.choices if c.delta.tool_calls]


async def test_a_call_whose_id_changes_with_every_piece_is_one_call() -> None:
    """A new id begins a call only with a name."""
    calls = [piece("search", '{"q": ', id="a"), piece("", '"bread"}', id="b")]
    out = await gate([*(chunk(tool_calls=[call]) for call in calls), chunk(finish_reason="tool_calls")])
    assert [c.finish_reason for one in out for c in one.choices if c.finish_reason] == ["tool_calls"]


TEXT = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": CLEAN + BAD}}
SAID = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": CLEAN + BAD}
PART = {"type": "output_text", "text": CLEAN, "annotations": [{"type": "url_citation", "title": BAD}]}


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([TEXT, {**DELTA, "copy": BAD}], id="event"),
        pytest.param([TEXT, {**DELTA, "delta": {**DELTA["delta"], "copy": BAD}}], id="delta"),  # type: ignore[dict-item]  # a dict
        pytest.param([{**TEXT, "content_block": {"type": "text", "text": "", "copy": BAD}}, DELTA], id="block"),
        pytest.param([TEXT, {"type": "content_block_stop", "index": 0, "content_block": {"text": BAD}}], id="stop"),
        pytest.param([{**SAID, "snapshot": BAD}], id="response"),
        pytest.param(
            [{**SAID, "delta": CLEAN}, {**SAID, "type": "response.content_part.done", "part": PART}, SAID], id="part"
        ),
    ],
)
async def test_no_other_field_shows_what_is_withheld(pieces: list[Any]) -> None:
    """What stands beside a text in an event leaves with it only if it is known to repeat none."""
    assert "FORBIDDEN" not in "".join(dig(await gate(pieces)))


def item(stage: str, **fields: Any) -> dict[str, Any]:
    """Return an event with an item of a response."""
    return {"type": f"response.output_item.{stage}", "output_index": 0, "item": {"id": "i", "name": "s", **fields}}


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([item("added", type="custom_tool_call", input=BAD)], id="custom"),
        pytest.param([item("added", type="local_shell_call", action={"command": [BAD]})], id="shell"),
        pytest.param(
            [
                item("added", type="function_call", arguments=""),
                {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": RISKY},
            ],
            id="arguments-done",
        ),
    ],
)
@pytest.mark.parametrize("end", [[], [{"type": "response.completed", "response": {"output": []}}]])
async def test_a_call_that_is_never_done_is_read(pieces: list[Any], end: list[Any]) -> None:
    """What came of it is judged at the end of the response."""
    out = await gate([*pieces, *end])
    assert out[-1]["type"] == "response.incomplete"
    assert "FORBIDDEN" not in "".join(dig(out))


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([{"id": {"x": BAD}, "choices": []}], id="chunk"),
        pytest.param([b'data: {"id": {"x": "FORBIDDEN"}, "choices": []}\n\n'], id="frame"),
        pytest.param([{**TEXT, "content_block": {"type": "text", "text": [BAD]}}], id="text-is-a-list"),
        pytest.param([{**SAID, "type": "response.content_part.done", "part": {"type": "output_audio"}}], id="part"),
        pytest.param([{"type": "response.completed", "response": {"output": [{"type": "x", "text": BAD}]}}], id="item"),
    ],
)
async def test_a_traceback_names_nothing_of_what_was_not_understood(pieces: list[Any]) -> None:
    """LiteLLM logs errors with their causes; pydantic's would show the piece."""
    with pytest.raises(NotUnderstood) as caught:
        await gate(pieces)
    assert "FORBIDDEN" not in "".join(traceback.format_exception(caught.value, limit=0))


PROBABILITY = {"token": BAD, "logprob": -1.0, "bytes": [], "top_logprobs": []}


def response(**fields: Any) -> ResponsesAPIResponse:
    """Return a response with one text, which is cut."""
    part = {"type": "output_text", "text": CLEAN + BAD, "annotations": [], **fields}
    output = [{"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [part]}]
    return ResponsesAPIResponse(id="r", created_at=1, output=output)  # type: ignore[arg-type]  # as dicts come


def chat(message: dict[str, Any] | None = None, **fields: Any) -> ModelResponse:
    """Return a chat completion, which is cut."""
    return ModelResponse(choices=[Choices(message=Message(content=CLEAN + BAD, **(message or {})), **fields)])


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(response(logprobs=[PROBABILITY]), id="response-logprobs"),
        pytest.param(response(annotations=[{"type": "url_citation", "title": BAD}]), id="response-annotations"),
        pytest.param(ModelResponse(choices=chat().choices, citations=[BAD]), id="chat"),
        pytest.param(chat(note=BAD), id="choice"),
        pytest.param(chat(provider_specific_fields={"note": BAD}), id="choice-provider"),
        pytest.param(chat({"provider_specific_fields": {"note": BAD}}), id="message"),
        pytest.param(TextCompletionResponse(choices=[TextChoices(text=CLEAN + BAD, note=BAD)]), id="text"),
        pytest.param(
            {"type": "message", "content": [{"type": "text", "text": CLEAN + BAD, "citations": [{"cited_text": BAD}]}]},
            id="citations",
        ),
        pytest.param(
            {"type": "message", "content": [{"type": "tool_use", "name": "function_call", "input": {"q": BAD}}]},
            id="a-tool-named-function-call",
        ),
    ],
)
def test_a_whole_answer_that_is_cut_keeps_no_copy(answer: Any) -> None:
    """Neither beside its texts, nor beside its choices."""
    (decision,) = run(judging(exchange_of(make_guard(), {"messages": [{"role": "user", "content": "How?"}]}), answer))
    assert decision.stopped
    held = answer if isinstance(answer, dict) else answer.model_dump(warnings=False)
    assert "FORBIDDEN" not in json.dumps(held, ensure_ascii=False, default=str)


def test_an_empty_field_hides_no_other() -> None:
    """LiteLLM takes of a request what its endpoint reads; empty messages beside it change nothing."""
    for name in ("input", "prompt"):
        data = {name: BAD_PROMPT, "messages": []}
        assert run(admitting(exchange_of(make_guard(), data), data, KeptResults(), replaces=True)).refusal


def test_a_request_that_asks_in_two_ways_is_refused() -> None:
    """Which one the LLM gets depends on the endpoint; a stored prompt beside an input is no second way."""
    harmless = [{"role": "user", "content": "hi"}]
    for data in ({"messages": harmless, "input": BAD_PROMPT}, {"messages": harmless, "prompt": BAD_PROMPT}):
        with pytest.raises(ValueError, match="which of them"):
            exchange_of(make_guard(), data)
    exchange = exchange_of(make_guard(), {"input": "hi", "prompt": {"id": "stored"}})
    assert "hi" in [message.content for message in exchange.messages]


def test_a_number_of_choices_that_is_none_is_one() -> None:
    """A client may send anything; the gate counts choices."""
    for n in ("2", 0, None):
        assert exchange_of(make_guard(), {"messages": [], "n": n}).n_choices == 1


async def test_only_the_first_choice_is_repaired() -> None:
    """An LLM that numbers its only choice otherwise is cut."""
    exchange = exchange_of(make_guard(on_stop=OnStop.REPAIR), {"messages": [{"role": "user", "content": "How?"}]})
    chat_gate = ChatGate(exchange, allows_repair=True)
    await arun(chat_gate.taking(dumped(chunk(index=1, content=CLEAN + BAD))))
    out = await arun(chat_gate.catching_up())
    assert not chat_gate.is_repairable
    assert out[-1]["choices"][0]["finish_reason"] == "content_filter"


def test_a_failure_says_nothing_of_a_tool_result() -> None:
    """One that passed unread, as the policy has it at a failure, is read when the engine is back."""
    whole = make_guard()
    down, is_down = raising(EngineError("down")), True
    engine = FailingEngine(whole.engine, at_step=0, breakage=lambda logits: down(logits) if is_down else logits)
    guard = Guard(engine, whole.reader, policy=Policy(on_failure=Action.ALLOW))
    said = [{"role": "user", "content": "hi"}, {"role": "tool", "content": BAD}]
    kept = KeptResults()
    for is_down in (True, False):
        data = {"messages": [dict(message) for message in said]}
        run(admitting(exchange_of(guard, data), data, kept, replaces=True))
        assert ("FORBIDDEN" in json.dumps(data)) is is_down


def test_kept_results_hold_no_text_that_passed() -> None:
    """Of a judged result its decision is remembered, not the result."""
    kept = KeptResults()
    data = {"messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": CLEAN}]}
    run(admitting(exchange_of(make_guard(), data), data, kept, replaces=True))
    (screened,) = kept._screened.values()
    assert (screened.text, screened.decision.tokens) == ("", ())


def test_replaced_results_inside_a_turn_leave_the_callers_messages_alone() -> None:
    """The SDK's wrapper works on a copy, also of nested parts."""
    part = {"type": "tool_result", "tool_use_id": "a", "content": BAD}
    messages = [{"role": "user", "content": [part]}, {"role": "user", "content": BAD_PROMPT}]
    guarded_completion("openai/m", messages, guard=make_guard())
    assert part["content"] == BAD
