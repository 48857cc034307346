"""Whole answers: what is read of them, and what is left of a stopped one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from guardrail.conversation import ToolCall
from guardrail.decision import Decision
from guardrail.repair import Attempt, next_attempt
from guardrail.waiting import Steps, Wait
from guardrail.wire.answer import Answer
from guardrail.wire.asked import call_of_item
from guardrail.wire.chat import KNOWN, TEXTS, call_texts, refuse_unreadable, texts_of
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange, refuses
from guardrail.wire.response_events import refuse_unknown
from guardrail.wire.summary import summary_of

Held = dict[str, Any]

AskAgain = Callable[[list[dict[str, Any]]], Wait]
"""Asks the LLM to go on, with these messages behind the others; gives a whole completion."""


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


def wholes_of(response: Held) -> list[Whole]:
    """Return the answers in a completion or a response.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
    """
    if isinstance(response.get("choices"), list):
        return [_chat(choice) if "message" in choice else _text(choice) for choice in response["choices"]]
    if isinstance(response.get("output"), list):
        return [_responses(response)]
    raise NotUnderstood("the answer is of no format that it can read")


def judging(
    exchange: Exchange,
    response: Held,
    ask_again: AskAgain | None = None,
    read: Callable[[Held], list[Whole]] = wholes_of,
) -> Steps[list[Decision]]:
    """Judge the answers in a response, which are cut in place to what may be seen.

    Args:
        exchange: that the response answers.
        response: the response.
        ask_again: asks the LLM to go on with a chat completion's only answer; None cannot repair it.
        read: finds the answers.

    Raises:
        NotUnderstood: it is of no format that the guard reads.
        StreamError: a text in it is none, or reasoning stands behind the answer.
    """
    wholes = read(response)
    choices: list[Held] = response.get("choices") or []
    refuse_unreadable(exchange, *(choice["message"] for choice in choices if "message" in choice))
    can_repair = ask_again is not None and len(wholes) == 1 and len(choices) == 1 and "message" in choices[0]
    decisions = []
    for whole in wholes:
        decision, attempt = yield from _judging_one(exchange, whole, None, can_repair=can_repair)
        while attempt and ask_again:
            before, again = attempt, (yield ask_again(exchange.asking_again(attempt, decision.category)))
            response["choices"] = again["choices"]
            (whole_again,) = read(response)
            decision, attempt = yield from _judging_one(exchange, whole_again, before, can_repair=True)
            if not decision.stopped:
                message = response["choices"][0]["message"]
                message["content"] = before.answer + (message.get("content") or "")
        if is_changed(decision) and choices:
            _strip(response)
        decisions.append(decision)
    return decisions


def is_changed(decision: Decision) -> bool:
    """Whether an answer is no more what the LLM wrote."""
    return refuses(decision) or decision.n_repairs > 0


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


def _chat(choice: Held) -> Whole:
    message = choice["message"]

    def put(names: tuple[str, ...], text: str) -> None:
        message.update(dict.fromkeys(names, text))

    def cut(closing: str, decision: Decision) -> None:
        for name in set(message) - {*TEXTS, "role"}:
            del message[name]
        message["content"] = closing or message.get("content") or ""
        choice.update(finish_reason="content_filter", logprobs=None, guardrail=summary_of(decision))

    whole = Whole(cut, [Part(text, thinking, partial(put, names)) for names, text, thinking in texts_of(message)])
    if choice.get("text"):  # of the other format: whoever reads it would see it
        whole.parts.append(_text_part(choice))
    whole.calls += [ToolCall(*call_texts(call)) for call in message.get("tool_calls") or ()]
    if function := message.get("function_call"):
        whole.calls.append(ToolCall(function.get("name") or "", function.get("arguments") or ""))
    return whole


def _text(choice: Held) -> Whole:
    def cut(closing: str, decision: Decision) -> None:
        choice.update(text=closing or choice["text"], finish_reason="content_filter", logprobs=None)
        choice["guardrail"] = summary_of(decision)

    return Whole(cut, [_text_part(choice)])


def _text_part(choice: Held) -> Part:
    return Part(choice["text"] or "", False, partial(choice.__setitem__, "text"))


def _strip(completion: Held) -> None:
    """Take all from a completion that says something besides its choices' messages and texts."""
    for holder, kept in ((completion, KNOWN), *((choice, _OF_CHOICE) for choice in completion["choices"])):
        for name in set(holder) - kept:
            del holder[name]


_OF_CHOICE = {"index", "message", "text", "finish_reason", "logprobs", "guardrail"}
"""Fields of a choice in which nothing is left unread."""


def _responses(response: Held) -> Whole:
    def cut(closing: str, decision: Decision) -> None:
        output = [item for item in response["output"] if item.get("type") in ("message", "reasoning")]
        parts = list(_text_parts(output))
        for part in parts:
            part |= {name: [] for name in ("annotations", "logprobs") if part.get(name)}
        texts = [part for part in parts if part.get("type") == "output_text"]
        if closing and texts:
            texts[0]["text"] = closing
        elif closing:
            output.append(_closing_message(closing))
        response.pop("output_text", None)  # some servers repeat all text here, as OpenAI's client does for itself
        response.update(output=output, status="incomplete", incomplete_details={"reason": "content_filter"})
        response["guardrail"] = summary_of(decision)

    whole = Whole(cut)
    for item in response["output"]:
        kind = str(item.get("type"))
        if kind.endswith("_call"):
            whole.calls.append(call_of_item(item))
        elif kind not in ("message", "reasoning"):
            raise NotUnderstood("an item is of an unknown type")
    for part in _text_parts(response["output"]):
        refuse_unknown(part)
        name = "refusal" if part["type"] == "refusal" else "text"
        thinking = part["type"] in ("summary_text", "reasoning_text")
        whole.parts.append(Part(part.get(name) or "", thinking, partial(part.__setitem__, name)))
    return whole


def _closing_message(text: str) -> Held:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": "msg_guardrail", "type": "message", "role": "assistant", "status": "incomplete", "content": [part]}


def _text_parts(output: Sequence[Mapping[str, Any]]) -> Iterator[Held]:
    for item in output:
        for name in ("summary", "content"):
            yield from item.get(name) or ()
