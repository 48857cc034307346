"""What a `GuardedModel` tells the guardrails of tools: that it has read a call, and after which messages."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from guardrail.adapters.openai_agents.records import run_id
from guardrail.conversation import Message
from guardrail.guard import Guard

_MAX_TURNS = 1024
"""Calls remembered at most; a number of our own choosing. A result whose turn is forgotten has less context, and one
that is not known as screened is read again."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that makes calls.

    Attributes:
        id: of the conversation.
        messages: all of it, up to the calls.
    """

    id: str | None
    messages: tuple[Message, ...]


class Turns:
    """The turns that made the latest calls. Safe for many tasks of one event loop.

    The SDK shows a tool's guardrail the input of the run only. With the whole turn the guard reads a result on from
    what it has read already.

    Attributes:
        guard: has read the calls.
    """

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self._turns: OrderedDict[tuple[str, str], Turn] = OrderedDict()
        self._screened: OrderedDict[tuple[str, str], None] = OrderedDict()

    def keep(self, call_ids: Iterable[str], turn: Turn) -> None:
        """Remember the turn that makes these calls; outside a traced run nobody can tell whose calls they are."""
        if run := run_id():
            self._turns.update({(run, call_id): turn for call_id in call_ids})
        while len(self._turns) > _MAX_TURNS:
            self._turns.popitem(last=False)

    def take(self, call_id: str) -> Turn | None:
        """Return the turn that made a call, once."""
        return self._turns.pop((run_id() or "", call_id), None)

    def note_screened(self, call_id: str, text: str) -> None:
        """Remember what a guardrail let the LLM read as a call's result."""
        self._screened[call_id, _digest(text)] = None
        while len(self._screened) > _MAX_TURNS:
            self._screened.popitem(last=False)

    def is_screened(self, call_id: str, text: str) -> bool:
        """Whether a guardrail has let the LLM read just this as the call's result."""
        return (call_id, _digest(text)) in self._screened


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
