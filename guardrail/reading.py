"""Reading one answer token by token, as generators that yield feeds and are sent logits.

Sync and async callers drive the same generators (`driving.py`), so they share every decision.
"""

from collections import deque
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

from guardrail.conversation import BEGIN_THINKING, EMPTY_THINKING, END_THINKING, Message, Segment
from guardrail.encoding import GuardTokenizer, IncrementalEncoder, Token
from guardrail.engines.base import Logits
from guardrail.errors import ContextOverflow, EngineError, StreamError
from guardrail.policy import TooLong
from guardrail.reuse import Tapes
from guardrail.scores import verdicts_of
from guardrail.tape import Steps, Tape, common_prefix
from guardrail.verdict import TokenVerdict, Verdict
from guardrail.windowing import fit_context

READ_CHUNK = 256
"""Tokens read in one engine call before the gate may stop the rest. Ours: a stop early in a long text saves work."""

WARM_FROM = 8
"""Provisional tokens (a long clause in a script without spaces) from which they are fed early to warm the KV cache.
Our choice: below it a later call reads them for little more than one token costs (`onnx_perf.md` section 3)."""


@dataclass(slots=True)
class _Warm:
    """Provisional tokens already in the KV cache, with the verdict each would have if it becomes final."""

    ids: list[int]
    verdicts: list[Verdict]


class TokenAnswer:
    """Reads one answer as it streams; see `AnswerReader`.

    The context, the answer's header and the think block are fed and never judged. Keeps state: one caller at a time.
    """

    def __init__(
        self,
        tapes: Tapes,
        tokenizer: GuardTokenizer,
        messages: Sequence[Message],
        too_long: TooLong,
        *,
        opening: Sequence[Segment] = EMPTY_THINKING,
        closing: str = "",
    ) -> None:
        """Start before the answer.

        Args:
            tapes: give the session.
            tokenizer: of the engine's model.
            messages: what stands before the answer.
            too_long: what happens beyond the model's context.
            opening: what stands between the answer's header and the text, unless reasoning comes first.
            closing: scaffold right behind the text, encoded with it.
        """
        self._tapes, self._tokenizer, self._messages, self._too_long = tapes, tokenizer, messages, too_long
        self._opening, self._closing = opening, closing
        self._info = tapes.engine.info
        self._tape: Tape | None = None
        self._encoder: IncrementalEncoder | None = None
        self._is_thinking = False
        self._part_start = 0
        self._n_chars = 0
        self._queue: deque[tuple[Token, int]] = deque()
        self._answer_ids: list[int] = []
        self._n_judged = 0
        self._warm = _Warm([], [])
        self._last: TokenVerdict | None = None
        self.n_windows: int = 1
        self.n_dropped_turns: int = 0

    def open(self) -> Steps[None]:
        """Read what stands before the answer.

        All of it, if a sixteenth of the context is left, since an answer that outgrows the rest may slide. Otherwise,
        and where it may not slide, a quarter is left for the answer, and old turns are dropped.
        """
        size = self._info.max_context
        if self._opening is not EMPTY_THINKING:  # else reasoning may come first
            self._answer_ids = self._tokenizer.encode_segments(self._opening[:-1])[-(size // 2) :]
        limits = [size * 15 // 16, size * 3 // 4] if self._too_long is TooLong.SLIDE else [size * 3 // 4]
        for limit in limits:
            fitted = fit_context(self._tokenizer, self._messages, limit - len(self._answer_ids))
            if not fitted.n_dropped_turns:
                break
        self.n_dropped_turns = fitted.n_dropped_turns
        yield from self._start([*fitted.windows[0], *self._answer_ids])

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text of the answer, or of the reasoning before it.

        Raises:
            StreamError: reasoning came after the answer had begun.
        """
        if not delta:
            return
        if self._encoder is None:
            if self._answer_ids:
                self._begin(self._opening[-1:])
            else:
                self._begin(BEGIN_THINKING if thinking else EMPTY_THINKING)
            self._is_thinking = thinking
        elif self._is_thinking and not thinking:
            self._enqueue(self._finish_part(END_THINKING[0].text))
            self._begin(END_THINKING[1:])
            self._is_thinking = False
        elif thinking and not self._is_thinking:
            raise StreamError("reasoning was fed after the answer had begun")
        self._n_chars += len(delta)
        self._enqueue(self._encoder.feed(delta) if self._encoder else [])

    def end(self) -> None:
        """Make the held-back tail final: no more text comes."""
        self._enqueue(self._finish_part(END_THINKING[0].text if self._is_thinking else self._closing))

    @property
    def has_pending(self) -> bool:
        """Whether final tokens wait to be read."""
        return bool(self._queue)

    @property
    def held_chars(self) -> int:
        """Characters received whose tokens are not final yet."""
        return self._encoder.held_chars if self._encoder else 0

    def read(self) -> Steps[list[TokenVerdict]]:
        """Read the next chunk of pending tokens and return the verdicts of those that are content.

        Raises:
            ContextOverflow: the answer outgrew the context and may not slide.
        """
        if not self._room:
            yield from self._slide()
        room = self._room
        batch = [self._queue.popleft() for _ in range(min(READ_CHUNK, room, len(self._queue)))]
        verdicts = yield from self._read_ids([token.id for token, _ in batch])
        self._answer_ids += [token.id for token, _ in batch]
        judged = []
        for (token, start), verdict in zip(batch, verdicts, strict=True):
            if token.is_content:
                span = start + token.start, start + token.end
                judged.append(TokenVerdict(verdict, self._n_judged, *span, token.complete))
                self._n_judged += 1
        return judged

    def warm(self) -> Steps[None]:
        """Feed a long provisional tail early; nothing is decided on it, and it is rolled back when it changes."""
        if self._queue or not self._encoder or len(self._encoder.provisional) < WARM_FROM:
            return
        ids = list(self._encoder.provisional)
        if len(ids) > self._room:
            return
        if len(ids) - common_prefix(ids, self._warm.ids) >= WARM_FROM:
            yield from self._read_warm(ids)

    def peek(self, rest: str = "", *, thinking: bool = False) -> Steps[list[TokenVerdict]]:
        """Return the verdicts that the held-back tail, and `rest` behind it, would have if the answer ended there;
        nothing becomes final.

        What is read stays in the KV cache, for the case that it does become final. No tokens may be pending.

        Raises:
            ContextOverflow: as `read`.
        """
        ahead = copy(self)
        ahead._encoder, ahead._queue = copy(self._encoder), deque()
        ahead.push(rest, thinking=thinking)
        ahead.end()
        if len(ahead._queue) > self._room:
            yield from self._slide()
        verdicts = yield from self._read_warm([token.id for token, _ in ahead._queue])
        judged = [(*read, verdict) for read, verdict in zip(ahead._queue, verdicts, strict=True) if read[0].is_content]
        return [
            TokenVerdict(verdict, self._n_judged + i, start + token.start, start + token.end, token.complete)
            for i, (token, start, verdict) in enumerate(judged)
        ]

    def last(self) -> Steps[TokenVerdict | None]:
        """Return the verdict at the last token, as if the answer ended here."""
        found: list[TokenVerdict] = []
        while self._queue:
            found = (yield from self.read()) or found
        found = (yield from self.peek()) or found
        self._last = found[-1] if found else self._last
        return self._last

    def close(self, *, keep: bool = True) -> None:
        """Give the session up: to the conversation's next call, or for good if a step may not have ended well."""
        tape, self._tape = self._tape, None
        if tape:
            self._tapes.put_back(tape, keep=keep)

    def _begin(self, scaffold: Sequence[Segment]) -> None:
        """Queue a think block's tokens and start a part behind its last newlines."""
        ids = self._tokenizer.encode_segments(scaffold[:-1])
        self._queue.extend((Token(i, 0, 0, True, False), 0) for i in ids)
        self._encoder = IncrementalEncoder(self._tokenizer, scaffold[-1].text)
        self._part_start = self._n_chars

    def _finish_part(self, suffix: str) -> list[Token]:
        return self._encoder.finish(suffix) if self._encoder else []

    def _enqueue(self, tokens: list[Token]) -> None:
        self._queue.extend((token, self._part_start) for token in tokens)

    def _read_ids(self, ids: list[int]) -> Steps[list[Verdict]]:
        """Return the verdict at each id, reusing warm ones and rolling the rest of the warm tail back."""
        n_common = common_prefix(ids, self._warm.ids)
        verdicts = self._warm.verdicts[:n_common]
        if n_common == len(ids):
            self._warm = _Warm(self._warm.ids[n_common:], self._warm.verdicts[n_common:])
            return verdicts
        self._forget_warm(n_common)
        logits = yield from self._feed(ids[n_common:])
        return verdicts + self._response_verdicts(logits)

    def _read_warm(self, ids: list[int]) -> Steps[list[Verdict]]:
        """Return the verdict at each id of a tail that may still change; it is rolled back when it does."""
        n_common = common_prefix(ids, self._warm.ids)
        if n_common < len(ids):
            kept = self._warm.verdicts[:n_common]
            self._forget_warm(n_common)
            logits = yield from self._feed(ids[n_common:])
            self._warm = _Warm(ids, kept + self._response_verdicts(logits))
        return self._warm.verdicts[: len(ids)]

    def _forget_warm(self, n_kept: int) -> None:
        if len(self._warm.ids) > n_kept:
            self._open_tape.rollback(self._open_tape.length - len(self._warm.ids) + n_kept)
        self._warm = _Warm([], [])

    def _response_verdicts(self, logits: Logits) -> list[Verdict]:
        return verdicts_of(self._info.response_labels, logits.response_risk, logits.response_category)

    def _slide(self) -> Steps[None]:
        """Start over in a fresh session: half the room for the conversation, and the answer's last quarter."""
        if self._too_long is TooLong.STOP:
            raise ContextOverflow(f"the answer outgrew the model's context of {self._info.max_context} tokens")
        size = self._info.max_context
        self.close()
        self._warm = _Warm([], [])
        fitted = fit_context(self._tokenizer, self._messages, size // 2)
        self.n_dropped_turns = max(self.n_dropped_turns, fitted.n_dropped_turns)
        self.n_windows += 1
        yield from self._start([*fitted.windows[0], *self._answer_ids[-(size // 4) :]])

    def _start(self, ids: list[int]) -> Steps[None]:
        """Read ids into a tape; what it holds of them already is not read again."""
        self._tape = yield from self._tapes.open(ids)
        yield from self._feed(ids[self._tape.length :])

    def _feed(self, ids: list[int]) -> Steps[Logits]:
        return (yield from self._open_tape.feed(ids))

    @property
    def _open_tape(self) -> Tape:
        if self._tape is None:
            raise EngineError("no session is open")
        return self._tape

    @property
    def _room(self) -> int:
        """Tokens that still fit behind what was judged."""
        return self._info.max_context - self._open_tape.length + len(self._warm.ids)
