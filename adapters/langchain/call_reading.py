"""Reads an answer's tool calls, each through a stream of its own while it comes; what leaves has been read whole."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from guardrail.adapters.langchain.calls import Call
from guardrail.adapters.langchain.exchange import Exchange, harder, refuses
from guardrail.conversation import Message, ToolCall
from guardrail.decision import Decision
from guardrail.tool_calls import ToolCallStream
from guardrail.waiting import Steps, wait

Judged = dict[tuple[str, str], Decision]
"""Decisions by the content of the call."""


@dataclass(slots=True)
class _Live:
    """A call that is still coming."""

    id: str | None
    name: str
    stream: ToolCallStream
    pieces: list[str] = field(default_factory=list)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def is_complete(self) -> bool:
        """Whether the arguments are whole JSON: where the next call begins, nothing more comes for this one."""
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True


class CallReader:
    """The calls of one answer. Keeps state: one caller at a time.

    Calls are read in one of their forms as they come, so that a stop is seen at once. At the end every form is compared
    with what was read, and judged by itself if it differs: what is run is never another call than the one judged.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._live: dict[Hashable, _Live] = {}
        self._judged: Judged = {}
        self._passed: list[ToolCall] = []
        self._numbers = count()

    def taking(self, piece: Call, turn: Message) -> Steps[None]:
        """Take a piece of a call.

        Args:
            piece: of a call that has begun, or the first of another.
            turn: what the assistant has said so far.
        """
        key: Hashable = next(self._numbers) if piece.index is None else f"{piece.index}"
        live = self._live.get(key)
        if live and piece.id and live.id and piece.id != live.id:
            yield from self._finish(key)
            live = None
        if live is None:
            for other in [key for key, one in self._live.items() if one.is_complete]:
                yield from self._finish(other)
            guard = self._exchange.guard
            conversation = self._conversation(turn)
            stream = yield wait(
                guard.open_tool_call, guard.aopen_tool_call, conversation, piece.name, conversation_id=self._exchange.id
            )
            live = self._live[key] = _Live(piece.id, piece.name, stream)
        live.pieces.append(piece.arguments)
        yield wait(live.stream.feed, live.stream.afeed, piece.arguments, more=True)

    def catching_up(self) -> Steps[None]:
        """Read what was taken."""
        for live in self._live.values():
            yield wait(live.stream.feed, live.stream.afeed, "")

    @property
    def refusal(self) -> Decision | None:
        """The decision on the first call that may not pass, as far as is known by now."""
        found = [decision for decision in self._judged.values() if refuses(decision)]
        found += [live.stream.decision for live in self._live.values() if live.stream.is_stopped]
        return found[0] if found else None

    def finishing(self, calls: Sequence[Call], turn: Message) -> Steps[Judged]:
        """Judge what is still open, and every call among `calls` that was not read as it stands there."""
        for key in list(self._live):
            yield from self._finish(key)
        guard = self._exchange.guard
        for call in calls:
            if call.content not in self._judged:
                whole = ToolCall(call.name, call.arguments)
                decision = yield wait(
                    guard.check_tool_call, guard.acheck_tool_call, self._conversation(turn), whole,
                    conversation_id=self._exchange.id,
                )  # fmt: skip
                self._keep(call, decision)
        return self._judged

    def close(self) -> None:
        """Free what is still open; its calls are recorded as abandoned."""
        for live in self._live.values():
            live.stream.close()

    def _finish(self, key: Hashable) -> Steps[None]:
        live = self._live.pop(key)
        with live.stream:
            decision = yield wait(live.stream.finish, live.stream.afinish)
        self._keep(Call(live.id, live.name, live.arguments), decision)

    def _keep(self, call: Call, decision: Decision) -> None:
        self._judged[call.content] = harder(self._judged.get(call.content), decision)
        if not decision.stopped:
            self._passed.append(ToolCall(call.name, call.arguments))

    def _conversation(self, turn: Message) -> tuple[Message, ...]:
        """Return what stands before the next call: the conversation, what was said, and the calls that passed."""
        turn = replace(turn, tool_calls=tuple(self._passed))
        has_said = turn.content or turn.reasoning or turn.tool_calls
        return (*self._exchange.messages, turn) if has_said else self._exchange.messages
