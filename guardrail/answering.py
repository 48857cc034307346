"""What a stream does with text and verdicts, as steps: sync and async callers go through the same ones."""

import threading
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter

from guardrail.actions import Action
from guardrail.context import Context, explain
from guardrail.decision import INTERRUPTED, Decision, Failure, Reason
from guardrail.errors import EngineError, StreamClosed, StreamError
from guardrail.gate import Gate
from guardrail.reader import AnswerReader
from guardrail.tape import Receipt, Steps, received
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import TokenVerdict
from guardrail.weighing import fail_gate, gate_for

UNREAD_CHARS = 256
"""Characters without a verdict up to which text waits unread while more is at hand: about 64 tokens of English, as many
as one call of the engine reads (`Runtime.step_tokens`). Waiting for more would save nothing, and delay a stop."""


class Answering:
    """One answer under moderation: its gate, its reader, and the decision that they come to. One caller at a time."""

    def __init__(self, context: Context, reader: AnswerReader) -> None:
        self._context = context
        self._reader = reader
        self._gate = gate_for(context.policy, context.direction, context.tool, context.unreadable)
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._lock = threading.Lock()
        self._spent_s = 0.0
        self._turn_started: float | None = None
        self._text: list[str] = []
        self._verdicts: list[TokenVerdict] = []
        self._n_deltas = 0
        self._is_open = False
        self._decision: Decision | None = None

    @property
    def decision(self) -> Decision:
        """The decision; while the stream is open, what it would be if the answer ended here (not recorded).

        Text that is fed after a stop counts as withheld here; the record was written at the stop.
        """
        decision = self._decision or self._decide(self._gate, self._verdicts)
        n_released = self._gate.released_chars
        return replace(decision, released_chars=n_released, withheld_chars=self._gate.fed_chars - n_released)

    @property
    def is_stopped(self) -> bool:
        """Whether the gate has stopped the answer: stop the LLM too."""
        return self._gate.is_stopped

    @property
    def stop_offset(self) -> int | None:
        """First character that is stopped (in shadow mode: that would have been); None without a stop."""
        return self._gate.stop_offset

    @property
    def is_finished(self) -> bool:
        """Whether the answer has ended: no more text may be fed."""
        return self._gate.is_finished

    @property
    def verdicts(self) -> tuple[TokenVerdict, ...]:
        """Verdicts of the content tokens judged so far."""
        return tuple(self._verdicts)

    @property
    def released_chars(self) -> int:
        """Characters released so far."""
        return self._gate.released_chars

    def _opening(self) -> Steps[None]:
        """Read the context; a failure counts as the stream's."""
        if self._is_open or self._gate.is_settled:
            return
        self._is_open = True
        try:
            yield from self._reader.open()
        except EngineError as error:
            self._fail(error)
            yield from self._settling_if_stopped()
        for text, thinking in self._context.attempt.parts if self._context.attempt else ():
            yield from self._taking(text, thinking, is_replayed=True)

    def _feeding(self, delta: str | bytes | bytearray, thinking: bool, more: bool = False) -> Steps[str]:
        if self._gate.is_finished:
            raise StreamClosed("text was fed to a finished stream")
        if isinstance(delta, str):
            text = self._decode(b"", True) + delta  # half a character before text stays half
        elif isinstance(delta, bytes | bytearray):
            text = self._decode(bytes(delta))
        else:
            raise StreamError(f"a delta is text or bytes, not {type(delta).__name__}")
        yield from self._opening()
        self._n_deltas += bool(text)
        return (yield from self._taking(text, thinking, more))

    def _taking(self, text: str, thinking: bool, more: bool = False, *, is_replayed: bool = False) -> Steps[str]:
        if not self._gate.is_settled:
            self._reader.push(text, thinking=thinking)
            self._text.append(text)
        released = [self._gate.replay(text) if is_replayed else self._gate.feed(text)]
        n_unread = self._gate.fed_chars - self._gate.judged_chars
        waits = more and n_unread <= UNREAD_CHARS and not self._holds_too_much
        if not (waits or self._gate.is_settled):
            try:
                yield from self._judging(released)
                if self._holds_too_much:
                    released.append(self._act_on_held())
                if not self._gate.is_settled:
                    yield from self._reader.warm()
            except EngineError as error:
                released.append(self._fail(error))
        yield from self._settling_if_stopped()
        return "".join(released)

    def _finishing(self) -> Steps[str]:
        rest = self._decode(b"", True)
        first = (yield from self._feeding(rest, False)) if rest and not self._gate.is_finished else ""
        released: list[str] = []
        if not self._gate.is_settled and not self._gate.is_finished:
            try:
                yield from self._opening()
                self._reader.end()
                yield from self._judging(released)
            except EngineError as error:
                released.append(self._fail(error))
        released.append(self._gate.finish())
        if self._decision is None:
            yield from received(self._settle())
        return first + "".join(released)

    def _peeking(self) -> Steps[Decision]:
        if self._decision:
            return self.decision
        if self._reader.has_pending:
            raise StreamError("text waits unread: feed it before peeking")
        yield from self._opening()
        gate, verdicts = self._gate.copy(), list(self._verdicts)
        try:
            for token in (yield from self._reader.peek()) if not gate.is_settled else ():
                if not gate.is_settled:
                    verdicts.append(token)
                    gate.judge(token)
        except EngineError as error:
            self._fail(error, gate)
        gate.finish()
        return self._decide(gate, verdicts)

    def _judging(self, released: list[str]) -> Steps[None]:
        """Read pending tokens until none are left or the gate stops; the rest of the text is then never read."""
        while self._reader.has_pending and not self._gate.is_settled:
            for token in (yield from self._reader.read()):
                if self._gate.is_settled:
                    break
                self._verdicts.append(token)
                released.append(self._gate.judge(token))

    @property
    def _holds_too_much(self) -> bool:
        bound = self._context.policy.max_held_chars
        return bound is not None and self._reader.held_chars > bound

    def _act_on_held(self) -> str:
        if self._context.policy.on_held is Action.STOP:
            return self._gate.fail(Reason.HELD, None, Action.STOP)
        self._gate.mark(Reason.HELD)
        return ""

    def _fail(self, error: EngineError, gate: Gate | None = None) -> str:
        return fail_gate(gate or self._gate, self._context.policy, explain(error))

    def _settling_if_stopped(self) -> Steps[None]:
        if self._gate.is_stopped and self._decision is None:
            yield from received(self._settle())

    def _settle(self) -> Sequence[Receipt]:
        """Make the decision final, record it, free the session; return what must end before the decision is told."""
        self._reader.close(keep=self._gate.failure is None)
        self._decision = self._decide(self._gate, self._verdicts)
        receipts = self._context.record(self._decision, "".join(self._text))
        self._text.clear()
        return receipts

    def _decide(self, gate: Gate, verdicts: Sequence[TokenVerdict]) -> Decision:
        attempt, finding = self._context.attempt, gate.finding
        riskiest = max(verdicts, key=attrgetter("verdict.non_safe_probability"), default=None)
        decisive = finding.token if finding else riskiest
        bound = self._context.max_tokens if gate.is_stopped else None
        return self._context.decide(
            gate.would_action,
            gate.reason,
            gate.failure,
            risk=finding.risk if finding else RiskLevel.SAFE if verdicts else None,
            category=finding.category if finding else None,
            verdict=decisive.verdict if decisive else None,
            stop_offset=gate.stop_offset,
            released_chars=gate.released_chars,
            withheld_chars=gate.fed_chars - gate.released_chars,
            leaked_chars=gate.leaked_chars,
            unjudged_chars=gate.unjudged_chars,
            n_tokens=len(verdicts),
            n_windows=self._reader.n_windows,
            n_dropped_turns=self._reader.n_dropped_turns,
            unreadable=self._context.unreadable,
            latency_ms=self._latency_ms,
            tokens=tuple(verdicts),
            n_deltas=self._n_deltas,
            saved_tokens=None if bound is None else max(0, bound - self._n_deltas),
            n_repairs=attempt.n_repairs if attempt else 0,
            n_repair_tokens=attempt.n_tokens if attempt else 0,
        )

    @property
    def _latency_ms(self) -> float:
        running = 0.0 if self._turn_started is None else self._context.clock() - self._turn_started
        return (self._spent_s + running) * 1000

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Let one caller in, take its time, and shut the gate if it is interrupted: the session's state is unknown."""
        if not self._lock.acquire(blocking=False):
            raise StreamError("two callers used one stream at the same time")
        self._turn_started = self._context.clock()
        n_received = self._gate.released_chars
        try:
            yield
        except StreamError:
            raise
        except BaseException as error:
            self._gate.fail(Reason.FAILURE, Failure(type(error).__name__, INTERRUPTED), Action.STOP)
            self._gate.take_back(n_received)  # in shadow mode, what the failure let out reached nobody either
            if not self._gate.is_stopped:  # shadow mode, or open after a failure
                self._gate.abandon()
            if self._decision is None:
                self._settle()
            raise
        finally:
            self._spent_s += self._context.clock() - self._turn_started
            self._turn_started = None
            self._lock.release()
