"""An answer on its way through the gate, streamed or whole."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from agents import ModelResponse
from agents.items import TResponseOutputItem, TResponseStreamEvent
from openai.types.responses import ResponseCompletedEvent

from guardrail.adapters.openai_agents.closing import Outgoing, message_item, with_record
from guardrail.adapters.openai_agents.exchange import Exchange
from guardrail.adapters.openai_agents.passage import Passage
from guardrail.adapters.openai_agents.records import trace
from guardrail.adapters.openai_agents.texts import DELTAS, Reading, item_texts, may_show
from guardrail.ahead import Ahead
from guardrail.decision import Decision
from guardrail.stream import Stream

_FAILED = ("response.incomplete", "response.failed", "response.error", "error")
"""Events after which the SDK raises; they end an answer without completing it."""

_CALL_TEXTS = ("arguments", "input", "code")
"""What calls and their events say, by name."""


async def gate_whole(exchange: Exchange, gate: Stream, response: ModelResponse) -> ModelResponse:
    """Return a whole answer as far as the gate releases it.

    Raises:
        ContentStopped: the answer was stopped, and the policy raises.
    """
    passage: Passage[bool] = Passage(gate)
    leaving = []
    for item in response.output:
        for _, text, thinking in item_texts(0, item):
            leaving += await passage.take(thinking, [(text, thinking)])
    leaving += await passage.end()
    items, decision = await _judge(exchange, gate.decision, response.output)
    if items is not None:
        return replace(response, output=items)
    answer = "".join(shown for thinking, shown, _ in leaving if not thinking)
    return replace(response, output=[message_item(exchange.closing_text(decision) or answer)], response_id=None)


async def _judge(
    exchange: Exchange, decision: Decision, items: Sequence[TResponseOutputItem]
) -> tuple[list[TResponseOutputItem] | None, Decision]:
    """Return the items as they may leave and the decision on the answer; None for items when it is stopped."""
    judged, ending = (None, None) if decision.stopped else await exchange.ajudge_calls(items)
    trace(ending or decision)
    return None if ending else judged, ending or decision


class StreamedAnswer:
    """Events of an answer as far as the gate releases them.

    Texts leave piece by piece. All events of tool calls, a provider's own tools among them, wait for the end of the
    text, so that nothing follows a stop; they leave once the call has been read whole.
    """

    def __init__(self, exchange: Exchange, gate: Stream) -> None:
        self._exchange = exchange
        self._gate = gate
        self._passage: Passage[Any] = Passage(gate)
        self._reading = Reading()
        self._outgoing = Outgoing()
        self._held: dict[int, list[Any]] = {}
        self._completed: ResponseCompletedEvent | None = None

    async def gated(self, events: AsyncIterator[TResponseStreamEvent]) -> AsyncGenerator[TResponseStreamEvent]:
        """Yield what is released; at last, when the LLM's stream is closed, the decision's consequences.

        Raises:
            ContentStopped: the answer was stopped, and the policy raises; what was released has been yielded before.
        """
        failed: TResponseStreamEvent | None = None
        async with Ahead(events) as arrivals:
            async for event, more in arrivals:
                if event.type in _FAILED:
                    failed = event
                    break
                taken = await self._take(event)
                for ready in taken if more else chain(taken, self._shown(await self._passage.catch_up())):
                    yield ready
                if self._completed or self._gate.is_stopped:
                    break
        for ready in self._shown(await self._passage.end()):
            yield ready
        if failed and not self._gate.is_stopped:
            yield self._outgoing.number(_emptied(failed))
        elif self._completed or self._gate.is_stopped:
            for ready in await self._ending():
                yield ready

    async def _take(self, event: Any) -> Iterator[TResponseStreamEvent]:
        if self._is_held(event):
            self._held.setdefault(event.output_index, []).append(event)
            return iter(())
        if not may_show(event):
            return iter(())
        if event.type == "response.completed":
            self._completed = event
        elif hasattr(event, "response"):
            event = _emptied(event)
        return self._shown(await self._passage.take(event, self._reading.unread(event)))

    def _is_held(self, event: Any) -> bool:
        item = getattr(event, "item", None)
        is_call = item is not None and item.type not in ("message", "reasoning")
        return is_call or getattr(event, "output_index", None) in self._held

    def _shown(self, leaving: Sequence[tuple[Any, str, bool]]) -> Iterator[TResponseStreamEvent]:
        for event, text, is_whole in leaving:
            if event.type in DELTAS:
                yield self._outgoing.number(_piece(event, text, is_split=text != event.delta))
            elif is_whole and event is not self._completed:
                yield self._outgoing.number(event)

    async def _ending(self) -> list[TResponseStreamEvent]:
        """Return the events of the calls and the last one, or those that end a stopped answer."""
        completed = self._completed
        held = [event.item for group in self._held.values() for event in group if _ends_item(event)]
        items = completed.response.output if completed else []
        judged, decision = await _judge(self._exchange, self._gate.decision, items or held)
        if judged is None or completed is None:
            return list(self._outgoing.closing(self._exchange.closing_text(decision), decision))
        response = with_record(completed.response, decision, output=judged if items else [])
        last = completed.model_copy(update={"response": response})
        calls = self._calls({_key(item): item for item in judged})
        return [self._outgoing.number(event) for event in (*calls, last)]

    def _calls(self, judged: Mapping[str, TResponseOutputItem]) -> Iterator[Any]:
        """Yield the events of the calls that were judged; pieces only where they are pieces of what was judged."""
        for group in self._held.values():
            keys = [_key(event.item) for event in group if _ends_item(event)]
            if not keys or keys[0] not in judged:
                continue
            item: Any = judged[keys[0]]
            is_same = _tells_of(group, item)
            for event in group:
                if _ends_item(event):
                    yield event.model_copy(update={"item": item})
                elif event.type == "response.output_item.added" and item.type == "function_call":
                    yield event.model_copy(update={"item": item.model_copy(update={"arguments": ""})})
                elif is_same:
                    yield event


def _tells_of(group: Sequence[Any], item: Any) -> bool:
    """Whether the events of a call say what the call does, and nothing else: a backend may contradict itself."""
    ended = next(event.item for event in group if _ends_item(event))
    pieces = "".join(event.delta for event in group if hasattr(event, "delta"))
    wholes = [getattr(event, name) for event in group for name in _CALL_TEXTS if hasattr(event, name)]
    said = [getattr(item, name) for name in _CALL_TEXTS if hasattr(item, name)]
    return bool(ended == item and all(text in said for text in (pieces, *wholes) if text))


def _ends_item(event: Any) -> bool:
    return bool(event.type == "response.output_item.done")


def _key(item: Any) -> str:
    return str(getattr(item, "call_id", None) or item.id)


def _piece(event: Any, text: str, *, is_split: bool) -> Any:
    """Return a delta that shows this text; probabilities of tokens leave with a whole one only."""
    changes: dict[str, Any] = {"delta": text}
    if is_split and hasattr(event, "logprobs"):
        changes["logprobs"] = []
    return event.model_copy(update=changes)


def _emptied(event: Any) -> Any:
    """Return an event without a copy of the answer."""
    response = getattr(event, "response", None)
    return event.model_copy(update={"response": response.model_copy(update={"output": []})}) if response else event
