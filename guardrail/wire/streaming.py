"""Runs an LLM's stream through a gate, and closes the LLM's connection at a stop."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any, Protocol

from guardrail.ahead import Ahead
from guardrail.errors import StreamError
from guardrail.waiting import arun
from guardrail.wire.errors import NotUnderstood
from guardrail.wire.exchange import Exchange
from guardrail.wire.frames import Frames, Unpacked
from guardrail.wire.gate import Gate, gate_for

OnCut = Callable[[Gate], Awaitable[Any]]
"""Told of a stop before the LLM's stream is closed; may return the usage, which is then given out."""

AskAgain = Callable[[list[dict[str, Any]]], Awaitable[AsyncIterator[Any]]]
"""Asks the LLM to go on, with these messages behind the others."""


class Reader(Protocol):
    """Takes what a stream gives; returns pieces that a gate reads, each with how it is packed again.

    Attributes:
        is_done: whether the stream has said that no more comes.
    """

    is_done: bool

    def take(self, item: Any) -> Iterator[Unpacked]:
        """Yield the pieces that are complete now.

        Raises:
            NotUnderstood: the item cannot be read.
        """
        ...

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            NotUnderstood: the stream ended inside a piece.
        """
        ...


class GatedStream:
    """What the guard releases of a stream of server-sent events. Iterate once.

    A stream of another kind is a subclass: it says how its items are read, which gate reads them and how it is closed.

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
        self.is_settled: bool = False

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
            await self._close_source()
            if self.gate:
                self.gate.close()

    def _new_reader(self) -> Reader:
        return Frames()

    def _gate_for(self, piece: Any) -> Gate:
        return gate_for(piece, self._exchange, allows_repair=self._ask_again is not None)

    @staticmethod  # a method would hold the stream in a cycle: who reads it would live on until the collector comes
    def _may_ask_on(_item: Any) -> bool:
        return True

    async def _close_source(self) -> None:
        if self._arrivals:
            await self._arrivals.aclose()

    async def _attempt(self) -> AsyncGenerator[Any]:
        last: Unpacked | None = None
        async with aclosing(self._read()) as read:
            async for unpacked in read:
                last = unpacked or last
                if last is None:
                    continue
                self.gate = gate = self.gate or self._gate_for(last.piece)
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
        reader = self._new_reader()
        async with Ahead(self._source, may_ask_on=self._may_ask_on) as self._arrivals:
            async for item, more in self._arrivals:
                for unpacked in chain(reader.take(item), [] if more else [None]):
                    yield unpacked
                    if self.gate and self.gate.is_done:
                        return
                if reader.is_done:
                    break
        reader.end()

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
        await self._close_source()

    async def _repair(self) -> bool:
        """Ask the LLM to go on with a stopped answer, if that may be."""
        if self.gate is None or self._ask_again is None or not self.gate.is_repairable:
            return False
        self._source = await self._ask_again(self.gate.repairing())
        return True
