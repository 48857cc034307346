"""Two models behind one guard: a cheap one reads everything, a strong one is asked where the cheap one is uncertain.

When that is, and for how many tokens the strong model's word holds, is policy (`CascadeRules`). Both go by the cheap
model's tokens, so that cutting a text otherwise changes nothing. A verdict of the strong model names it; its failure is
a failure.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from guardrail.actions import Action
from guardrail.conversation import Message
from guardrail.engines.base import Engine, ModelInfo
from guardrail.policy import Policy
from guardrail.prefixes import Owner
from guardrail.reader import AnswerReader, PromptReading, Reader
from guardrail.reuse import Tapes
from guardrail.tape import Steps, borrowing
from guardrail.taxonomy import RiskLevel
from guardrail.verdict import Speaker, TokenVerdict, Verdict


@dataclass(frozen=True, slots=True)
class Strong:
    """The model that is asked in doubt.

    Attributes:
        reader: reads with it.
        engine: runs it.
        tapes: gives its sessions for an owner's text.
        close: frees it.
    """

    reader: Reader
    engine: Engine
    tapes: Callable[[Owner], Tapes]
    close: Callable[[], None]

    def named(self, verdict: Verdict) -> Verdict:
        """Return its verdict with its name, unless a third model behind it has said it."""
        return verdict if verdict.speaker else replace(verdict, speaker=_speaker(self.engine.info))


_Piece = tuple[str, bool]
"""Text, and whether it is reasoning."""


class CascadeReader:
    """Reads with a cheap model, and with a strong one where that is uncertain; see `Reader`."""

    def __init__(self, cheap: Reader, strong: Strong) -> None:
        """Combine two models.

        Args:
            cheap: reads with the guard's own engine.
            strong: with one of its own.
        """
        self._cheap, self._strong = cheap, strong

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """The strong model, and those behind it."""
        behind = self._strong.reader.models if isinstance(self._strong.reader, CascadeReader) else ()
        return (self._strong.engine.info, *behind)

    def prompt(self, tapes: Tapes, policy: Policy, messages: Sequence[Message], reading: PromptReading) -> Steps[None]:
        """Judge the last turn with the cheap model, and in doubt with the strong one.

        The strong model's word then counts, beside what the cheap one was sure of in other windows. It is not asked
        where that stops the turn already.
        """
        n_before, rules = len(reading.verdicts), policy.cascade
        yield from self._cheap.prompt(tapes, policy, messages, reading)
        cheap = reading.verdicts[n_before:]
        sure = [verdict for verdict in cheap if rules.is_sure_of_harm(verdict)]
        is_stopped = any(policy.prompt.action(verdict) is Action.STOP for verdict in sure)
        if is_stopped or not any(map(rules.doubts, cheap)):
            return
        strong, found = self._strong, PromptReading()
        steps = strong.reader.prompt(strong.tapes(tapes.owner), policy, messages, found)
        yield from borrowing(strong.engine, steps)
        reading.verdicts[n_before:] = [*sure, *map(strong.named, found.verdicts)]
        reading.n_tokens += found.n_tokens
        reading.n_dropped_turns = max(reading.n_dropped_turns, found.n_dropped_turns)

    def answer(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], *, is_call: bool = False
    ) -> AnswerReader:
        """Return what reads one answer with the cheap model, and in doubt with the strong one."""
        cheap = self._cheap.answer(tapes, policy, messages, is_call=is_call)
        strong, strong_tapes = self._strong, self._strong.tapes(tapes.owner)
        second = _Second(strong, lambda: strong.reader.answer(strong_tapes, policy, messages, is_call=is_call))
        return CascadeAnswer(cheap, second, policy)

    def close(self) -> None:
        """Free both models, but for the guard's own engine."""
        self._cheap.close()
        self._strong.close()


class _Second:
    """The strong model's reading of an answer: it follows as far as it is asked. One caller at a time."""

    def __init__(self, strong: Strong, open_reader: Callable[[], AnswerReader], pushed: Sequence[_Piece] = ()) -> None:
        self._strong, self._open_reader = strong, open_reader
        self._pushed = [*pushed]
        self._unread = deque(pushed)
        self._n_read = 0
        self._is_open = False
        self.reader: AnswerReader = open_reader()

    def push(self, delta: str, *, thinking: bool) -> None:
        """Keep text until it is asked about."""
        self._pushed.append((delta, thinking))
        self._unread.append((delta, thinking))

    def again(self) -> "_Second":
        """Return another reading of the same text, from its beginning."""
        return _Second(self._strong, self._open_reader, self._pushed)

    def judge(self, end: int) -> Steps[TokenVerdict | None]:
        """Return the verdict at the end of the answer's first `end` characters; None where it has nothing to judge.

        From one call to the next, `end` never becomes smaller.
        """
        return borrowing(self._strong.engine, self._judging(end))

    def _judging(self, end: int) -> Steps[TokenVerdict | None]:
        if not self._is_open:
            self._is_open = True
            yield from self.reader.open()
        while self._unread and self._n_read < end:
            text, thinking = self._unread.popleft()
            taken, rest = text[: end - self._n_read], text[end - self._n_read :]
            if rest:
                self._unread.appendleft((rest, thinking))
            self.reader.push(taken, thinking=thinking)
            self._n_read += len(taken)
        found = yield from self.reader.last()
        return found and replace(found, verdict=self._strong.named(found.verdict))


class CascadeAnswer:
    """Reads one answer with two models; see `AnswerReader`.

    Where the strong model has judged, its verdict stands in place of the cheap one's. If it cleared the text, so it
    does at the next tokens at which the cheap model is uncertain again.
    """

    def __init__(self, cheap: AnswerReader, second: _Second, policy: Policy) -> None:
        self._cheap, self._second, self._policy = cheap, second, policy
        self._judged: deque[TokenVerdict] = deque()
        self._cleared: TokenVerdict | None = None

    @property
    def n_windows(self) -> int:
        """Readings of the model that needed more of them."""
        return max(self._cheap.n_windows, self._second.reader.n_windows)

    @property
    def n_dropped_turns(self) -> int:
        """Old turns that one of the models did not read."""
        return max(self._cheap.n_dropped_turns, self._second.reader.n_dropped_turns)

    def open(self) -> Steps[None]:
        """Read what stands before the answer with the cheap model."""
        return self._cheap.open()

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text for both models."""
        self._cheap.push(delta, thinking=thinking)
        self._second.push(delta, thinking=thinking)

    def end(self) -> None:
        """Take note that no more text comes."""
        self._cheap.end()

    @property
    def has_pending(self) -> bool:
        """Whether verdicts wait, or text that can be read."""
        return bool(self._judged) or self._cheap.has_pending

    @property
    def held_chars(self) -> int:
        """Characters that the cheap model cannot read yet."""
        return self._cheap.held_chars

    def read(self) -> Steps[list[TokenVerdict]]:
        """Return the next verdicts that need no question, or else the next one, asked for: each may stop the answer."""
        if not self._judged:
            self._judged.extend((yield from self._cheap.read()))
        found: list[TokenVerdict] = []
        while self._judged and (settled := self._settled(self._judged[0])):
            self._judged.popleft()
            found.append(settled)
        if self._judged and not found:
            found.append((yield from self._asked(self._second, self._judged.popleft())))
        return found

    def warm(self) -> Steps[None]:
        """Let the cheap model work early."""
        return self._cheap.warm()

    def peek(self, rest: str = "", *, thinking: bool = False) -> Steps[list[TokenVerdict]]:
        """Return the verdicts that would still come if the answer ended here; the strong model reads it anew."""
        found, cleared, second = [], self._cleared, self._second.again()
        second.push(rest, thinking=thinking)
        try:
            for token in (yield from self._cheap.peek(rest, thinking=thinking)):
                settled = self._settled(token)
                found.append((yield from self._asked(second, token)) if settled is None else settled)
        except BaseException:
            second.reader.close(keep=False)
            raise
        finally:
            self._cleared = cleared
        second.reader.close()
        return found

    def last(self) -> Steps[TokenVerdict | None]:
        """Return the verdict at the end of the text so far."""
        self._judged.clear()
        token = yield from self._cheap.last()
        return token and (self._settled(token) or (yield from self._asked(self._second, token)))

    def close(self, *, keep: bool = True) -> None:
        """Give up what both models hold."""
        self._cheap.close(keep=keep)
        self._second.reader.close(keep=keep)

    def _settled(self, token: TokenVerdict) -> TokenVerdict | None:
        """Return the verdict at a token, if the strong model need not be asked."""
        rules, cleared = self._policy.cascade, self._cleared
        if not rules.doubts(token.verdict):
            return token
        if cleared and token.index - cleared.index <= rules.grace_tokens:
            return replace(token, verdict=cleared.verdict)
        return None

    def _asked(self, second: _Second, token: TokenVerdict) -> Steps[TokenVerdict]:
        found = yield from second.judge(token.end)
        if found is None:
            return token
        judged = replace(token, verdict=found.verdict, is_whole=found.is_whole)
        is_clear = self._policy.response.level(found.verdict) is RiskLevel.SAFE
        self._cleared = judged if is_clear else None
        return judged


def _speaker(info: ModelInfo) -> Speaker:
    return Speaker(info.name, info.sha256, info.engine, info.precision)
