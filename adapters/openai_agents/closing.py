"""How an answer ends that was stopped: with what was shown of it, in the form of a complete answer.

A response that is not "completed" makes the SDK raise an error of its own, and the released text would be lost.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

from agents.items import TResponseOutputItem, TResponseStreamEvent
from agents.models.fake_id import FAKE_RESPONSES_ID
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response import IncompleteDetails

from guardrail.adapters.openai_agents.texts import DELTAS
from guardrail.decision import Decision
from guardrail.records import record_values


class Outgoing:
    """Numbers the events that leave, and remembers what it takes to end the answer early."""

    def __init__(self) -> None:
        self._n_events = 0
        self._response: Response | None = None
        self._done: list[TResponseOutputItem] = []
        self._id: str | None = None
        self._index = 0
        self._text = ""

    def number(self, event: Any) -> TResponseStreamEvent:
        """Return an event as it leaves."""
        if event.type in DELTAS and not DELTAS[event.type]:
            self._id, self._index = event.item_id, event.output_index
            self._text += event.delta
        elif event.type == "response.output_item.done" and event.item.type == "message":
            self._done.append(event.item)
            self._id, self._index, self._text = None, event.output_index + 1, ""
        elif getattr(event, "response", None):
            self._response = event.response
        numbered: TResponseStreamEvent = event.model_copy(update={"sequence_number": self._n_events})
        self._n_events += 1
        return numbered

    def closing(self, text: str, decision: Decision) -> Iterator[TResponseStreamEvent]:
        """Yield the events that end a stopped answer: the message that was cut, the policy's message, the response."""
        if self._id or not (self._done or text):
            yield from self._message(message_item(self._text, self._id), is_open=self._id is not None)
        if text:
            yield from self._message(message_item(text), is_open=False)
        response = self._response or _response()
        changes: dict[str, Any] = {
            "id": FAKE_RESPONSES_ID,  # by the real one a provider would go on from its own copy
            "output": list(self._done),
            "status": "incomplete",
            "incomplete_details": IncompleteDetails(reason="content_filter"),
        }
        response = with_record(response, decision, **changes)
        yield self.number(ResponseCompletedEvent(type="response.completed", response=response, sequence_number=0))

    def _message(self, item: ResponseOutputMessage, *, is_open: bool) -> Iterator[TResponseStreamEvent]:
        index = self._index
        if not is_open:
            empty = item.model_copy(update={"content": [], "status": "in_progress"})
            yield self.number(
                ResponseOutputItemAddedEvent(
                    type="response.output_item.added", item=empty, output_index=index, sequence_number=0
                )
            )
            yield self.number(
                ResponseTextDeltaEvent(
                    type="response.output_text.delta", delta=_text(item), item_id=item.id, output_index=index,
                    content_index=0, logprobs=[], sequence_number=0,
                )
            )  # fmt: skip
        yield self.number(
            ResponseOutputItemDoneEvent(
                type="response.output_item.done", item=item, output_index=index, sequence_number=0
            )
        )


def message_item(text: str, item_id: str | None = None) -> ResponseOutputMessage:
    """Return a message that was cut."""
    content = ResponseOutputText(type="output_text", text=text, annotations=[])
    return ResponseOutputMessage(
        id=item_id or FAKE_RESPONSES_ID, type="message", role="assistant", status="incomplete", content=[content]
    )


def with_record(response: Response, decision: Decision, **changes: Any) -> Response:
    """Return a response with a decision's record in its metadata."""
    metadata = {**(response.metadata or {}), "guardrail": json.dumps(record_values(decision))}
    return response.model_copy(update={"metadata": metadata, **changes})


def _response() -> Response:
    """Return a response for an answer that never began."""
    return Response(
        id=FAKE_RESPONSES_ID, object="response", created_at=time.time(), model="", output=[], tools=[],
        tool_choice="auto", parallel_tool_calls=False,
    )  # fmt: skip


def _text(item: ResponseOutputMessage) -> str:
    return "".join(part.text for part in item.content if part.type == "output_text")
