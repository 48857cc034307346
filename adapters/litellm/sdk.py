"""LiteLLM's own calls with a guard around them: prompts, whole answers, streams, tool calls, several choices."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from copy import deepcopy
from inspect import signature
from typing import Any, Self

import litellm
from litellm.types.utils import Choices, Delta, Message, ModelResponse, ModelResponseStream, StreamingChoices

from guardrail.adapters.litellm.asking import repeated
from guardrail.adapters.litellm.logged import count_usage
from guardrail.adapters.litellm.requests import exchange_of
from guardrail.adapters.litellm.streaming import GatedStream, close_stream
from guardrail.adapters.litellm.wholes import judging
from guardrail.adapters.litellm.wire import dumped, unpacked
from guardrail.decision import Decision
from guardrail.guard import Guard
from guardrail.waiting import Wait, arun, run, wait
from guardrail.wire.admission import KeptResults, admitting
from guardrail.wire.chat import ChatGate
from guardrail.wire.exchange import Exchange
from guardrail.wire.gate import Gate
from guardrail.wire.summary import summary_of

_KEPT = KeptResults()


def guarded_completion(*args: Any, guard: Guard, **kwargs: Any) -> Any:
    """Call `litellm.completion` with a guard around it; the other arguments are its own.

    Returns:
        The answer as far as it may be seen; with `stream=True` an iterator, whose `close()` ends the LLM's connection,
        as a stop does.

    Raises:
        AnswerStopped: the prompt or the answer was stopped, and the policy raises.
    """
    call = _Call(guard, args, kwargs)
    admission = run(admitting(call.exchange, call.data, _KEPT, replaces=True))
    if admission.refusal:
        return call.refused(admission.refusal)
    response = litellm.completion(**call.data)
    if call.is_stream:
        return GuardedStream(call, response)
    return call.checked(response, run(judging(call.exchange, response, call.asking_again)))


async def guarded_acompletion(*args: Any, guard: Guard, **kwargs: Any) -> Any:
    """As `guarded_completion`, with `litellm.acompletion` and an asynchronous iterator that has `aclose()`."""
    call = _Call(guard, args, kwargs)
    admission = await arun(admitting(call.exchange, call.data, _KEPT, replaces=True))
    if admission.refusal:
        refused = call.refused(admission.refusal)
        return _one_by_one(refused) if call.is_stream else refused
    response = await litellm.acompletion(**call.data)
    if call.is_stream:
        return AsyncGuardedStream(call, response)
    return call.checked(response, await arun(judging(call.exchange, response, call.asking_again)))


async def _one_by_one(chunks: Iterator[Any]) -> AsyncGenerator[Any]:
    for chunk in chunks:
        yield chunk


class _Call:
    """One guarded call."""

    def __init__(self, guard: Guard, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        bound = signature(litellm.completion).bind(*args, **kwargs).arguments
        extra = bound.pop("kwargs", {})
        self.data: dict[str, Any] = {**bound, **extra}
        self.data["messages"] = [dict(message) for message in deepcopy(self.data.get("messages") or ())]
        self.is_stream = bool(self.data.get("stream"))
        self.exchange: Exchange = exchange_of(guard, self.data)
        options = self.data.get("stream_options") or {}
        self.wants_usage = bool(options.get("include_usage"))

    def refused(self, decision: Decision) -> Any:
        """Return the answer to a prompt that was stopped; the LLM is not asked."""
        if self.exchange.raises:
            raise self.exchange.exception(decision)
        text, model = self.exchange.closing_text(decision), str(self.data["model"])
        noted = {"guardrail": summary_of(decision)}
        if self.is_stream:
            delta = Delta(role="assistant", content=text, provider_specific_fields=noted)
            choice = StreamingChoices(index=0, delta=delta, finish_reason="content_filter")
            return (chunk for chunk in [ModelResponseStream(model=model, choices=[choice])])
        message = Message(role="assistant", content=text, provider_specific_fields=noted)
        return ModelResponse(model=model, choices=[Choices(message=message, finish_reason="content_filter")])

    def checked(self, response: Any, decisions: Sequence[Decision]) -> Any:
        """Return a whole answer that has been judged."""
        refusal = next((one for one in decisions if one.stopped or one.asks), None)
        if refusal and self.exchange.raises:
            raise self.exchange.exception(refusal)
        return response

    def asking_again(self, more: Sequence[Mapping[str, Any]]) -> Wait:
        """Return the call that asks the LLM to go on."""
        return wait(litellm.completion, litellm.acompletion, **self.again(more))

    def again(self, more: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the arguments of the call that asks the LLM to go on."""
        kept = {name: value for name, value in self.data.items() if name not in ("messages", "stream", "metadata")}
        return {**kept, **repeated(self.data, more), "stream": self.is_stream}


class GuardedStream(Iterator[Any]):
    """The chunks that the guard releases. One caller at a time; a context manager."""

    def __init__(self, call: _Call, source: Any) -> None:
        self._call = call
        self._source = source
        self._pack: Callable[[Any], Any] = unpacked({}).pack  # until the first chunk shows its form
        self._chunks = self._gate()

    def __next__(self) -> Any:
        return next(self._chunks)

    def close(self) -> None:
        """End the LLM's connection."""
        self._chunks.close()
        self._hang_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _gate(self) -> Generator[Any, None, None]:
        exchange = self._call.exchange
        gate = ChatGate(exchange, allows_repair=exchange.n_choices == 1)
        try:
            yield from self._attempt(gate)
            while gate.is_repairable:
                self._hang_up()
                self._source = litellm.completion(**self._call.again(gate.repairing()))
                yield from self._attempt(gate)
            refusal = next((answer.decision for answer in gate.answers.values() if answer.is_stopped), None)
            if refusal and exchange.raises:
                raise exchange.exception(refusal)
            if gate.is_cut and self._call.wants_usage:
                last = gate.counting(dumped(count_usage(self._call.data, gate)))
                yield from map(self._pack, [last] if last else [])
        finally:
            gate.close()
            self._hang_up()

    def _attempt(self, gate: ChatGate) -> Iterator[Any]:
        for chunk in self._source:
            piece, self._pack = unpacked(chunk)
            made = [*run(gate.taking(piece)), *run(gate.catching_up())]
            if gate.is_done:
                self._hang_up()
            yield from map(self._pack, made)
            if gate.is_done:
                break
        yield from map(self._pack, run(gate.finishing()))

    def _hang_up(self) -> None:
        below = getattr(self._source, "completion_stream", None)
        if callable(close := getattr(below, "close", None)):
            close()


class AsyncGuardedStream(AsyncIterator[Any]):
    """As `GuardedStream`, asynchronous."""

    def __init__(self, call: _Call, source: Any) -> None:
        self._call = call
        self._source = source
        self._chunks = GatedStream(call.exchange, source, self._count, self._ask_again).pieces()

    async def __anext__(self) -> Any:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """End the LLM's connection."""
        await self._chunks.aclose()
        await close_stream(self._source)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _count(self, gate: Gate) -> Any:
        return dumped(count_usage(self._call.data, gate)) if self._call.wants_usage else None

    async def _ask_again(self, more: list[dict[str, Any]]) -> AsyncIterator[Any]:
        self._source = await litellm.acompletion(**self._call.again(more))
        source: AsyncIterator[Any] = self._source
        return source
