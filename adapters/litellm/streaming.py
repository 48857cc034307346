"""Runs a stream of the gateway or the SDK through the guard, and closes the LLM's connection at a stop."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any

from litellm import CustomStreamWrapper
from litellm.types.utils import ModelResponseStream, TextCompletionResponse

from guardrail.adapters.litellm.errors import NotUnderstood
from guardrail.adapters.litellm.exchange import Exchange
from guardrail.adapters.litellm.wire import Gate, Unpacked, Unpacker, gate_for
from guardrail.ahead import Ahead
from guardrail.errors import StreamError
from guardrail.waiting import arun

OnCut = Callable[[Gate], Awaitable[Any]]
"""Told of a stop before the LLM's stream is closed; may return the usage, which is then given out."""

AskAgain = Callable[[list[dict[str, Any]]], Awaitable[AsyncIterator[Any]]]
"""Asks the LLM to go on, with these messages behind the others."""

_BELOW = ("inner", "completion_stream", "litellm_custom_stream_wrapper", "_billing_source", "response")
"""Where LiteLLM's streams keep the one from which they read; not all close it when they are closed."""


class GatedStream:
    """What the guard releases of a stream. Iterate once.

    Attributes:
        gate: the answers; None until the first piece has come.
        is_settled: whether a stop, a repaired answer or an unreadable one has been told of.
    """

    def __init__(
        self, exchange: Exchange, source: AsyncIterator[Any], on_cut: OnCut, ask_again: AskAgain | None = None
    ) -> None:
        """Gate a stream.

        Args:
            exchange: what is answered, and who guards it.
            source: from the LLM.
            on_cut: told of a stop.
            ask_again: asks the LLM to go on; None cannot repair a stopped answer.
        """
        self._exchange = exchange
        self._source = source
        self._arrivals: Ahead[Any] | None = None
        self._on_cut = on_cut
        self._ask_again = ask_again
        self._usage: Any = None
        self.gate: Gate | None = None
        self.is_settled = False

    async def pieces(self) -> AsyncGenerator[Any]:
        """Yield what may leave; the LLM's stream is closed at a stop, before the last pieces are given out.

        Raises:
            AnswerStopped: an answer was stopped, and the policy raises.
            NotUnderstood: the stream cannot be read.
        """
        try:
            is_going_on = True
            while is_going_on:
                async for made in self._attempt():
                    yield made
                is_going_on = await self._repair()
        except NotUnderstood:
            if self.gate and not self.is_settled:
                self.is_settled = True
                await self._on_cut(self.gate)
            raise
        finally:
            await close_stream(self._source, self._arrivals)
            if self.gate:
                self.gate.close()

    async def _attempt(self) -> AsyncGenerator[Any]:
        last: Unpacked | None = None
        async with aclosing(self._read()) as read:
            async for unpacked in read:
                last = unpacked or last
                if last is None:
                    continue
                gate = self._opened(last.piece)
                made = await (self._taken(gate, unpacked.piece) if unpacked else arun(gate.catching_up()))
                if gate.is_done:
                    await self._settle(gate)
                for one in made:
                    yield last.pack(one)
        if self.gate and last:
            for one in await self._ending(self.gate):
                yield last.pack(one)

    async def _read(self) -> AsyncGenerator[Unpacked | None]:
        """Yield what the gate takes, and None wherever nothing more has arrived."""
        unpacker = Unpacker()
        async with Ahead(self._source, may_ask_on=_goes_on) as self._arrivals:
            async for item, more in self._arrivals:
                for unpacked in chain(unpacker.take(item), [] if more else [None]):
                    yield unpacked
                    if self.gate and self.gate.is_done:
                        return
        unpacker.end()

    def _opened(self, piece: Any) -> Gate:
        if self.gate is None:
            self.gate = gate_for(piece, self._exchange, allows_repair=self._ask_again is not None)
        return self.gate

    async def _taken(self, gate: Gate, piece: Any) -> list[Any]:
        try:
            return await arun(gate.taking(piece))
        except (AttributeError, KeyError, TypeError, ValueError, StreamError) as error:
            raise NotUnderstood(f"a piece of the stream is not as it should be ({type(error).__name__})") from None

    async def _ending(self, gate: Gate) -> list[Any]:
        made = await arun(gate.finishing())
        await self._settle(gate)
        refusal = next((answer.decision for answer in gate.answers.values() if answer.is_stopped), None)
        if refusal and self._exchange.raises:
            raise self._exchange.exception(refusal)
        counted = gate.counting(self._usage) if self._usage else None
        return [*made, counted] if counted else made

    async def _settle(self, gate: Gate) -> None:
        """Tell once of a stop, or that the answer was put together from attempts; close the LLM's stream."""
        if not gate.is_cut or self.is_settled:
            return
        if not gate.is_repairable:
            self.is_settled = True
            self._usage = await self._on_cut(gate)
        await close_stream(self._source, self._arrivals)

    async def _repair(self) -> bool:
        """Ask the LLM to go on with a stopped answer, if that may be."""
        if self.gate is None or self._ask_again is None or not self.gate.is_repairable:
            return False
        self._source = await self._ask_again(self.gate.repairing())
        return True


def _goes_on(item: Any) -> bool:
    """Whether an item is not the last one: LiteLLM logs the raw answer as soon as it is asked for more behind the last,
    so that one is read before. Only chunks say whether more follows.
    """
    is_chunk = isinstance(item, ModelResponseStream | TextCompletionResponse)
    return is_chunk and bool(item.choices) and not any(choice.finish_reason for choice in item.choices)


async def close_stream(stream: Any, arrivals: Ahead[Any] | None = None) -> None:
    """Close a stream of LiteLLM's with all below it, so that the LLM's connection ends.

    Args:
        stream: from LiteLLM.
        arrivals: who may be asking it for its next item.
    """
    every = list(_with_all_below(stream))  # found while they still hold each other
    if arrivals:
        await arrivals.aclose()
    for one in every:
        if callable(close := getattr(one, "aclose", None)):
            await close()


def _with_all_below(stream: Any) -> Iterator[Any]:
    yield stream
    for one in _streams_below(stream):
        yield from _with_all_below(one)


def _streams_below(stream: Any) -> Iterator[Any]:
    for name in _BELOW:
        if (found := getattr(stream, name, None)) is not None:
            yield found
    frame = getattr(stream, "ag_frame", None)  # a generator keeps it in a variable
    for value in list(frame.f_locals.values()) if frame else ():
        if isinstance(value, CustomStreamWrapper | AsyncGenerator):
            yield value
