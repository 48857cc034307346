"""Several tokens a call: what k of them cost, and so how fast an LLM the guard keeps up with.

The guard takes all tokens that wait in one call. At r tokens a second, a call of k tokens that takes T(k) seconds is
followed by one of r T(k) tokens. That settles where k = r T(k), so the fastest LLM whose tokens never pile up beyond k
writes k / T(k) tokens a second. Streams at two speeds then show that it is so, with delays.
"""

import time
from dataclasses import dataclass

from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject, random_ids
from guardrail.bench.timing import Spread, Watch, seconds_of
from guardrail.engines.base import Feed, Session

_NEAR = 0.9
"""Share of the fastest speed at which a stream is followed: at the very speed, any hiccup would never be made up."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Calls of k tokens.

    Attributes:
        k: tokens a call.
        ms: milliseconds a call.
        cost: median by that of one token.
        max_tokens_per_s: fastest LLM that k tokens a call keep up with.
    """

    k: int
    ms: Spread
    cost: float
    max_tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Followed:
    """A stream that was followed, all that waited in one call.

    Attributes:
        tokens_per_s: of the LLM.
        n_tokens: of the stream.
        n_calls: of the model.
        delay_ms: milliseconds from a token's arrival to its verdict.
        most_pending: most tokens that one call took.
    """

    tokens_per_s: float
    n_tokens: int
    n_calls: int
    delay_ms: Spread
    most_pending: int


@dataclass(frozen=True, slots=True)
class CatchUp:
    """How fast an LLM the guard keeps up with.

    Attributes:
        max_tokens_per_s: fastest of the LLMs, at the best of the measured chunks.
        k: tokens a call at that speed.
        usual: a stream at an LLM's usual speed.
        near_max: a stream at nine tenths of the fastest.
    """

    max_tokens_per_s: float
    k: int
    usual: Followed
    near_max: Followed


@dataclass(frozen=True, slots=True)
class Chunks:
    """Calls of several tokens.

    Attributes:
        context: tokens held before.
        at: by tokens a call.
        catch_up: what follows from it.
    """

    context: int
    at: tuple[Chunk, ...]
    catch_up: CatchUp


def measure_chunks(subject: Subject, sizes: Sizes, watch: Watch) -> Chunks:
    """Measure calls of each size in turns, then follow two streams."""
    context = subject.fitting(sizes.contexts[0])
    found: dict[int, list[float]] = {k: [] for k in sizes.chunks}
    with subject.past.forked(context) as session:
        for _ in watch(range(sizes.chunk_rounds), "several tokens a call"):
            for k, taken in found.items():
                taken.append(1000 * _read_s(subject, session, k))
                session.rollback(context)
    spreads = {k: Spread.of(taken) for k, taken in found.items()}
    single = spreads[min(spreads)].median
    at = tuple(Chunk(k, ms, ms.median / single, 1000 * k / ms.median) for k, ms in spreads.items())
    return Chunks(context, at, _catch_up(subject, at, context, sizes, watch))


def _read_s(subject: Subject, session: Session, k: int) -> float:
    feed = Feed(session, random_ids(subject.config.vocab_size, k))
    return seconds_of(lambda: subject.engine.step([feed]))


def _catch_up(subject: Subject, at: tuple[Chunk, ...], context: int, sizes: Sizes, watch: Watch) -> CatchUp:
    best = max(at, key=lambda chunk: chunk.max_tokens_per_s)
    rates = watch((sizes.stream_rate, _NEAR * best.max_tokens_per_s), "keeping up with an LLM")
    with subject.past.forked(context) as session:
        usual, near_max = (_follow(subject, session, rate, sizes.stream_s) for rate in rates)
    return CatchUp(best.max_tokens_per_s, best.k, usual, near_max)


def _follow(subject: Subject, session: Session, rate: float, stream_s: float) -> Followed:
    """Read a stream of `rate` tokens a second as it arrives; the context stays as long as it is."""
    context, ids = session.length, random_ids(subject.config.vocab_size, max(1, int(rate * stream_s)))
    room = subject.engine.info.max_context - context
    delays: list[float] = []
    chunks: list[int] = []
    started = time.perf_counter()
    while (done := len(delays)) < len(ids):
        arrived = int((time.perf_counter() - started) * rate) + 1  # token i arrives at i / rate
        arrived = min(arrived, len(ids), done + room)
        if arrived == done:
            time.sleep(max(0.0, started + done / rate - time.perf_counter()))
            continue
        subject.engine.step([Feed(session, ids[done:arrived])])
        now = time.perf_counter() - started
        session.rollback(context)
        delays += [1000 * (now - i / rate) for i in range(done, arrived)]
        chunks.append(arrived - done)
    return Followed(rate, len(ids), len(chunks), Spread.of(delays), max(chunks))
