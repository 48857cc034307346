"""Reading with an engine, as generators that yield feeds and are sent logits.

Sync and async callers drive the same generators (`driving.py`), so they share every decision.
"""

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from guardrail.conversation import BEGIN_THINKING, EMPTY_THINKING, END_THINKING, Message, Segment
from guardrail.encoding import GuardTokenizer, IncrementalEncoder, Token
from guardrail.engines.base import Engine, Feed, FloatArray, Logits, Session, check_logits
from guardrail.errors import ContextOverflow, EngineError, StreamError
from guardrail.policy import TooLong
from guardrail.taxonomy import LabelSet
from guardrail.verdict import TokenVerdict, Verdict
from guardrail.windowing import common_prefix, fit_context, fit_prompt

_log = logging.getLogger("guardrail")

T = TypeVar("T")
Steps = Generator[list[Feed], list[Logits], T]
"""A computation that yields batches for the engine and returns a T."""

READ_CHUNK = 256
"""Tokens read in one engine call before the gate may stop the rest. Ours: a stop early in a long text saves work."""

WARM_FROM = 8
"""Provisional tokens (a long clause in a script without spaces) from which they are fed early to warm the KV cache.
Our choice: below it a later call reads them for little more than one token costs (`onnx_perf.md` section 3)."""


@contextmanager
def engine_edge() -> Iterator[None]:
    """Whatever an engine raises becomes an EngineError, so that a failure can never look like a verdict."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # the engine edge: foreign exceptions are translated here, once
        raise EngineError(f"the engine raised {type(error).__name__}") from error


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


def read_prompt(
    engine: Engine, tokenizer: GuardTokenizer, messages: Sequence[Message], reading: PromptReading
) -> Steps[None]:
    """Judge the last turn: the query heads at its closing `<|im_end|>`, nowhere else. Adds to `reading`."""
    fitted = fit_prompt(tokenizer, messages, engine.info.max_context)
    reading.n_dropped_turns = max(reading.n_dropped_turns, fitted.n_dropped_turns)
    for ids in fitted.windows:
        session = _open(engine)
        try:
            logits = yield from _feed(engine, Feed(session, ids))
        finally:
            _close(session)
        reading.n_tokens += len(ids)
        reading.verdicts += _verdicts(engine.info.prompt_labels, logits.query_risk[-1:], logits.query_category[-1:])


def _open(engine: Engine) -> Session:
    with engine_edge():
        return engine.open()


def _close(session: Session) -> None:
    """Close a session; one that cannot be closed changes no verdict."""
    try:
        session.close()
    except Exception as error:  # noqa: BLE001  # the engine edge: nothing is read from this session any more
        _log.error("an engine's session could not be closed: %s", type(error).__name__)


def _feed(engine: Engine, feed: Feed) -> Steps[Logits]:
    (logits,) = yield [feed]
    with engine_edge():
        check_logits(logits, len(feed.ids), engine.info)
    return logits


def _verdicts(labels: LabelSet, risk: FloatArray, category: FloatArray) -> list[Verdict]:
    """Turn logits, float32 [position, risk] and [position, category], into verdicts; softmax in float64."""
    rows = zip(_softmax(risk).tolist(), _softmax(category).tolist(), strict=True)
    return [Verdict(labels, tuple(r), tuple(c)) for r, c in rows]


def _softmax(logits: FloatArray) -> NDArray[np.float64]:
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


@dataclass(slots=True)
class _Warm:
    """Provisional tokens already in the KV cache, with the verdict each would have if it becomes final."""

    ids: list[int]
    verdicts: list[Verdict]


class _Unopened:
    """Stands where no session is open yet: it holds nothing."""

    length = 0

    def rollback(self, length: int) -> None:
        """Nothing to forget."""

    def close(self) -> None:
        """Nothing to free."""


class AnswerReader:
    """Reads one answer as it streams: push text, then read verdicts until none are pending.

    The context, the answer's header and the think block are fed and never judged. Keeps state: one caller at a time.
    """

    def __init__(
        self, engine: Engine, tokenizer: GuardTokenizer, messages: Sequence[Message], too_long: TooLong
    ) -> None:
        self._engine, self._tokenizer, self._messages, self._too_long = engine, tokenizer, messages, too_long
        self._session: Session = _Unopened()
        self._encoder: IncrementalEncoder | None = None
        self._is_thinking = False
        self._part_start = 0
        self._n_chars = 0
        self._queue: deque[tuple[Token, int]] = deque()
        self._answer_ids: list[int] = []
        self._n_judged = 0
        self._warm = _Warm([], [])
        self.n_windows = 1
        self.n_dropped_turns = 0

    def open(self) -> Steps[None]:
        """Read what stands before the answer.

        All of it, if a sixteenth of the context is left, since an answer that outgrows the rest may slide. Otherwise,
        and where it may not slide, a quarter is left for the answer, and old turns are dropped.
        """
        size = self._engine.info.max_context
        limits = [size * 15 // 16, size * 3 // 4] if self._too_long is TooLong.SLIDE else [size * 3 // 4]
        for limit in limits:
            fitted = fit_context(self._tokenizer, self._messages, limit)
            if not fitted.n_dropped_turns:
                break
        self.n_dropped_turns = fitted.n_dropped_turns
        self._session = _open(self._engine)
        yield from _feed(self._engine, Feed(self._session, fitted.windows[0]))

    def push(self, delta: str, *, thinking: bool) -> None:
        """Take text of the answer, or of the reasoning before it.

        Raises:
            StreamError: reasoning came after the answer had begun.
        """
        if not delta:
            return
        if self._encoder is None:
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
        self._enqueue(self._finish_part(END_THINKING[0].text if self._is_thinking else ""))

    @property
    def has_pending(self) -> bool:
        """Whether final tokens wait to be read."""
        return bool(self._queue)

    @property
    def held_chars(self) -> int:
        """Characters received whose tokens are not final yet."""
        return self._encoder.held_chars if self._encoder else 0

    @property
    def n_judged(self) -> int:
        """Content tokens judged so far."""
        return self._n_judged

    def read(self) -> Steps[list[TokenVerdict]]:
        """Read the next chunk of pending tokens and return the verdicts of those that are content.

        Raises:
            ContextOverflow: the answer outgrew the context and may not slide.
        """
        if self._session.length - len(self._warm.ids) >= self._engine.info.max_context:
            yield from self._slide()
        room = self._engine.info.max_context - self._session.length + len(self._warm.ids)
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
        if len(ids) > self._engine.info.max_context - self._session.length + len(self._warm.ids):
            return
        n_common = common_prefix(ids, self._warm.ids)
        if len(ids) - n_common < WARM_FROM:
            return
        kept = self._warm.verdicts[:n_common]
        self._forget_warm(n_common)
        logits = yield from _feed(self._engine, Feed(self._session, ids[n_common:]))
        self._warm = _Warm(ids, kept + self._response_verdicts(logits))

    def close(self) -> None:
        """Free the session."""
        _close(self._session)

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
        logits = yield from _feed(self._engine, Feed(self._session, ids[n_common:]))
        return verdicts + self._response_verdicts(logits)

    def _forget_warm(self, n_kept: int) -> None:
        if len(self._warm.ids) > n_kept:
            with engine_edge():
                self._session.rollback(self._session.length - len(self._warm.ids) + n_kept)
        self._warm = _Warm([], [])

    def _response_verdicts(self, logits: Logits) -> list[Verdict]:
        return _verdicts(self._engine.info.response_labels, logits.response_risk, logits.response_category)

    def _slide(self) -> Steps[None]:
        """Start over in a fresh session: half the room for the conversation, and the answer's last quarter."""
        if self._too_long is TooLong.STOP:
            raise ContextOverflow(f"the answer outgrew the model's context of {self._engine.info.max_context} tokens")
        size = self._engine.info.max_context
        _close(self._session)
        self._session, self._warm = _open(self._engine), _Warm([], [])
        fitted = fit_context(self._tokenizer, self._messages, size // 2)
        self.n_dropped_turns = max(self.n_dropped_turns, fitted.n_dropped_turns)
        self.n_windows += 1
        yield from _feed(self._engine, Feed(self._session, [*fitted.windows[0], *self._answer_ids[-(size // 4) :]]))
