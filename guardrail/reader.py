"""The one seam between a guard and the kinds of model that it can have: how prompts and answers are read.

A reader turns text into verdicts, as generators of steps (`tape.py`), so that sync and async callers share them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from guardrail.conversation import Message
from guardrail.policy import Policy
from guardrail.reuse import Tapes
from guardrail.tape import Steps
from guardrail.verdict import TokenVerdict, Verdict


@dataclass(slots=True)
class PromptReading:
    """What reading prompts gave so far: what was read before a failure still counts.

    Attributes:
        verdicts: one a window, in order; a prompt that fitted has one window.
        n_tokens: tokens read.
        n_dropped_turns: most old turns that one prompt left unread.
    """

    verdicts: list[Verdict] = field(default_factory=list)
    n_tokens: int = 0
    n_dropped_turns: int = 0


class AnswerReader(Protocol):
    """Reads one answer as it streams: push text, then read verdicts until none are pending. One caller at a time.

    However the text is cut, the verdicts are the same.
    """

    @property
    def n_windows(self) -> int:
        """Readings that were needed because of the model's context."""
        ...

    @property
    def n_dropped_turns(self) -> int:
        """Old turns that are not read."""
        ...

    def open(self) -> Steps[None]:
        """Read what stands before the answer."""
        ...

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text of the answer, or of the reasoning before it.

        Raises:
            StreamError: reasoning came after the answer had begun.
        """
        ...

    def end(self) -> None:
        """Take note that no more text comes."""
        ...

    @property
    def has_pending(self) -> bool:
        """Whether `read` would give verdicts now."""
        ...

    @property
    def held_chars(self) -> int:
        """Characters received that cannot be read before more text comes, of a kind that may go on without bound."""
        ...

    def read(self) -> Steps[list[TokenVerdict]]:
        """Return the next verdicts, in order.

        Raises:
            EngineError: the model failed.
            ContextOverflow: the answer outgrew the context and may not slide.
        """
        ...

    def warm(self) -> Steps[None]:
        """Do work early that is likely to be needed; nothing is decided on it."""
        ...

    def peek(self, rest: str = "", *, thinking: bool = False) -> Steps[list[TokenVerdict]]:
        """Return the verdicts that would still come if the answer ended here; nothing becomes final.

        Nothing may be pending.

        Args:
            rest: more text of the part under way, behind which it would end.
            thinking: as in `push`.
        """
        ...

    def last(self) -> Steps[TokenVerdict | None]:
        """Return the verdict at the end of the text so far, as if the answer ended here; pending ones are passed over.

        None where there is nothing to judge.
        """
        ...

    def close(self, *, keep: bool = True) -> None:
        """Give up what is held: to the conversation's next call, or for good if a step may not have ended well."""
        ...


class Reader(Protocol):
    """How a guard reads with its model. Safe for many threads; an `AnswerReader` has one caller at a time."""

    def prompt(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], reading: PromptReading, /
    ) -> Steps[None]:
        """Judge the last turn, and add what is found to `reading`.

        Args:
            tapes: give the engine's sessions.
            policy: says when a second model is asked.
            messages: end with the user's turn, or the tool's result, under judgement.
            reading: takes the verdicts, as they come.

        Raises:
            EngineError: the model failed.
        """
        ...

    def answer(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], /, *, is_call: bool = False
    ) -> AnswerReader:
        """Return what reads one answer.

        Args:
            tapes: as in `prompt`.
            policy: also says what happens beyond the model's context.
            messages: what stands before the answer.
            is_call: a tool call is read: if the assistant's message stands last, that is the turn that calls.
        """
        ...

    def close(self) -> None:
        """Free what the engine does not."""
        ...
