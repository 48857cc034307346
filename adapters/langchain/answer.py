"""One answer of an LLM on its way through the guard: what is read, what leaves, and how it ends."""

from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from guardrail.adapters.langchain.call_reading import CallReader, Judged
from guardrail.adapters.langchain.calls import Call, blanked, call_book, forms
from guardrail.adapters.langchain.chunks import as_generation
from guardrail.adapters.langchain.exchange import Exchange, harder, refuses
from guardrail.adapters.langchain.metadata import closing_info, closing_metadata
from guardrail.adapters.langchain.outlet import Outlet
from guardrail.conversation import Message, Role
from guardrail.decision import Decision
from guardrail.errors import StreamError
from guardrail.policy import ReleaseMode
from guardrail.repair import Attempt, next_attempt
from guardrail.stream import Stream
from guardrail.waiting import Steps, wait


class Answer:
    """Text and reasoning go through one stream of the guard, each tool call through its own. One caller at a time.

    The text's stream is finished where calls begin, so that they build on what it has read. Its last words wait all the
    same: text behind a call, which is rare, goes on in a stream that reads the answer so far again.

    A context manager: leaving it early records what is still open as abandoned.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._outlet = Outlet()
        self._calls = CallReader(exchange)
        self._stream: Stream | None = None
        self._last_words = ""
        self._attempt: Attempt | None = None
        self._decision: Decision | None = None
        self._by_id: dict[str, Decision] = {}
        self._judged: Judged = {}

    def opening(self) -> Steps[None]:
        """Open the text's stream: for the answer, for another attempt at it, or for text behind a call."""
        exchange, released = self._exchange, tuple(self._outlet.released)
        attempt = replace(self._attempt or Attempt((), 0, 0), parts=released) if self._attempt or released else None
        guard, self._last_words = exchange.guard, ""
        self._stream = yield wait(
            guard.open_stream, guard.aopen_stream, exchange.messages,
            conversation_id=exchange.id, max_tokens=exchange.max_tokens, attempt=attempt,
        )  # fmt: skip

    def taking(self, chunk: ChatGenerationChunk, *, more: bool = False) -> Steps[None]:
        """Read what the LLM sent; `more` leaves it unread until the next chunk, which is there already."""
        for slot in self._outlet.take(chunk):
            if self._open_stream.is_finished:
                yield from self._reopening()
            else:
                yield from self._feeding(slot.text, slot.thinking)
            if self._open_stream.is_stopped:
                return
        if not (more or self._open_stream.is_finished):
            yield from self._feeding("")
        self._outlet.release("")
        found = forms(chunk.message) if isinstance(chunk.message, AIMessageChunk) else []
        for piece in found[0] if found else ():
            yield from self._end_text()
            if self.is_stopped:
                return
            yield from self._calls.taking(piece, self._turn)
        if not more:
            yield from self._calls.catching_up()

    @property
    def is_stopped(self) -> bool:
        """Whether the LLM need not go on."""
        is_refused = self._exchange.on_call == "stop" and self._calls.refusal is not None
        return self._open_stream.is_stopped or is_refused

    def emit(self) -> ChatGenerationChunk | None:
        """Return what has been released since the last time; None when there is nothing."""
        return None if self._holds_answer else self._outlet.emit()

    def finishing(self) -> Steps[None]:
        """Come to a decision: the LLM has ended, or was ended."""
        yield from self._end_text()
        self._outlet.release(self._last_words)
        decision = self._open_stream.decision
        calls = None if decision.stopped else self._outlet.calls
        if calls:
            decision = (yield from self._judging(calls)) or decision
        self._decision = decision

    def repair(self) -> list[BaseMessage] | None:
        """Return what is said to the LLM before it goes on with this answer; None if it is not asked again."""
        policy, decision = self._exchange.guard.policy, self._final
        found = next_attempt(policy, decision, self._attempt, self._outlet.released)
        if found is None:
            return None
        self._attempt, self._decision = found, None
        self._outlet.restart()
        self._calls.close()
        self._calls = CallReader(self._exchange)
        said: list[BaseMessage] = [AIMessage(found.answer)] if found.answer else []
        return [*said, HumanMessage(policy.repair_message(decision.category))]

    def ending(self) -> Iterator[ChatGenerationChunk]:
        """Yield the rest, and an empty chunk with the decision.

        Raises:
            ContentStopped: the answer was stopped, and the policy raises.
        """
        if self._holds_answer and refuses(self._final):
            self._outlet.drop()
        if ready := self._outlet.emit():
            yield ready
        text = self._exchange.closing_text(self._final)
        yield self._outlet.last(self._final, text, self._by_id)

    def whole(self, generation: ChatGeneration) -> ChatGeneration:
        """Return the answer that came as a whole; one that passes is unchanged but for its metadata.

        Raises:
            ContentStopped: the answer was stopped, and the policy raises.
        """
        message, decision = generation.message, self._final
        if self._attempt or refuses(decision):
            text = self._exchange.closing_text(decision)
            if text or (self._holds_answer and refuses(decision)):
                self._outlet.drop()
            prefix, last = self._outlet.emit(), self._outlet.last(decision, text, self._by_id)
            made = as_generation(prefix + last if prefix else last)
            return made.model_copy(update={"message": made.message.model_copy(update={"name": message.name})})
        if isinstance(message, AIMessage):
            message = blanked(message, self._is_refused)
        metadata = closing_metadata(message.response_metadata, decision, self._by_id)
        info = closing_info(generation.generation_info or {}, decision)
        return ChatGeneration(message=message.model_copy(update={"response_metadata": metadata}), generation_info=info)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._stream:
            self._stream.close()
        self._calls.close()

    def _feeding(self, text: str, thinking: bool = False) -> Steps[None]:
        """Take text unread, or read what was taken."""
        stream = self._open_stream
        self._outlet.release((yield wait(stream.feed, stream.afeed, text, thinking=thinking, more=bool(text))))

    def _end_text(self) -> Steps[None]:
        stream = self._open_stream
        if not stream.is_finished:
            self._last_words = yield wait(stream.finish, stream.afinish)

    def _reopening(self) -> Steps[None]:
        """Go on with text behind a call: what had not left yet is read again with it."""
        yield from self.opening()
        for text, thinking in self._outlet.rewind():
            yield from self._feeding(text, thinking)

    def _judging(self, calls: AIMessageChunk) -> Steps[Decision | None]:
        """Judge the calls and let them go; return the decision on one that stops the answer."""
        stops = self._exchange.on_call == "stop"
        if stops and (refusal := self._calls.refusal):
            return refusal
        every = [call for form in forms(calls) for call in form]
        self._judged = yield from self._calls.finishing(every, self._turn)
        if stops and (refusal := self._calls.refusal):
            return refusal
        for call in every:
            if call.id:
                self._by_id[call.id] = harder(self._by_id.get(call.id), self._judged[call.content])
        kept = blanked(calls, self._is_refused)
        self._outlet.release_calls(kept)
        book = call_book(self._exchange.guard)
        for made in kept.tool_calls:
            if decision := self._by_id.get(made["id"] or ""):
                book.keep(self._exchange.id, made["id"] or "", made["name"], made["args"], decision)
        return None

    def _is_refused(self, call: Call) -> bool:
        """Whether a call is stopped: all forms of one call share the hardest decision on any of them."""
        decision = self._by_id.get(call.id or "") or self._judged.get(call.content)
        return decision is not None and decision.stopped

    @property
    def _turn(self) -> Message:
        """What the assistant has said so far."""
        parts = [*self._outlet.released, *self._outlet.waiting]
        reasoning = "".join(text for text, thinking in parts if thinking)
        return Message(Role.ASSISTANT, "".join(text for text, thinking in parts if not thinking), reasoning or None)

    @property
    def _holds_answer(self) -> bool:
        return self._exchange.holds_answer or self._exchange.guard.policy.release is ReleaseMode.ANSWER

    @property
    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise StreamError("the answer is not open")
        return self._stream

    @property
    def _final(self) -> Decision:
        return self._decision or self._open_stream.decision
