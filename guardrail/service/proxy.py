"""One request through the proxy: its prompt is judged, the LLM asked, and every token judged before it leaves."""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
from starlette.responses import Response

from guardrail.decision import Decision
from guardrail.errors import StreamError
from guardrail.service.errors import ServiceError, refuse_failure
from guardrail.service.event_stream import EventStream
from guardrail.service.upstream import Arriving, Upstream, UpstreamError, passed_on, refuse_error, unreadable
from guardrail.waiting import Wait, arun, wait
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.asked import Asked
from guardrail.wire.errors import AnswerStopped, NotUnderstood
from guardrail.wire.exchange import Exchange, refuses
from guardrail.wire.frames import DONE, Frames, Unpacked, frame
from guardrail.wire.gate import Gate
from guardrail.wire.refused import Format, refused, refused_stream
from guardrail.wire.streaming import GatedStream
from guardrail.wire.summary import summary_of
from guardrail.wire.wholes import judging

_ODD = (AttributeError, KeyError, TypeError, ValueError, StreamError)
"""What reading JSON of another shape than OpenAI's raises."""


class Stopped(ServiceError):
    """A prompt or an answer was stopped, and the policy raises."""

    def __init__(self, exchange: Exchange, decision: Decision) -> None:
        super().__init__(exchange.guard.policy.stop_message(decision.category), code="content_filter")
        self._summary = summary_of(decision)

    @property
    def envelope(self) -> dict[str, Any]:
        """OpenAI's form, with the stop's summary."""
        return {"error": {**super().envelope["error"], "guardrail": self._summary}}


class Proxied:
    """One request."""

    def __init__(
        self, form: Format, body: dict[str, Any], exchange: Exchange, upstream: Upstream, headers: Mapping[str, str]
    ) -> None:
        """Take a request.

        Args:
            form: its format.
            body: the request; poisoned tool results are replaced in it.
            exchange: what is asked, and who guards it.
            upstream: the LLM.
            headers: of the client.
        """
        self._form = form
        self._body = body
        self._exchange = exchange
        self._upstream = upstream
        self._headers = headers

    async def answer(self, kept: KeptResults, keep_alive_s: float) -> Response:
        """Return the response; what the LLM sends says whether it is a stream.

        Args:
            kept: tool results that have been judged.
            keep_alive_s: seconds without a frame after which a stream gets a comment.

        Raises:
            ServiceError: there is no answer, or none that may be passed on.
        """
        admission = await arun(admitting(self._exchange, self._body, kept, replaces=True))
        if admission.refusal:
            return self._refused(admission.refusal, keep_alive_s)
        # the LLM answers what stands there now, poisoned results replaced
        self._exchange = replace(self._exchange, messages=tuple(Asked.of(self._body).messages))
        try:
            response = await self._ask(self._body)
            headers = passed_on(response)
            if _is_stream(response):
                source = Arriving(response)
                return EventStream(self._frames(source), keep_alive_s, close=source.aclose, headers=headers)
            return _json(await self._whole(response), headers)
        except UpstreamError as error:
            made = (await self._read_error(error)).response()
            made.headers.update(error.headers)
            return made

    def _refused(self, decision: Decision, keep_alive_s: float) -> Response:
        refuse_failure(decision)
        if self._exchange.raises:
            raise Stopped(self._exchange, decision)
        model, now = self._body.get("model"), int(time.time())
        asked = self._form, self._exchange, decision, model if isinstance(model, str) else "unknown", now
        if self._body.get("stream") is not True:
            return _json(refused(*asked))
        return EventStream(self._said(refused_stream(*asked)), keep_alive_s, close=_nothing)

    async def _said(self, pieces: Sequence[Mapping[str, Any]]) -> AsyncGenerator[bytes]:
        for piece in pieces:
            yield frame(piece)
        if self._form is not Format.RESPONSES:
            yield DONE

    async def _whole(self, response: httpx.Response) -> dict[str, Any]:
        """Return a whole answer as far as it may be seen."""
        held = await self._upstream.read(response)
        refuse_error(held)
        ask_again = self._asking_again if self._form is Format.CHAT else None
        try:
            decisions = await arun(judging(self._exchange, held, ask_again))
        except NotUnderstood as error:
            raise unreadable(error.message) from None
        except _ODD as error:
            raise unreadable(f"the upstream's answer is not as it should be ({type(error).__name__})") from None
        for refusal in filter(refuses, decisions):
            refuse_failure(refusal)
            if self._exchange.raises:
                raise Stopped(self._exchange, refusal)
        return held

    async def _frames(self, source: Arriving) -> AsyncGenerator[bytes]:
        """Yield what may leave of a stream; an error is its last frame."""
        ask_again = self._ask_for_stream if self._form is Format.CHAT else None
        stream = _UpstreamStream(self._exchange, source, _tell_failure, ask_again)
        try:
            async with aclosing(stream.pieces()) as pieces:
                async for piece in pieces:
                    yield piece
        except AnswerStopped as stop:
            yield self._last(Stopped(self._exchange, stop.decision))
        except NotUnderstood as error:
            yield self._last(unreadable(error.message))
        except UpstreamError as error:
            yield self._last(await self._read_error(error))
        except ServiceError as error:
            yield self._last(error)
        else:
            if self._form is not Format.RESPONSES:
                yield DONE

    def _last(self, error: ServiceError) -> bytes:
        """Return an error's frame, in which clients of the format look for it."""
        if self._form is not Format.RESPONSES:
            return frame(error.envelope)
        told = {"code": error.code, "message": error.message, "param": error.param, "sequence_number": 0}
        return frame({"type": "error", **told, **error.envelope})

    async def _ask(self, body: Mapping[str, Any]) -> httpx.Response:
        return await self._upstream.ask(self._form.value, body, self._headers)

    def _asking_again(self, more: Sequence[Mapping[str, Any]]) -> Wait:
        async def ask() -> dict[str, Any]:
            return await self._upstream.read(await self._ask(self._again(more)))

        return wait(_nobody, ask)

    async def _ask_for_stream(self, more: Sequence[Mapping[str, Any]]) -> AsyncIterator[bytes]:
        return Arriving(await self._ask(self._again(more)))

    def _again(self, more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {**self._body, "messages": [*self._body["messages"], *more]}

    async def _read_error(self, error: UpstreamError) -> ServiceError:
        """Return an error of the upstream; its message may quote what the LLM wrote, and is judged as an answer."""
        exchange = self._exchange
        decision = await exchange.guard.acheck_response(
            exchange.messages, error.unread, conversation_id=exchange.id, tenant=exchange.tenant
        )
        withheld = "the upstream failed; its message was withheld"
        return error.told(withheld if refuses(decision) else error.unread or "the upstream gave no reason")


class _UpstreamFrames(Frames):
    """Frames of an upstream, among which errors are told apart."""

    def take(self, data: bytes) -> Iterator[Unpacked]:
        for unpacked in super().take(data):
            refuse_error(unpacked.piece)
            yield unpacked


class _UpstreamStream(GatedStream):
    """A stream of an upstream."""

    def _new_reader(self) -> Frames:
        return _UpstreamFrames()


async def _tell_failure(gate: Gate) -> None:
    """Let a stop through; a guard that failed is told of as an error, never as a stop.

    Raises:
        ServiceError: it failed.
    """
    for answer in gate.answers.values():
        if answer.is_stopped:
            refuse_failure(answer.decision)


def _is_stream(response: httpx.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/event-stream")


def _json(held: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    return Response(json.dumps(held), media_type="application/json", headers=dict(headers or {}))


async def _nothing() -> None:
    """Free nothing."""


def _nobody() -> Any:
    raise RuntimeError("the proxy is asynchronous")
