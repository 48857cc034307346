"""Answers that come as a whole, in the four formats: what is read of them, and what is left of a stopped one."""

import json
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.utils import EmbeddingResponse, ModelResponse, ModelResponseStream, TextCompletionResponse

from guardrail.adapters.litellm.answer import Answer
from guardrail.adapters.litellm.chat import TEXTS, call_texts, refuse_unreadable, strip
from guardrail.adapters.litellm.errors import NotUnderstood
from guardrail.adapters.litellm.exchange import Exchange, refuses
from guardrail.adapters.litellm.records import summary_of
from guardrail.adapters.litellm.requests import call_of_item
from guardrail.adapters.litellm.response_events import get, refuse_unknown
from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.repair import Attempt, next_attempt
from guardrail.waiting import Steps, Wait

AskAgain = Callable[[list[dict[str, Any]]], Wait]
"""Asks the LLM to go on, with these messages behind the others."""

_HARMLESS = (EmbeddingResponse,)
"""Answers without a text."""


@dataclass(slots=True)
class Part:
    """A text of an answer.

    Attributes:
        text: all of it.
        thinking: whether it is reasoning.
        put: sets it.
    """

    text: str
    thinking: bool
    put: Callable[[str], None]


@dataclass(slots=True)
class Whole:
    """A whole answer.

    Attributes:
        cut: takes what else could carry text out of a stopped answer, marks it as stopped, and appends a text.
        parts: its texts, in order.
        calls: its tool calls.
    """

    cut: Callable[[str, Decision], None]
    parts: list[Part] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)


def wholes_of(response: Any) -> list[Whole]:
    """Return the answers in a response.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    if isinstance(response, ModelResponse) and not isinstance(response, ModelResponseStream):
        return [_chat(choice) for choice in response.choices]
    if isinstance(response, TextCompletionResponse):
        return [_text(choice) for choice in response.choices]
    if isinstance(response, ResponsesAPIResponse):
        return [_responses(response)]
    if isinstance(response, MutableMapping) and response.get("type") == "message":
        return [_messages(response)]
    if isinstance(response, _HARMLESS):
        return []
    raise NotUnderstood(f"the answer, {type(response).__name__}, is of no format that it can read")


def judging(exchange: Exchange, response: Any, ask_again: AskAgain | None = None) -> Steps[list[Decision]]:
    """Judge the answers in a response, which are cut in place to what may be seen.

    Args:
        exchange: that the response answers.
        response: the response.
        ask_again: asks the LLM to go on with a chat completion's only answer; None cannot repair it.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    wholes = wholes_of(response)
    refuse_unreadable(
        exchange, *(getattr(choice, "message", None) for choice in getattr(response, "choices", None) or ())
    )
    can_repair = ask_again is not None and len(wholes) == 1 and isinstance(response, ModelResponse)
    decisions = []
    for whole in wholes:
        decision, attempt = yield from _judging_one(exchange, whole, None, can_repair=can_repair)
        while attempt and ask_again:
            before, again = attempt, (yield ask_again(exchange.asking_again(attempt, decision.category)))
            response.choices = again.choices
            (whole_again,) = wholes_of(response)
            decision, attempt = yield from _judging_one(exchange, whole_again, before, can_repair=True)
            if not decision.stopped:
                message = response.choices[0].message
                message.content = before.answer + (message.content or "")
        if (refuses(decision) or decision.n_repairs) and not isinstance(
            response, MutableMapping | ResponsesAPIResponse
        ):
            strip(response)
        decisions.append(decision)
    return decisions


def _judging_one(
    exchange: Exchange, whole: Whole, before: Attempt | None, *, can_repair: bool
) -> Steps[tuple[Decision, Attempt | None]]:
    """Judge an answer; a stopped one is cut, unless there is to be another attempt, which is returned."""
    shown = ["" for _ in whole.parts]
    with Answer[tuple[int, str]](exchange, before) as answer:
        leaving: list[tuple[int, str]] = []
        yield from answer.opening()
        for i, part in enumerate(whole.parts):
            if not answer.is_stopped:
                leaving += yield from answer.reading(part.text, partial(_numbered, i), thinking=part.thinking)
        for i, call in enumerate(whole.calls):
            if not answer.is_stopped:
                leaving += yield from answer.called(i, call.name, call.arguments)
        leaving += yield from answer.finishing()
    decision = answer.decision
    attempt = next_attempt(exchange.guard.policy, decision, before, answer.released) if can_repair else None
    for i, text in leaving:
        shown[i] += text
    if answer.is_stopped and not attempt:
        closing = exchange.closing_text(decision)
        for part, text in zip(whole.parts, shown, strict=True):
            part.put("" if closing else text)
        whole.cut(closing, decision)
    return decision, attempt


def _numbered(number: int, text: str) -> tuple[int, str]:
    return number, text


def _chat(choice: Any) -> Whole:
    message = choice.message
    whole = Whole(partial(_cut_chat, choice))
    for name, thinking in TEXTS.items():
        if text := getattr(message, name, None):
            whole.parts.append(Part(text, thinking, partial(setattr, message, name)))
    for call in message.tool_calls or ():
        whole.calls.append(ToolCall(*call_texts(call)))
    if function := message.function_call:
        whole.calls.append(ToolCall(function.name or "", function.arguments or ""))
    return whole


_KEPT = {*TEXTS, "role"}


def _cut_chat(choice: Any, closing: str, decision: Decision) -> None:
    message = choice.message
    for name, value in message.model_dump().items():
        if name not in _KEPT and value is not None:
            setattr(message, name, None)
    message.provider_specific_fields = {"guardrail": summary_of(decision)}
    message.content = closing or message.content or ""
    choice.finish_reason = "content_filter"
    if getattr(choice, "logprobs", None):
        choice.logprobs = None


def _text(choice: Any) -> Whole:
    def cut(closing: str, _decision: Decision) -> None:
        choice.text, choice.finish_reason, choice.logprobs = closing or choice.text, "content_filter", None

    return Whole(cut, [Part(choice.text or "", False, partial(setattr, choice, "text"))])


_BLOCK = ("type", "signature")


def _messages(response: MutableMapping[str, Any]) -> Whole:
    def cut(closing: str, decision: Decision) -> None:
        kept = [block for block in response["content"] if block["type"] in ("text", "thinking")]
        kept = [{name: block[name] for name in (*_BLOCK, block["type"]) if name in block} for block in kept]
        kept = [block for block in kept if block[block["type"]]]
        response["content"] = [{"type": "text", "text": closing}] if closing else kept
        response.update(stop_reason="refusal", stop_sequence=None, guardrail=summary_of(decision))

    whole = Whole(cut)
    for block in response.get("content") or ():
        kind = block.get("type")
        if kind in ("text", "thinking"):
            whole.parts.append(Part(block[kind], kind == "thinking", partial(block.__setitem__, kind)))
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            whole.calls.append(ToolCall(block["name"], json.dumps(block.get("input"), ensure_ascii=False)))
        elif kind != "redacted_thinking":
            raise NotUnderstood(f"a content block is of the unknown type {kind!r}")
    return whole


def _responses(response: ResponsesAPIResponse) -> Whole:
    def cut(closing: str, _decision: Decision) -> None:
        output: list[Any] = [item for item in response.output if get(item, "type") in ("message", "reasoning")]
        response.output = output
        for part in _text_parts(output):
            for name in ("annotations", "logprobs"):
                if get(part, name):
                    _setter(part, name)([])
        texts = [part for part in _text_parts(output) if get(part, "type") == "output_text"]
        if closing and texts:
            _setter(texts[0], "text")(closing)
        response.status = "incomplete"
        response.incomplete_details = {"reason": "content_filter"}  # type: ignore[assignment]  # typed as a class of another library

    whole = Whole(cut)
    for item in response.output:
        kind = str(get(item, "type"))
        if kind.endswith("_call"):
            said = item if isinstance(item, dict) else item.model_dump(exclude_none=True)
            whole.calls.append(call_of_item(said))
        elif kind not in ("message", "reasoning"):
            raise NotUnderstood(f"an item is of the unknown type {kind!r}")
    for part in _text_parts(response.output):
        refuse_unknown(part)
        name = "refusal" if get(part, "type") == "refusal" else "text"
        thinking = get(part, "type") in ("summary_text", "reasoning_text")
        whole.parts.append(Part(get(part, name) or "", thinking, _setter(part, name)))
    return whole


def _text_parts(output: Sequence[Any]) -> Iterator[Any]:
    for item in output:
        for name in ("summary", "content"):
            yield from get(item, name) or ()


def _setter(holder: Any, name: str) -> Callable[[Any], None]:
    return partial(holder.__setitem__, name) if isinstance(holder, dict) else partial(setattr, holder, name)
