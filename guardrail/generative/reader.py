"""The reader of Qwen3Guard-Gen models: whole texts are judged, and an answer again and again as it grows."""

from collections.abc import Callable, Sequence
from copy import copy

from guardrail.conversation import END_TOOL_CALL, Message, Segment
from guardrail.errors import ConfigurationError, ContextOverflow, StreamError
from guardrail.generative.fitting import Kept, latest, windows, without_old_turns
from guardrail.generative.line import Line
from guardrail.generative.spoofing import without_markers
from guardrail.generative.template import Turn
from guardrail.generative.turns import call_context, context_turns, prompt_turns, response_turn
from guardrail.policy import Policy, TooLong
from guardrail.reader import AnswerReader, PromptReading
from guardrail.reuse import Tapes
from guardrail.tape import Steps
from guardrail.verdict import TokenVerdict

STRIDE_CHARS = 256
"""Characters of an answer from one judgement to the next: about 64 tokens of English. Each judges all of the answer so
far, so half of it costs twice as much, and holds text half as long. Ours."""


class GenerativeReader:
    """Reads with a Gen model, wherever it runs; see `Reader`."""

    def __init__(self, line: Callable[[Tapes], Line], *, stride_chars: int = STRIDE_CHARS) -> None:
        """Take a way to the model.

        Args:
            line: opens one for a conversation.
            stride_chars: characters of an answer from one judgement to the next.

        Raises:
            ConfigurationError: the stride is no positive number.
        """
        if stride_chars < 1:
            raise ConfigurationError(f"stride_chars = {stride_chars} is no positive number")
        self._line, self._stride = line, stride_chars

    def prompt(self, tapes: Tapes, _policy: Policy, messages: Sequence[Message], reading: PromptReading) -> Steps[None]:
        """Judge the last turn as the user's query; one that is too long, in overlapping windows."""
        line, turns = self._line(tapes), prompt_turns(messages)
        try:
            kept = without_old_turns(turns, 1, lambda some: line.size(some) <= line.limit)
            pieces = [kept.turns] if kept else windows(turns[-1], lambda some: line.size(some) <= line.limit)
            n_dropped = kept.n_dropped if kept else len(turns) - 1
            reading.n_dropped_turns = max(reading.n_dropped_turns, n_dropped)
            for piece in pieces:
                found = yield from line.ask(piece)
                reading.n_tokens += found.n_tokens
                reading.verdicts.append(found.verdict)
        except BaseException:
            line.close(keep=False)
            raise
        line.close()

    def answer(
        self, tapes: Tapes, policy: Policy, messages: Sequence[Message], *, is_call: bool = False
    ) -> AnswerReader:
        """Return what judges one answer as it grows."""
        line = self._line(tapes)
        if not is_call:
            return GenerativeAnswer(line, context_turns(messages), policy.too_long, self._stride)
        before, opening = call_context(messages)
        return GenerativeAnswer(line, before, policy.too_long, self._stride, call=opening)

    def close(self) -> None:
        """Nothing is held besides the engine or the endpoint."""


class GenerativeAnswer:
    """Judges one answer at every stride of it, and at its end; see `AnswerReader`.

    The text of a stride is held until all of the answer up to its end was judged.
    """

    def __init__(
        self,
        line: Line,
        before: Sequence[Turn],
        too_long: TooLong,
        stride_chars: int,
        *,
        call: tuple[Segment, ...] | None = None,
    ) -> None:
        """Start before the answer.

        Args:
            line: to the model.
            before: turns before the answer.
            too_long: what happens beyond the model's context.
            stride_chars: characters from one judgement to the next.
            call: of a tool call, the turn that it stands in up to its JSON; None for other answers.
        """
        self._line, self._before, self._too_long, self._stride = line, before, too_long, stride_chars
        self._call = call
        self._reasoning, self._answer = "", ""
        self._has_ended = False
        self._n_judged = 0
        self._judged_chars = 0
        self._last: TokenVerdict | None = None
        self.n_windows: int = 1
        self.n_dropped_turns: int = 0

    def open(self) -> Steps[None]:
        """Read what stands before the answer, where the model can keep it."""
        yield from self._line.prepare([*self._before, self._turn(0)])

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text of the answer, or of the reasoning before it."""
        if thinking and delta and self._answer:
            raise StreamError("reasoning was fed after the answer had begun")
        if thinking:
            self._reasoning += delta
        else:
            self._answer += delta

    def end(self) -> None:
        """Take note that no more text comes."""
        self._has_ended = True

    @property
    def has_pending(self) -> bool:
        """Whether a stride is full, or the answer has ended behind the last one."""
        return self._judged_chars < self._next_end <= self._n_chars

    @property
    def held_chars(self) -> int:
        """None: what waits for its stride is bounded by that."""
        return 0

    def read(self) -> Steps[list[TokenVerdict]]:
        """Judge the answer up to the end of the next stride."""
        found = yield from self._judge(self._next_end)
        self._n_judged, self._judged_chars = found.index + 1, found.end
        return [found]

    def warm(self) -> Steps[None]:
        """Do nothing: the next judgement reads all that it needs."""
        yield from ()

    def peek(self, rest: str = "", *, thinking: bool = False) -> Steps[list[TokenVerdict]]:
        """Return the verdicts that would come if the answer ended here, or behind `rest`."""
        ahead = copy(self)
        ahead.push(rest, thinking=thinking)
        ahead.end()
        found: list[TokenVerdict] = []
        while ahead.has_pending:
            found += yield from ahead.read()
        self.n_windows, self.n_dropped_turns = ahead.n_windows, ahead.n_dropped_turns
        return found

    def last(self) -> Steps[TokenVerdict | None]:
        """Return the verdict on all of the answer so far."""
        if self._n_chars and (self._last is None or self._last.end != self._n_chars):
            self._last = yield from self._judge(self._n_chars, is_end=True)
        return self._last

    def close(self, *, keep: bool = True) -> None:
        """Give up the line to the model."""
        self._line.close(keep=keep)

    @property
    def _n_chars(self) -> int:
        return len(self._reasoning) + len(self._answer)

    @property
    def _next_end(self) -> int:
        """Where the next judgement ends: strides are counted from the beginning, however the text comes."""
        end = (self._judged_chars // self._stride + 1) * self._stride
        return min(end, self._n_chars) if self._has_ended else end

    def _judge(self, end: int, *, is_end: bool = False) -> Steps[TokenVerdict]:
        is_end = is_end or (self._has_ended and end == self._n_chars)
        kept = self._fitted([*self._before, self._turn(end, is_end=is_end)])
        self.n_dropped_turns = max(self.n_dropped_turns, kept.n_dropped)
        self.n_windows += kept.is_cut
        found = yield from self._line.ask(kept.turns)
        return TokenVerdict(found.verdict, self._n_judged, self._judged_chars, end, is_whole=True)

    def _fitted(self, turns: Sequence[Turn]) -> Kept:
        """Return the turns that fit; what an answer outgrows is left out, if it may slide."""
        line = self._line
        kept = without_old_turns(turns, 2, lambda some: line.size(some) <= line.limit)
        if kept:
            return kept
        if self._too_long is TooLong.STOP:
            raise ContextOverflow("the answer outgrew the model's context")
        return Kept(latest(turns[-2:], lambda some: line.size(some) <= line.limit), len(turns) - 2, is_cut=True)

    def _turn(self, end: int, *, is_end: bool = False) -> Turn:
        """Return the answer's turn with its first `end` characters."""
        answer = self._answer[: max(0, end - len(self._reasoning))]
        if self._call is None:
            return response_turn(self._reasoning[:end], answer)
        content = Segment(without_markers(answer), "content")
        return Turn("assistant", (*self._call, content, *(END_TOOL_CALL if is_end else ())))
