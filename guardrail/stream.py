"""One answer under moderation: text in, released text out, one decision at the end."""

from types import TracebackType
from typing import Self

from guardrail.answering import Answering
from guardrail.decision import Decision
from guardrail.driving import adrive, drive
from guardrail.tape import Steps


class Stream(Answering):
    """One streamed answer. One caller at a time; different streams are independent. A context manager: leaving it
    without `finish()` records the stream as abandoned.

    `feed` and `finish` return the text released by the call. After a stop, `feed` returns "".
    """

    def open(self) -> None:
        """Read the context now instead of with the first delta."""
        with self._turn():
            drive(self._context.engine, self._opening())

    async def aopen(self) -> None:
        """As `open`, without blocking the event loop."""
        with self._turn():
            await adrive(self._context.engine, self._opening())

    def feed(self, delta: str | bytes | bytearray, *, thinking: bool = False, more: bool = False) -> str:
        """Take the next piece of the answer (bytes may end inside a UTF-8 character); return what may be shown.

        Args:
            delta: text as the LLM sends it, cut anywhere; an empty one reads what waits.
            thinking: whether it is reasoning before the answer.
            more: whether the next text is at hand already: this one waits for it unread, so that both cost one call of
                the engine. Changes no verdict.

        Raises:
            StreamClosed: the stream was finished.
            StreamError: another caller is inside this stream, reasoning came after the answer had begun, or the delta
                is neither text nor bytes; the stream stays as it was.
        """
        with self._turn():
            return drive(self._context.engine, self._feeding(delta, thinking, more))

    async def afeed(self, delta: str | bytes | bytearray, *, thinking: bool = False, more: bool = False) -> str:
        """As `feed`, without blocking the event loop."""
        with self._turn():
            return await adrive(self._context.engine, self._feeding(delta, thinking, more))

    def finish(self) -> str:
        """End the answer; return the rest that may be shown. A second call returns ""."""
        with self._turn():
            return drive(self._context.engine, self._finishing())

    async def afinish(self) -> str:
        """As `finish`, without blocking the event loop."""
        with self._turn():
            return await adrive(self._context.engine, self._finishing())

    def peek(self) -> Decision:
        """Return what the decision would be if the answer ended here, its held-back tail read too. Nothing is released,
        recorded or final: for callers who are shown an answer again and again, each time a little longer.

        Raises:
            StreamError: another caller is inside this stream, or text waits unread (`more`).
        """
        with self._turn():
            return drive(self._context.engine, self._peeking())

    async def apeek(self) -> Decision:
        """As `peek`, without blocking the event loop."""
        with self._turn():
            return await adrive(self._context.engine, self._peeking())

    def checking(self, text: str, *, reasoning: str | None = None) -> Steps[Decision]:
        """Read a whole answer, as `feed` and `finish` do, for whoever drives it."""
        with self._turn():
            if reasoning:
                yield from self._feeding(reasoning, thinking=True, more=True)
            yield from self._feeding(text, thinking=False)
            yield from self._finishing()
        return self.decision

    def close(self) -> None:
        """Free the session. A stream that was neither finished nor stopped is recorded as abandoned.

        Raises:
            StreamError: another caller is inside this stream.
        """
        with self._turn():
            if self._decision is None:
                self._gate.abandon()
                self._settle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
