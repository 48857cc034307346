"""One answer on its way through the guard: text token by token, calls whole; what carries them waits in line."""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

from guardrail.conversation import Message, Role, ToolCall
from guardrail.decision import Decision
from guardrail.policy import ReleaseMode
from guardrail.repair import Attempt
from guardrail.stream import Stream
from guardrail.tool_calls import ToolCallStream
from guardrail.waiting import Steps, wait
from guardrail.wire.exchange import Exchange, refuses

Made = TypeVar("Made")
Render = Callable[[str], Made]
"""Makes what leaves, such as a chunk, from the text that may be shown in it."""

Parts = tuple[tuple[str, bool], ...]
"""Texts of an answer, each with whether it is reasoning."""


@dataclass(slots=True)
class _Waiting(Generic[Made]):
    render: Render[Made]
    text: str = ""
    arrived_s: float | None = None
    leaves_whole: bool = False
    needs_end: bool = False


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""
    opened_as: str = ""
    stream: ToolCallStream | None = None


class Answer(Generic[Made]):
    """Takes what an LLM writes with what carries it; returns what may leave now. One caller at a time.

    What carries text leaves when the text is released, in order. What carries calls, and all behind it, leaves at the
    end of an answer that was not stopped.

    A context manager: leaving it early records what is still open as abandoned.
    """

    def __init__(self, exchange: Exchange, attempt: Attempt | None = None) -> None:
        self._exchange = exchange
        self._attempt = attempt
        self._stream: Stream | None = None
        self._line: deque[_Waiting[Made]] = deque()
        self._aside: list[Made] = []
        self._calls: dict[Hashable, _Call] = {}
        self._parts: list[tuple[str, bool]] = list(attempt.parts) if attempt else []
        self._n_released = attempt.n_chars if attempt else 0
        self._ready = ""
        self._is_answering = False
        self._refusal: Decision | None = None
        self.has_ended = False

    @property
    def is_stopped(self) -> bool:
        """Whether the LLM need not go on with this answer."""
        return self._refusal is not None

    @property
    def decision(self) -> Decision:
        """The decision on the answer; before its end, what it would be."""
        if self._refusal:
            return self._refusal
        if self._stream is None:
            raise RuntimeError("an answer that was never opened has no decision")
        return self._stream.decision

    @property
    def released(self) -> Parts:
        """All text that was released."""
        left, kept = self._n_released, []
        for text, thinking in self._parts:
            kept.append((text[:left], thinking))
            left -= len(kept[-1][0])
        return tuple(part for part in kept if part[0])

    @property
    def received(self) -> str:
        """All that the LLM wrote, for counting."""
        calls = "".join(call.name + call.arguments for call in self._calls.values())
        return "".join(text for text, _ in self._parts) + calls

    def opening(self) -> Steps[None]:
        """Read the context while the LLM is still starting."""
        if self._stream is None:
            yield from self._open(self._attempt)

    def reading(
        self, text: str, render: Render[Made], *, thinking: bool = False, whole: bool = False
    ) -> Steps[list[Made]]:
        """Take text with what carries it, for `catching_up`; `whole` carriers cannot show a part of their text."""
        self._line.append(_Waiting(render, text, time.perf_counter(), leaves_whole=whole))
        if not text:
            return self._leave("")
        # The guard's format has one think block, in front: later reasoning is read as answer.
        self._is_answering |= not thinking
        stream = yield from self._text_stream()
        self._parts.append((text, not self._is_answering))
        released = yield wait(stream.feed, stream.afeed, text, thinking=not self._is_answering, more=True)
        return self._released(stream, released)

    def catching_up(self) -> Steps[list[Made]]:
        """Read all that was taken; return what may leave."""
        left: list[Made] = []
        if self.has_ended:
            return left
        if self._stream and not (self._stream.is_finished or self.is_stopped):
            left = self._released(self._stream, (yield wait(self._stream.feed, self._stream.afeed, "")))
        for call in self._calls.values():
            if call.stream and not self.is_stopped:
                yield from self._read_call(call.stream, "")
        return left

    def passing(self, render: Render[Made]) -> list[Made]:
        """Take what carries no text; return what may leave."""
        self._line.append(_Waiting(render))
        return self._leave("")

    def holding(self, render: Render[Made]) -> None:
        """Take what leaves, with all behind it, when the answer has ended well."""
        self._line.append(_Waiting(render, needs_end=True))

    def setting_aside(self, made: Made) -> None:
        """Take what leaves behind everything else when the answer has ended well."""
        self._aside.append(made)

    def calling(self, key: Hashable, name: str, arguments: str) -> Steps[list[Made]]:
        """Read a piece of a tool call; return what may leave of the text before it."""
        left = yield from self._end_text()
        call = self._calls.setdefault(key, _Call())
        if name and name != call.name and call.arguments:  # another call in the same place: names stand in front
            self._calls[key, len(self._calls)] = self._calls.pop(key)
            call = self._calls[key] = _Call()
        if name != call.name:  # some providers repeat the name with every piece
            call.name += name
        call.arguments += arguments
        if self.is_stopped or not (call.name and call.arguments):
            return left
        if call.stream is None:
            yield from self._open_call(call)
        elif arguments:
            yield from self._read_call(call.stream, arguments)
        return left

    def called(self, key: Hashable, name: str, arguments: str) -> Steps[list[Made]]:
        """Take a whole call, which may have streamed before; return what may leave of the text before it."""
        call = self._calls.get(key, _Call())
        if call.name == name and arguments.startswith(call.arguments):
            return (yield from self.calling(key, "", arguments[len(call.arguments) :]))
        return (yield from self.calling((key, len(self._calls)), name, arguments))

    def finishing(self) -> Steps[list[Made]]:
        """Come to a decision: the LLM has ended, or was ended; return the rest of what may leave."""
        if self.has_ended:
            return []
        yield from self.opening()
        left = yield from self._end_text()
        for i, call in enumerate(self._calls.values()):
            if self.is_stopped:
                break
            decision = yield from self._end_call(call, i)
            if refuses(decision):
                self._refusal = decision
        self.has_ended = True
        if self.is_stopped:
            return left
        return [*left, *self._leave(""), *self._aside]

    def refuse(self, decision: Decision) -> None:
        """Stop an answer that has not begun: what asks for it was stopped."""
        self._refusal = decision

    def close(self) -> None:
        """Free what is still open."""
        if self._stream:
            self._stream.close()
        for call in self._calls.values():
            if call.stream:
                call.stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self, attempt: Attempt | None) -> Steps[None]:
        exchange, guard = self._exchange, self._exchange.guard
        self._stream = yield wait(
            guard.open_stream, guard.aopen_stream, exchange.messages,
            conversation_id=exchange.id, tenant=exchange.tenant, max_tokens=exchange.max_tokens, attempt=attempt,
        )  # fmt: skip

    def _text_stream(self) -> Steps[Stream]:
        """Return the stream that reads text: a new one behind a call, which reads the answer so far again."""
        yield from self.opening()
        if self._stream and self._stream.is_finished and not self.is_stopped:
            before = self._attempt or Attempt((), 0, 0)
            yield from self._open(replace(before, parts=tuple(self._parts)))
        if self._stream is None:
            raise RuntimeError("opening an answer left it closed")
        return self._stream

    def _released(self, stream: Stream, text: str) -> list[Made]:
        self._n_released += len(text)
        if stream.is_stopped:
            self._refusal = stream.decision
        return self._leave(text)

    def _leave(self, text: str) -> list[Made]:
        self._ready += text
        if self._exchange.guard.policy.release is ReleaseMode.ANSWER and not self._has_ended_well:
            return []
        leaving = []
        while self._line:
            first = self._line[0]
            n_shown = min(len(first.text), len(self._ready))
            is_whole = n_shown == len(first.text)
            if (first.needs_end and not self._has_ended_well) or (first.leaves_whole and not is_whole):
                break
            shown, self._ready = self._ready[:n_shown], self._ready[n_shown:]
            first.text = first.text[n_shown:]
            if shown or is_whole:
                leaving.append(first.render(shown))
            if not is_whole:
                break
            self._line.popleft()
            if first.arrived_s is not None:
                self._exchange.on_release(time.perf_counter() - first.arrived_s)
        return leaving

    @property
    def _has_ended_well(self) -> bool:
        return self.has_ended and not self.is_stopped

    def _end_text(self) -> Steps[list[Made]]:
        stream = self._stream
        if stream is None or stream.is_finished or self.is_stopped:
            return []
        return self._released(stream, (yield wait(stream.finish, stream.afinish)))

    def _open_call(self, call: _Call) -> Steps[None]:
        guard = self._exchange.guard
        before = self._context(list(self._calls.values()).index(call))
        call.opened_as = call.name
        call.stream = yield wait(
            guard.open_tool_call, guard.aopen_tool_call, before, call.name,
            conversation_id=self._exchange.id, tenant=self._exchange.tenant,
        )  # fmt: skip
        yield from self._read_call(call.stream, call.arguments)

    def _read_call(self, stream: ToolCallStream, arguments: str) -> Steps[None]:
        """Take a piece of a call's arguments, or with an empty one read what was taken."""
        yield wait(stream.feed, stream.afeed, arguments, more=bool(arguments))
        if stream.is_stopped:
            self._refusal = stream.decision

    def _end_call(self, call: _Call, position: int) -> Steps[Decision]:
        if call.stream and call.opened_as == call.name:
            decision: Decision = yield wait(call.stream.finish, call.stream.afinish)
            return decision
        guard, whole = self._exchange.guard, ToolCall(call.name, call.arguments)
        decision = yield wait(
            guard.check_tool_call, guard.acheck_tool_call, self._context(position), whole,
            conversation_id=self._exchange.id, tenant=self._exchange.tenant,
        )  # fmt: skip
        return decision

    def _context(self, n_calls: int) -> tuple[Message, ...]:
        """Return the messages with the turn that calls: its text and its first calls."""
        content = "".join(text for text, thinking in self._parts if not thinking)
        reasoning = "".join(text for text, thinking in self._parts if thinking) or None
        calls = tuple(ToolCall(call.name, call.arguments) for call in islice(self._calls.values(), n_calls))
        return (*self._exchange.messages, Message(Role.ASSISTANT, content, reasoning, calls))
