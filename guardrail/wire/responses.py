"""Events of OpenAI's responses, through one answer."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from guardrail.decision import Decision
from guardrail.waiting import Steps
from guardrail.wire.asked import call_of_item
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.event_gate import EventGate
from guardrail.wire.exchange import Exchange
from guardrail.wire.response_events import (
    Event,
    Place,
    Text,
    has_annotations,
    item_texts,
    part_of,
    place_of,
    response_texts,
    shown,
)
from guardrail.wire.summary import summary_of

_DELTAS = {
    "response.output_text.delta": False,
    "response.refusal.delta": False,
    "response.reasoning_text.delta": True,
    "response.reasoning_summary_text.delta": True,
}
"""Events with a piece of text, each with whether it is reasoning."""

_DONE = {
    "response.output_text.done": False,
    "response.refusal.done": False,
    "response.reasoning_text.done": True,
    "response.reasoning_summary_text.done": True,
}
_PARTS = {"response.content_part", "response.reasoning_summary_part"}
_ITEMS = {"response.output_item"}
_ENDS = ("response.completed", "response.incomplete", "response.failed")
_CALLS = tuple(
    f"response.{name}"
    for name in (
        "function_call_arguments",
        "mcp_call_arguments",
        "custom_tool_call_input",
        "code_interpreter_call_code",
    )
)
_ASIDE = ("response.output_text.annotation.added",)
"""Events with texts that stand beside the answer's: they leave behind it, so that it need not wait for them."""

_QUIET = (".created", ".in_progress", ".queued", ".searching", ".completed", ".generating", ".interpreting")


class ResponsesGate(EventGate):
    """The events of one response. One caller at a time.

    Text leaves token by token; from the first tool call on everything waits until the response has ended well. What
    repeats text as a whole leaves when all of that text is released.
    """

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._read: dict[Place, str] = {}
        self._sent_items: dict[int, Event] = {}
        self._sent_texts: dict[Place, str] = {}
        self._done_items: set[int] = set()
        self._open_items: dict[int, Event] = {}
        self._response: Event = {}
        self._number = -1

    def taking(self, event: Event) -> Steps[list[Any]]:
        """Take an event; return those that may leave.

        Raises:
            NotUnderstood: the event cannot be read.
        """
        yield from self._answer.opening()
        made = yield from self._taking(event, str(event.get("type")))
        return self._sent(made) + self._closing()

    def refusing(self, response: Event, decision: Decision) -> list[dict[str, Any]]:
        """Return the events of a response that is stopped before it has begun."""
        self._answer.refuse(decision)
        self._response = response
        return [self._numbered(type="response.created", response=response), *self._closing()]

    def finishing(self) -> Steps[list[Any]]:
        """Come to an end: the LLM has ended, or was ended; return the rest."""
        made = yield from self._finishing()
        return self._sent(made) + self._closing()

    def _taking(self, event: Event, kind: str) -> Steps[list[Any]]:
        if kind in _DELTAS:
            place, text = place_of(event), event["delta"]
            self._read[place] = self._read.get(place, "") + text
            return (yield from self._answer.reading(text, partial(shown, event), thinking=_DELTAS[kind]))
        if kind in _DONE:
            text = event["text"] if event.get("text") is not None else event["refusal"]
            return (yield from self._taking_whole(event, [(place_of(event), text, _DONE[kind])]))
        base, _, stage = kind.rpartition(".")
        if base in _PARTS:
            return (yield from self._taking_whole(event, [part_of(place_of(event), event["part"])]))
        if base in _ITEMS:
            return (yield from self._taking_item(event, event["output_index"], event["item"], stage == "done"))
        if base in _CALLS:
            return (yield from self._taking_call(event, stage == "done"))
        if kind in _ENDS:
            return (yield from self._taking_end(event))
        if kind in _ASIDE:
            self._answer.setting_aside(event)
            return []
        if kind == "error" or (kind.startswith("response.") and kind.endswith(_QUIET)):
            self._response = event.get("response") or self._response
            return (yield from self._taking_whole(event, response_texts(event.get("response"))))
        raise NotUnderstood("an event is of an unknown type")

    def _taking_whole(self, event: Event, texts: list[Text]) -> Steps[list[Any]]:
        """Read whole texts; the event leaves when all before it has."""
        made = yield from self._reading_whole(texts)
        if has_annotations(event):
            self._answer.holding(lambda _: event)
            return made
        return [*made, *self._answer.passing(lambda _: event)]

    def _reading_whole(self, texts: list[Text]) -> Steps[list[Any]]:
        """Read what of whole texts has not been read as deltas."""
        made: list[Any] = []
        for place, text, thinking in texts:
            before = self._read.get(place, "")
            if text == before:
                continue
            self._read[place] = text
            rest = text.removeprefix(before)
            made += yield from self._answer.reading(rest, lambda _: None, thinking=thinking, whole=True)
        return made

    def _taking_item(self, event: Event, index: int, item: Event, is_done: bool) -> Steps[list[Any]]:
        kind = str(item.get("type"))
        if kind in ("message", "reasoning"):
            return (yield from self._taking_whole(event, item_texts(index, item)))
        if not kind.endswith("_call"):
            raise NotUnderstood("an item is of an unknown type")
        self._answer.holding(lambda _: event)
        if is_done:
            self._open_items.pop(index, None)
            return (yield from self._called(index, item))
        self._open_items[index] = item
        return (yield from self._answer.calling(index, item.get("name") or kind, item.get("arguments") or ""))

    def _taking_call(self, event: Event, is_done: bool) -> Steps[list[Any]]:
        self._answer.holding(lambda _: event)
        index = event["output_index"]
        place = (index, "call", 0)
        before = self._read.get(place, "")
        whole = next(filter(None, (event.get(name) for name in ("arguments", "input", "code"))), before)
        text = whole.removeprefix(before) if is_done else event["delta"]
        self._read[place] = before + text
        return (yield from self._answer.calling(index, "", text))

    def _called(self, index: int, item: Event) -> Steps[list[Any]]:
        call = call_of_item(item)
        return (yield from self._answer.called(index, call.name, call.arguments))

    def _finishing(self) -> Steps[list[Any]]:
        """End the answer; items that were only begun are read as they began."""
        made = []
        for index, item in self._open_items.items():
            if not self.is_cut:
                made += yield from self._called(index, item)
        self._open_items.clear()
        return [*made, *(yield from self._answer.finishing())]

    def _taking_end(self, event: Event) -> Steps[list[Any]]:
        made = []
        for index, item in enumerate(event["response"].get("output") or ()):
            kind = str(item.get("type"))
            if kind in ("message", "reasoning"):
                made += yield from self._reading_whole(item_texts(index, item))
            elif not kind.endswith("_call"):
                raise NotUnderstood("an item is of an unknown type")
            elif index not in self._done_items:
                self._open_items.pop(index, None)
                made += yield from self._called(index, item)
            if self.is_cut:
                return made
        made += yield from self._finishing()
        return made if self.is_cut else [*made, event]

    def _sent(self, events: list[Any]) -> list[Any]:
        """Remember what the reader has seen."""
        sent = []
        for event in filter(None, events):
            kind = event["type"]
            self._number += 1
            sent.append({**event, "sequence_number": self._number} if "sequence_number" in event else event)
            if kind == "response.output_item.added":
                self._sent_items[event["output_index"]] = event["item"]
            elif kind == "response.output_item.done":
                self._done_items.add(event["output_index"])
            elif kind in _DELTAS:
                place = place_of(event)
                self._sent_texts[place] = self._sent_texts.get(place, "") + event["delta"]
        return sent

    def _closing(self) -> list[Any]:
        if not self.is_cut or self._is_closed or self._exchange.raises:
            return []
        self._is_closed = True
        text = self._exchange.closing_text(self._answer.decision)
        return [self._numbered(**fields) for fields in self._last_events(text)]

    def _last_events(self, text: str) -> Iterator[dict[str, Any]]:
        output = []
        if text and not any(item.get("type") == "message" for item in self._sent_items.values()):
            yield from self._new_message()
        for index, item in self._sent_items.items():
            place = {"item_id": item.get("id"), "output_index": index}
            content = []
            if index not in self._done_items and item.get("type") == "message":
                if text:
                    yield {
                        "type": "response.output_text.delta",
                        "content_index": 0,
                        "delta": text,
                        "logprobs": [],
                        **place,
                    }
                shown = self._sent_texts.get((index, "content", 0), "") + text
                content = [{"type": "output_text", "text": shown, "annotations": []}]
                yield {"type": "response.output_text.done", "content_index": 0, "text": shown, "logprobs": [], **place}
                yield {"type": "response.content_part.done", "content_index": 0, "part": content[0], **place}
            elif item.get("type") == "message":
                content = [
                    {"type": "output_text", "text": self._sent_texts.get((index, "content", 0), ""), "annotations": []}
                ]
            kept = {"id": item.get("id"), "type": item.get("type"), "status": "incomplete"}
            kept |= {"role": "assistant", "content": content} if kept["type"] == "message" else {"summary": []}
            output.append(kept)
            if index not in self._done_items:
                yield {"type": "response.output_item.done", "output_index": index, "item": kept}
        yield {"type": "response.incomplete", "response": self._incomplete(output)}

    def _new_message(self) -> Iterator[dict[str, Any]]:
        index = len(self._sent_items)
        item = {"id": "msg_guardrail", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        self._sent_items[index] = item
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        part = {"type": "output_text", "text": "", "annotations": []}
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        yield {"type": "response.content_part.added", "part": part, **place}

    def _incomplete(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "content_filter"},
            "output": output,
            "guardrail": summary_of(self._answer.decision),
        }

    def _numbered(self, **fields: Any) -> dict[str, Any]:
        self._number += 1
        return {**fields, "sequence_number": self._number}
