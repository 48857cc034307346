"""Reads a text as it stands and, where that differs, as its normalised twin: the worse of both verdicts counts.

The reading of an answer gets text once its twin is certain. As long as both are the same there is one reading. At the
first difference a second one starts, which reads the twin from its beginning; from then on a token of the text is given
when the twin has been read as far, with the worst verdict of what stands there. A verdict given before is the twin's as
well, since it rests on text that both begin with: so how a text is cut changes nothing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from itertools import takewhile

from guardrail.actions import Action
from guardrail.conversation import Message
from guardrail.errors import StreamError
from guardrail.normalise_rules import NormaliseRules
from guardrail.normalising.second import TwinReading
from guardrail.normalising.tapes import SharedTapes
from guardrail.normalising.twin import Normaliser, Piece, normalised
from guardrail.policy import Policy, Rules
from guardrail.reader import AnswerReader, PromptReading, Reader
from guardrail.reuse import Tapes
from guardrail.tape import Steps
from guardrail.verdict import TokenVerdict


def with_twin(reader: Reader, rules: NormaliseRules) -> Reader:
    """Return a reader that reads what the rules name with its twin."""
    return TwinReader(reader, rules) if rules.prompts or rules.answers else reader


class TwinReader:
    """Reads texts and their twins with another reader; see `Reader`."""

    def __init__(self, inner: Reader, rules: NormaliseRules) -> None:
        """Wrap a reader.

        Args:
            inner: reads both.
            rules: say which texts have a twin.
        """
        self._inner, self._rules = inner, rules

    def prompt(self, tapes: Tapes, policy: Policy, messages: Sequence[Message], reading: PromptReading) -> Steps[None]:
        """Judge the last turn, and its twin too if that differs and the turn is not stopped anyway.

        In shadow mode the twin is read even so: the records are there to tell what other rules would have done.
        """
        n_before = len(reading.verdicts)
        yield from self._inner.prompt(tapes, policy, messages, reading)
        if not self._rules.prompts:
            return
        said = reading.verdicts[n_before:]
        if policy.enforce and any(policy.prompt.action(verdict) is Action.STOP for verdict in said):
            return
        last = messages[-1]
        twin = normalised(last.content).text
        if twin != last.content:
            yield from self._inner.prompt(tapes, policy, (*messages[:-1], replace(last, content=twin)), reading)

    def answer(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], *, is_call: bool = False
    ) -> AnswerReader:
        """Return what reads one answer and its twin."""
        if not self._rules.answers:
            return self._inner.answer(tapes, policy, messages, is_call=is_call)
        shared = SharedTapes(tapes)
        rules = policy.call_rules() if is_call else policy.response
        return TwinAnswer(lambda: self._inner.answer(shared, policy, messages, is_call=is_call), rules)

    def close(self) -> None:
        """Free what the inner reader holds."""
        self._inner.close()


class TwinAnswer:
    """Reads one answer and its twin; see `AnswerReader`."""

    def __init__(self, open_reader: Callable[[], AnswerReader], rules: Rules) -> None:
        """Start before the answer.

        Args:
            open_reader: makes a reader of this answer.
            rules: say which verdict is worse.
        """
        self._open_reader, self._rules = open_reader, rules
        self._raw = open_reader()
        self._second: TwinReading | None = None
        self._normaliser = Normaliser()
        self._same: list[tuple[str, bool]] = []
        self._n_chars = 0
        self._is_thinking = False
        self._waiting: deque[TokenVerdict] = deque()
        self._last: TokenVerdict | None = None

    @property
    def n_windows(self) -> int:
        """Most that either reading needed."""
        return max(reader.n_windows for reader in self._readers)

    @property
    def n_dropped_turns(self) -> int:
        """Most that either reading left out."""
        return max(reader.n_dropped_turns for reader in self._readers)

    def open(self) -> Steps[None]:
        """Read what stands before the answer."""
        return self._raw.open()

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text; it is read once its twin is certain."""
        if not delta:
            return
        if self._n_chars and thinking != self._is_thinking:
            if thinking:
                raise StreamError("reasoning was fed after the answer had begun")
            self._take(self._normaliser.finish())
            self._normaliser = Normaliser(self._n_chars)
        self._is_thinking = thinking
        self._n_chars += len(delta)
        self._take(self._normaliser.feed(delta))

    def end(self) -> None:
        """Take note that no more text comes."""
        self._take(self._normaliser.finish())
        self._raw.end()
        if self._second:
            self._second.end()

    @property
    def has_pending(self) -> bool:
        """Whether either reading can go on, or tokens can be given."""
        is_behind = self._second is not None and self._second.has_pending
        return self._raw.has_pending or is_behind or (bool(self._waiting) and self._is_passed(self._waiting[0]))

    @property
    def held_chars(self) -> int:
        """Characters that wait for the end of a word, or for the first reading."""
        return len(self._normaliser.held) + self._raw.held_chars

    def read(self) -> Steps[list[TokenVerdict]]:
        """Let the reading that is behind go on; return the tokens that both have passed."""
        second = self._second
        if second and second.has_pending and (self._waiting or not self._raw.has_pending):
            yield from second.read()
        elif self._raw.has_pending:
            self._waiting += yield from self._raw.read()
        given: list[TokenVerdict] = []
        while self._waiting and self._is_passed(self._waiting[0]):
            given.append(self._given(self._waiting.popleft()))
        return given

    def warm(self) -> Steps[None]:
        """Let both readings work early."""
        for reader in self._readers:
            yield from reader.warm()

    def peek(self, rest: str = "", *, thinking: bool = False) -> Steps[list[TokenVerdict]]:
        """Return the verdicts that would still come if the answer ended here, or behind `rest`."""
        ahead = copy(self._normaliser)
        pieces = [*ahead.feed(rest), *ahead.finish()]
        thinking = self._is_thinking if self._n_chars else thinking
        if self._second is None and not all(piece.is_same for piece in pieces):
            self._second = yield from self._started()
        raw = yield from self._raw.peek("".join(piece.raw for piece in pieces), thinking=thinking)
        tokens = [*self._waiting, *raw]
        if self._second is None:
            return tokens
        found = yield from self._second.peek(pieces, thinking=thinking)
        return [self._worst(token, found) for token in tokens]

    def last(self) -> Steps[TokenVerdict | None]:
        """Return the verdict at the end of the text so far."""
        found: list[TokenVerdict] = []
        while self.has_pending:
            found = (yield from self.read()) or found
        found = (yield from self.peek()) or found
        self._last = found[-1] if found else self._last
        return self._last

    def close(self, *, keep: bool = True) -> None:
        """Give up what both readings hold."""
        if self._second:
            self._second.close()
        self._raw.close(keep=keep)

    @property
    def _readers(self) -> list[AnswerReader]:
        return [self._raw, *([self._second.reader] if self._second else [])]

    def _started(self) -> Steps[TwinReading]:
        """Return the twin's reading of all text so far."""
        second = TwinReading(self._open_reader(), self._same)
        try:
            while second.has_pending:
                yield from second.read()
        except BaseException:
            second.close()
            raise
        return second

    def _take(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            self._raw.push(piece.raw, thinking=self._is_thinking)
            if self._second is None and piece.is_same:
                self._same.append((piece.raw, self._is_thinking))
                continue
            self._second = self._second or TwinReading(self._open_reader(), self._same)
            self._second.push(piece, thinking=self._is_thinking)

    def _is_passed(self, token: TokenVerdict) -> bool:
        """Whether every token of the twin that stands where this one does is found."""
        return self._second is None or self._second.reached >= token.end or self._second.has_read_all

    def _given(self, token: TokenVerdict) -> TokenVerdict:
        if self._second is None:
            return token
        found = self._second.found
        while found and found[0].end <= token.start:
            found.popleft()
        return self._worst(token, found)

    def _worst(self, token: TokenVerdict, found: Iterable[TokenVerdict]) -> TokenVerdict:
        """Return a token with the worst verdict among its own and those of the twin's tokens that stand there."""
        near = takewhile(lambda other: other.start < token.end, found)
        beside = [other for other in near if token.start < other.end]
        worst = max((token, *beside), key=self._gravity)
        return token if worst is token else replace(token, verdict=worst.verdict, is_whole=worst.is_whole)

    def _gravity(self, token: TokenVerdict) -> tuple[int, int, float]:
        verdict, rules = token.verdict, self._rules
        return rules.action(verdict).rank, rules.level(verdict).rank, verdict.non_safe_probability
