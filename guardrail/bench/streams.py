"""Many streams at once: tokens a second against the same calls one after another, and what each stream waits.

Each stream is a thread that reads one token a call, as a server does for each of its clients; the scheduler joins the
calls that wait. Contexts differ in length.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject, one_by_one_ms, random_ids
from guardrail.bench.timing import Spread, Watch
from guardrail.engines.base import Feed, Session

_BEFORE = 2
"""Tokens that every stream reads before the long prompt comes."""


@dataclass(frozen=True, slots=True)
class Streams:
    """Some streams at once.

    Attributes:
        n_streams: how many.
        tokens_per_s: of all together, by round.
        sequential_tokens_per_s: of the same sessions one after another, by round.
        ratio: the former by the latter; median of the rounds.
        delay_ms: milliseconds from asking to answering, of every token.
        p95_ratio: 95th percentile of that by the median of one stream.
    """

    n_streams: int
    tokens_per_s: Spread
    sequential_tokens_per_s: Spread
    ratio: float
    delay_ms: Spread
    p95_ratio: float


@dataclass(frozen=True, slots=True)
class Stall:
    """A long prompt that arrives while streams run.

    Attributes:
        n_streams: that run.
        prompt_tokens: of the prompt.
        prompt_s: seconds until it is read.
        delay_ms: milliseconds a token of the running streams meanwhile.
        stall_ms: the longest of them.
    """

    n_streams: int
    prompt_tokens: int
    prompt_s: float
    delay_ms: Spread
    stall_ms: float


@dataclass(frozen=True, slots=True)
class ManyStreams:
    """By number of streams, and the largest number with a long prompt as the last of them."""

    at: tuple[Streams, ...]
    stall: Stall


@dataclass(slots=True)
class _Found:
    """What was measured with some number of streams."""

    tokens_per_s: list[float]
    sequential_tokens_per_s: list[float]
    delay_ms: list[float]


def measure_streams(subject: Subject, sizes: Sizes, watch: Watch) -> ManyStreams:
    """Measure every number of streams in turns with sequential calls, then the long prompt."""
    most = max(sizes.streams)
    least, longest = (subject.fitting(n) for n in sizes.streams_context)
    contexts = np.linspace(least, longest, most).astype(int).tolist()
    found = {n: _Found([], [], []) for n in sorted({1, *sizes.streams})}
    with ExitStack() as stack:
        subject.past.at(longest).close()  # the longest first: the others are copies of its beginning
        sessions = [stack.enter_context(subject.past.forked(length)) for length in contexts]
        for _ in watch(range(sizes.streams_rounds), "many streams"):
            for n, one in found.items():
                _round(subject, sessions[:n], sizes.streams_tokens, one)
        single_ms = Spread.of(found[1].delay_ms).median
        stall = _stall(subject, sessions[: most - 1] or sessions, sizes, watch)
    return ManyStreams(tuple(_summed_up(n, one, single_ms) for n, one in found.items()), stall)


def _round(subject: Subject, sessions: list[Session], n_tokens: int, found: _Found) -> None:
    """Read some tokens of every session: one session after another, then all at once."""
    vocab_size = subject.config.vocab_size
    each = max(1, n_tokens // len(sessions))
    taken = [ms for session in sessions for ms in one_by_one_ms(subject.engine, session, vocab_size, each, warm_up=0)]
    found.sequential_tokens_per_s.append(1000 * len(taken) / sum(taken))
    delays, seconds = _at_once(subject, sessions, n_tokens)
    found.tokens_per_s.append(len(delays) / seconds)
    found.delay_ms += delays


def _at_once(subject: Subject, sessions: list[Session], n_tokens: int) -> tuple[list[float], float]:
    """Return the milliseconds of every token, and the seconds from the first to the last."""
    barrier = threading.Barrier(len(sessions) + 1)

    def follow(session: Session) -> list[float]:
        barrier.wait()
        return one_by_one_ms(subject.engine, session, subject.config.vocab_size, n_tokens, warm_up=0)

    with ThreadPoolExecutor(len(sessions)) as pool:
        futures = [pool.submit(follow, session) for session in sessions]
        barrier.wait()
        started = time.perf_counter()
        delays = [ms for future in futures for ms in future.result()]
        return delays, time.perf_counter() - started


def _summed_up(n_streams: int, found: _Found, single_ms: float) -> Streams:
    pairs = zip(found.tokens_per_s, found.sequential_tokens_per_s, strict=True)
    delay_ms = Spread.of(found.delay_ms)
    return Streams(
        n_streams,
        Spread.of(found.tokens_per_s),
        Spread.of(found.sequential_tokens_per_s),
        float(np.median([together / alone for together, alone in pairs])),
        delay_ms,
        delay_ms.p95 / single_ms,
    )


def _stall(subject: Subject, sessions: list[Session], sizes: Sizes, watch: Watch) -> Stall:
    """Let streams run, and read a long prompt beside them."""
    lengths = watch((subject.fitting(sizes.stalling_prompt),), "a long prompt beside streams")
    (ids,) = [random_ids(subject.config.vocab_size, n) for n in lengths]
    stop = threading.Event()
    spans: list[list[tuple[float, float]]] = [[] for _ in sessions]
    with ThreadPoolExecutor(len(sessions)) as pool:
        futures = [pool.submit(_run, subject, *pair, stop) for pair in zip(sessions, spans, strict=True)]
        try:
            while any(len(found) < _BEFORE and not future.done() for found, future in zip(spans, futures, strict=True)):
                time.sleep(0.001)
            started = time.perf_counter()
            with closing(subject.engine.open()) as session:
                subject.engine.step([Feed(session, ids)])
            ended = time.perf_counter()
        finally:
            stop.set()
        for future in futures:
            future.result()
    delays = [1000 * (end - start) for found in spans for start, end in found if end > started and start < ended]
    return Stall(len(sessions), len(ids), ended - started, Spread.of(delays), max(delays))


def _run(subject: Subject, session: Session, spans: list[tuple[float, float]], stop: threading.Event) -> None:
    """Read one token again and again, and note when each was asked for and answered."""
    length = session.length
    while not stop.is_set():
        started = time.perf_counter()
        subject.engine.step([Feed(session, random_ids(subject.config.vocab_size, 1))])
        spans.append((started, time.perf_counter()))
        session.rollback(length)
