"""Streams of a client: the same steps, blocking or not."""

from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Self

from guardrail.client.answer import Answer
from guardrail.client.asking import ClientError
from guardrail.client.links import LinkBase
from guardrail.errors import StreamClosed
from guardrail.records import Record
from guardrail.stream_protocol import CloseFrame, EventBase, FinishFrame, OpenFrame, StopEvent, VerdictEvent
from guardrail.waiting import Steps, Wait, arun, run


class _Steps:
    """The steps of one stream: what is sent, and what is waited for. For one caller at a time.

    A connection that drops is made again, once in a call, and the stream goes on where it was; if that fails, the call
    raises and nothing more is released.
    """

    def __init__(self, connect: Callable[..., Any], opening: OpenFrame) -> None:
        self._connect, self._opening = connect, opening
        self._answer = Answer()
        self._link: LinkBase | None = None
        self._is_finished = False
        self._error: ClientError | None = None

    @property
    def id(self) -> str | None:
        """Of the stream, in the service; None before it is open."""
        return self._answer.id

    @property
    def verdicts(self) -> tuple[VerdictEvent, ...]:
        """Of the tokens judged so far."""
        return tuple(self._answer.verdicts)

    @property
    def stop(self) -> StopEvent | None:
        """Where and why the answer was stopped, with the policy's message for the reader; None without a stop."""
        return self._answer.stop

    @property
    def is_stopped(self) -> bool:
        """Whether the answer was stopped: stop the LLM too."""
        return self._answer.stop is not None

    @property
    def decision(self) -> Record | None:
        """The decision's record; None before the end."""
        return self._answer.decision

    def _beginning(self) -> Steps[None]:
        self._link = yield _both(self._connect)
        yield self._send(self._opening)
        yield from self._listening(lambda: self._answer.id is not None, ())

    def _feeding(self, delta: str, thinking: bool, more: bool) -> Steps[str]:
        if self._is_finished:
            raise StreamClosed("text was fed to a finished stream")
        self._raise_again()
        if not (self._answer.is_closed or not delta):
            yield self._send(self._answer.delta(delta, thinking=thinking))
        if not more:
            yield from self._listening(lambda: self._answer.is_read, ())
        return self._answer.released()

    def _finishing(self) -> Steps[str]:
        self._raise_again()
        self._is_finished = True
        if not self._answer.is_closed:
            frame = FinishFrame(offset=self._answer.fed_chars)
            yield self._send(frame)
            yield from self._listening(lambda: self._answer.is_closed, (frame,))
        return self._answer.released()

    def _leaving(self) -> Steps[None]:
        link, self._link = self._link, None
        if link and not (self._answer.is_closed or self._error):
            yield _both(link.send, CloseFrame().model_dump_json())
        if link:
            yield _both(link.close)

    def _listening(self, is_enough: Callable[[], bool], then: Iterable[EventBase | FinishFrame]) -> Steps[None]:
        """Take events until they are enough; `then` is sent again behind the text if the connection is made again."""
        may_resume = self._answer.id is not None
        while not is_enough():
            data = (yield _both(self._link.receive)) if self._link else None
            if data is not None:
                self._take(data)
            elif may_resume:
                may_resume = False
                yield from self._resuming(then)
            else:
                raise self._failing(ClientError("the connection to the service was lost"))

    def _resuming(self, then: Iterable[Any]) -> Steps[None]:
        if self._link:
            yield _both(self._link.close)
        self._link = None
        self._link = yield _both(partial(self._connect, stream_id=self._answer.id))
        for frame in (*self._answer.resumption(), *then):
            yield self._send(frame)

    def _take(self, data: str | bytes) -> None:
        try:
            self._answer.take(data)
        except ClientError as error:
            raise self._failing(error) from None

    def _failing(self, error: ClientError) -> ClientError:
        self._error = error
        self._answer.released()  # what had come is not shown: the caller has an error instead
        return error

    def _raise_again(self) -> None:
        if self._error:
            raise self._error

    def _send(self, frame: Any) -> Wait:
        if self._link is None:
            raise self._failing(ClientError("the stream is not open"))
        return _both(self._link.send, frame.model_dump_json())


def _both(call: Callable[..., Any], *args: Any) -> Wait:
    """Return a call that blocks or is awaited, as its connection is made."""
    return Wait(partial(call, *args), partial(call, *args))


class ClientStream(_Steps):
    """One answer under moderation by a service. One caller at a time. A context manager: leaving it without `finish()`
    gives the stream up, which is recorded as abandoned.

    `feed` and `finish` return the text that may be shown. After a stop they return "".
    """

    def feed(self, delta: str, *, thinking: bool = False, more: bool = False) -> str:
        """Send the next piece of the answer; return what may be shown once it has been read.

        Args:
            delta: text as the LLM sends it.
            thinking: whether it is reasoning before the answer.
            more: whether the next text is at hand already: nothing is waited for, and both cost one call of the model.

        Raises:
            StreamClosed: the stream was finished.
            ClientError: the service failed or cannot be reached; nothing more may be shown.
        """
        return run(self._feeding(delta, thinking, more))

    def finish(self) -> str:
        """End the answer; return the rest that may be shown. A second call returns "".

        Raises:
            ClientError: as `feed`.
        """
        return run(self._finishing())

    def close(self) -> None:
        """Give the stream up, unless it has ended."""
        run(self._leaving())

    def __enter__(self) -> Self:
        run(self._beginning())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncClientStream(_Steps):
    """As `ClientStream`, without blocking the event loop."""

    async def feed(self, delta: str, *, thinking: bool = False, more: bool = False) -> str:
        """As `ClientStream.feed`."""
        return await arun(self._feeding(delta, thinking, more))

    async def finish(self) -> str:
        """As `ClientStream.finish`."""
        return await arun(self._finishing())

    async def close(self) -> None:
        """As `ClientStream.close`."""
        await arun(self._leaving())

    async def __aenter__(self) -> Self:
        await arun(self._beginning())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()
