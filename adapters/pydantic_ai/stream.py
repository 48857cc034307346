"""A streamed answer that shows only what the gate has released."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import Any

from pydantic_ai.messages import (
    FinishReason,
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    ModelResponseStreamEvent,
    NativeToolCallPart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
)
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.usage import RequestUsage

from guardrail.adapters.pydantic_ai.exchange import Exchange, with_record
from guardrail.ahead import Ahead
from guardrail.decision import Decision
from guardrail.repair import Attempt, next_attempt
from guardrail.stream import Stream

Events = Iterator[ModelResponseStreamEvent]

Ask = Callable[[list[ModelMessage]], AbstractAsyncContextManager[StreamedResponse]]
"""Asks the LLM, with further messages behind the history."""

_Source = TextPart | TextPartDelta | ThinkingPart | ThinkingPartDelta


@dataclass(eq=False)
class _Piece:
    """A piece of text or reasoning on its way out.

    Attributes:
        key: names the part that it belongs to.
        source: the part or delta that brought it.
        text: what has not left yet.
        thinking: whether the guard reads it as reasoning before the answer.
    """

    key: int
    source: _Source
    text: str
    thinking: bool = False


class GuardedStream(StreamedResponse):
    """The answer of another stream, as far as the gate has released it.

    Text and reasoning leave piece by piece. Everything else (tool calls, the results of a provider's own tools, files)
    waits for the end of the text, so that nothing follows a stop; calls leave once they have been read whole.

    Attributes:
        stop_message: the policy's message, once it was shown behind a stopped answer.
    """

    def __init__(
        self, ask: Ask, inner: StreamedResponse, exchange: Exchange, gate: Stream, parameters: ModelRequestParameters
    ) -> None:
        """Gate an answer.

        Args:
            ask: asks the LLM again, for a repair.
            inner: the answer.
            exchange: the request.
            gate: reads the answer; the caller closes it.
            parameters: of the request.
        """
        super().__init__(parameters)
        self._ask = ask
        self._inner = inner
        self._exchange = exchange
        self._gate = gate
        self._arrivals: Ahead[ModelResponseStreamEvent] | None = None
        self._attempt: Attempt | None = None
        self._spent = RequestUsage()
        self._is_answering = False
        self._said: list[tuple[str, bool]] = []
        self._waiting: deque[_Piece] = deque()
        self._keys: dict[int, int] = {}
        self._new_key = count()
        self._whole: ModelResponse | None = None
        self.stop_message: TextPart | None = None

    async def _get_event_iterator(self) -> AsyncIterator[ModelResponseStreamEvent]:
        async with aclosing(self._gated()) as events:
            async for event in events:
                yield event
        policy = self._exchange.guard.policy
        while attempt := next_attempt(policy, self._gate.decision, self._attempt, self._said):
            again = self._exchange.asking_again(attempt, self._gate.decision.category)
            self._attempt = attempt
            self._spent += self._inner.usage
            async with self._ask(again) as self._inner:
                with await self._exchange.aopen_stream(attempt) as self._gate:
                    async with aclosing(self._gated()) as events:
                        async for event in events:
                            yield event
        async for event in self._ending(self._gate.decision):
            yield event

    async def leave(self) -> None:
        """Ask the LLM for no more: nobody reads on."""
        if self._arrivals:
            await self._arrivals.aclose()

    async def _gated(self) -> AsyncGenerator[ModelResponseStreamEvent]:
        """Pass one attempt at the answer through the gate; a stop ends the LLM's stream."""
        self._keys.clear()
        async with Ahead(aiter(self._inner)) as self._arrivals:
            async for event, more in self._arrivals:
                piece = self._take(event)
                released = await self._gate.afeed(piece.text, thinking=piece.thinking, more=True) if piece else ""
                for ready in self._release(released if more else released + await self._gate.afeed("")):
                    yield ready
                if self._gate.is_stopped:
                    with suppress(NotImplementedError):  # a model that cannot cancel is closed when its context is left
                        await self._inner.cancel()
                    break
        for ready in self._release(await self._gate.afinish()):
            yield ready
        self._waiting.clear()

    async def _ending(self, decision: Decision) -> AsyncIterator[ModelResponseStreamEvent]:
        """Let out what waited for the end of the text, or say why it does not."""
        parts: list[ModelResponsePart] = []
        if not decision.stopped:
            parts, stopping = await self._judge_calls()
            decision = stopping or decision
        if decision.stopped or decision.asks:
            if text := self._exchange.closing_text(decision):
                self.stop_message = TextPart(text)
                yield self._parts_manager.handle_part(vendor_part_id=None, part=self.stop_message)
            self._whole = self._rewritten("content_filter", decision)
            return
        for part in parts:
            if not isinstance(part, TextPart | ThinkingPart):
                yield self._parts_manager.handle_part(vendor_part_id=None, part=part)
        inner = self._inner.get()
        if self._attempt:
            self._whole = self._rewritten(inner.finish_reason, decision)
        else:
            self._whole = replace(inner, parts=parts, metadata=with_record(inner.metadata, decision))

    async def _judge_calls(self) -> tuple[list[ModelResponsePart], Decision | None]:
        """Return the answer's parts with its calls as they may leave, or the decision on the call that ends it."""
        parts: list[ModelResponsePart] = []
        before = self._parts_manager.get_parts()  # all text, earlier attempts' too
        for part in self._inner.get().parts:
            if isinstance(part, ToolCallPart | NativeToolCallPart):
                call, decision = await self._exchange.ajudge_call(before, part)
                if self._exchange.is_ended_by(part, decision):
                    return [], decision
                parts.append(call)
                before.append(call)
            else:
                parts.append(part)
        return parts, None

    def _take(self, event: ModelResponseStreamEvent) -> _Piece | None:
        """Queue what an event brings for the gate to read; None for what waits or is made anew."""
        if isinstance(event, PartStartEvent):
            self._keys[event.index] = next(self._new_key)
            source: object = event.part
        else:
            source = event.delta if isinstance(event, PartDeltaEvent) else None
        if not isinstance(event, PartStartEvent | PartDeltaEvent) or not isinstance(source, _Source):
            return None
        piece = _Piece(self._keys[event.index], source, _text(source))
        if piece.text:
            # The guard's format has one think block, in front: later reasoning is read as answer.
            self._is_answering |= isinstance(source, TextPart | TextPartDelta)
            piece.thinking = not self._is_answering
        self._waiting.append(piece)
        return piece

    def _release(self, text: str) -> Events:
        """Show released text, and the metadata of pieces that have left whole."""
        while self._waiting:
            piece = self._waiting[0]
            shown, text = text[: len(piece.text)], text[len(piece.text) :]
            piece.text = piece.text[len(shown) :]
            if shown or not piece.text:
                yield from self._show(piece, shown)
            if piece.text:
                return
            self._waiting.popleft()

    def _show(self, piece: _Piece, text: str) -> Events:
        self._said.append((text, piece.thinking))
        source, is_whole = piece.source, not piece.text
        common: dict[str, Any] = {
            "vendor_part_id": piece.key,
            "content": text,
            "id": getattr(source, "id", None),
            "provider_name": source.provider_name,
            "provider_details": source.provider_details if is_whole else None,
        }
        if isinstance(source, TextPart | TextPartDelta):
            citations = source.citations if isinstance(source, TextPart) else source.citations_delta
            yield from self._parts_manager.handle_text_delta(**common, citations=citations if is_whole else None)
        else:
            signature = source.signature if isinstance(source, ThinkingPart) else source.signature_delta
            yield from self._parts_manager.handle_thinking_delta(**common, signature=signature if is_whole else None)

    def _rewritten(self, finish_reason: FinishReason | None, decision: Decision) -> ModelResponse:
        """Return what was shown as a response; without ids, by which a provider would put its own copy in its place."""
        shown = self._parts_manager.get_parts()
        parts = [replace(part, id=None) if isinstance(part, TextPart | ThinkingPart) else part for part in shown]
        return ModelResponse(
            parts,
            usage=self.usage,
            model_name=self.model_name,
            timestamp=self.timestamp,
            provider_name=self.provider_name,
            provider_url=self.provider_url,
            finish_reason=finish_reason,
            metadata=with_record(None, decision),
        )

    def get(self) -> ModelResponse:
        """Return what was shown so far."""
        return self._whole or super().get()

    async def close_stream(self) -> None:
        await self._inner.close_stream()

    def get_stream_cancel_errors(self) -> tuple[type[BaseException], ...]:
        return self._inner.get_stream_cancel_errors()

    @property
    def usage(self) -> RequestUsage:
        """What the LLM reports, over all attempts."""
        return self._spent + self._inner.usage

    @property
    def model_name(self) -> str:
        return self._inner.model_name

    @property
    def provider_name(self) -> str | None:
        return self._inner.provider_name

    @property
    def provider_url(self) -> str | None:
        return self._inner.provider_url

    @property
    def timestamp(self) -> datetime:
        return self._inner.timestamp


def _text(source: _Source) -> str:
    if isinstance(source, TextPart | ThinkingPart):
        return source.content
    return source.content_delta or ""
