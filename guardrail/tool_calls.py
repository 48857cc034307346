"""One tool call under moderation: its name, then its arguments as they stream; nothing of it leaves before the end."""

from types import TracebackType
from typing import Self

from guardrail.decision import Decision
from guardrail.json_text import JsonUnescaper
from guardrail.stream import Stream
from guardrail.tape import Steps


class ToolCallStream:
    """One tool call. One caller at a time; different calls are independent. A context manager: leaving it without
    `finish()` records the call as abandoned.

    The guard reads the call in the form that it was trained on, with the JSON escapes of the arguments undone; offsets
    of its decision count characters of that reading.
    """

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._unescaper = JsonUnescaper()
        self._head = f'{{"name": "{name}", "arguments": '

    def feed(self, arguments: str, *, more: bool = False) -> None:
        """Take the next piece of the arguments' JSON text, cut anywhere.

        Args:
            arguments: the piece; an empty one reads what waits.
            more: whether the next piece is at hand already; see `Stream.feed`.

        Raises:
            StreamClosed: the call was finished.
            StreamError: another caller is inside, or the piece is no text.
        """
        self._stream.feed(self._next(arguments), more=more)

    async def afeed(self, arguments: str, *, more: bool = False) -> None:
        """As `feed`, without blocking the event loop."""
        await self._stream.afeed(self._next(arguments), more=more)

    def finish(self) -> Decision:
        """End the call; return the decision. Only now may the call go on, if the decision says so."""
        if not self._stream.is_finished:
            self._stream.feed(self._rest(), more=True)
            self._stream.finish()
        return self._stream.decision

    async def afinish(self) -> Decision:
        """As `finish`, without blocking the event loop."""
        if not self._stream.is_finished:
            await self._stream.afeed(self._rest(), more=True)
            await self._stream.afinish()
        return self._stream.decision

    def checking(self, arguments: str) -> Steps[Decision]:
        """Read a whole call, as `feed` and `finish` do, for whoever drives it."""
        return self._stream.checking(self._next(arguments) + self._rest())

    def close(self) -> None:
        """Free the session; a call that was neither finished nor stopped is recorded as abandoned."""
        self._stream.close()

    @property
    def is_stopped(self) -> bool:
        """Whether the call is stopped already: the LLM need not go on."""
        return self._stream.is_stopped

    @property
    def decision(self) -> Decision:
        """The decision; before `finish`, what it would be if the call ended here (not recorded)."""
        return self._stream.decision

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _next(self, arguments: str) -> str:
        head, self._head = self._head, ""
        return head + self._unescaper.feed(arguments)

    def _rest(self) -> str:
        return self._next("") + self._unescaper.finish() + "}"
