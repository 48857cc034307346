"""Whole prompts: tokens a second, and the share of the machine's int8 rate that the weights' products reach.

Work counts the products with weights alone; attention comes on top and grows with the square of the length, so the
share falls with it.
"""

from contextlib import closing
from dataclasses import dataclass, replace

from guardrail.bench.fresh import Fresh, measure_fresh
from guardrail.bench.int8_rate import Int8Product
from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject, random_ids
from guardrail.bench.timing import Spread, Watch, seconds_of
from guardrail.engines.base import Engine, Feed
from guardrail.loader import load_model


@dataclass(frozen=True, slots=True)
class Prompt:
    """Prompts of one length, as the scheduler reads them.

    Attributes:
        n_tokens: of the prompt.
        seconds: for it.
        tokens_per_s: median.
        gop_per_s: 10^9 multiplications and additions a second, median.
        share_of_int8_rate: of the machine's rate, measured right before; of each round.
    """

    n_tokens: int
    seconds: Spread
    tokens_per_s: float
    gop_per_s: float
    share_of_int8_rate: Spread


@dataclass(frozen=True, slots=True)
class PromptBy:
    """One prompt, read in another way.

    Attributes:
        n: what was varied: tokens a call, or threads.
        tokens_per_s: from the median of its seconds.
    """

    n: int
    tokens_per_s: float


@dataclass(frozen=True, slots=True)
class Prefill:
    """Whole prompts.

    Attributes:
        tokens_per_s: of the first length.
        share_of_int8_rate: median at the first length.
        at: by length.
        by_chunk: by tokens a call, without the scheduler, which cuts prompts by `Runtime.step_tokens`.
        by_threads: by threads.
        long: a long prompt in a process of its own; None if it was left out, or longer than the context.
    """

    tokens_per_s: float
    share_of_int8_rate: float
    at: tuple[Prompt, ...]
    by_chunk: tuple[PromptBy, ...]
    by_threads: tuple[PromptBy, ...]
    long: Fresh | None


def measure_prefill(subject: Subject, product: Int8Product, threads: int, sizes: Sizes, watch: Watch) -> Prefill:
    """Measure prompts that fit, then one of them by chunks and threads."""
    lengths = sorted({subject.fitting(n) for n in sizes.prompts})
    seconds: dict[int, list[float]] = {n: [] for n in lengths}
    rates: dict[int, list[float]] = {n: [] for n in lengths}
    for _ in watch(range(sizes.prompt_rounds), "whole prompts"):
        for n in lengths:
            rates[n].append(product.gop_per_s(2))
            seconds[n].append(_read_s(subject.engine, random_ids(subject.config.vocab_size, n), n))
    at = tuple(_prompt(n, subject.operations(n) / 1e9, seconds[n], rates[n]) for n in lengths)
    return Prefill(
        at[0].tokens_per_s,
        at[0].share_of_int8_rate.median,
        at,
        _by_chunk(subject, sizes, watch),
        _by_threads(subject, threads, sizes, watch),
        _long(subject, sizes, watch),
    )


def _prompt(n_tokens: int, gop: float, seconds: list[float], rates: list[float]) -> Prompt:
    spread = Spread.of(seconds)
    shares = Spread.of([gop / s / rate for s, rate in zip(seconds, rates, strict=True)])
    return Prompt(n_tokens, spread, n_tokens / spread.median, gop / spread.median, shares)


def _by_chunk(subject: Subject, sizes: Sizes, watch: Watch) -> tuple[PromptBy, ...]:
    ids = random_ids(subject.config.vocab_size, subject.fitting(sizes.chunked_prompt))
    chunks = [n for n in sizes.prompt_chunks if n <= len(ids)] or [len(ids)]
    found: dict[int, list[float]] = {n: [] for n in chunks}
    for _ in watch(range(sizes.prompt_rounds), "a prompt by tokens a call"):
        for n, taken in found.items():
            taken.append(_read_s(subject.inner, ids, n))
    return tuple(PromptBy(n, len(ids) / Spread.of(taken).median) for n, taken in found.items())


def _by_threads(subject: Subject, threads: int, sizes: Sizes, watch: Watch) -> tuple[PromptBy, ...]:
    ids = random_ids(subject.config.vocab_size, subject.fitting(sizes.threads_prompt))
    numbers = sorted({1, max(1, threads // 2), threads})
    return tuple(PromptBy(n, _with_threads(subject, n, ids)) for n in watch(numbers, "a prompt by threads"))


def _with_threads(subject: Subject, threads: int, ids: list[int]) -> float:
    """Load the model anew and return tokens a second: the better of two reads, after a first one."""
    engine = load_model(subject.source.folder, runtime=replace(subject.runtime, threads=threads)).engine
    try:
        _, *seconds = [_read_s(engine, ids, len(ids)) for _ in range(3)]
        return len(ids) / min(seconds)
    finally:
        engine.close()


def _long(subject: Subject, sizes: Sizes, watch: Watch) -> Fresh | None:
    if not 0 < sizes.long_prompt <= subject.engine.info.max_context:
        return None
    lengths = watch((sizes.long_prompt,), "a long prompt in a process of its own")
    (found,) = [measure_fresh(subject.source.folder, n, subject.runtime) for n in lengths]
    return found


def _read_s(engine: Engine, ids: list[int], chunk: int) -> float:
    """Return the seconds in which a new session reads ids, some a call."""
    with closing(engine.open()) as session:
        feeds = [Feed(session, ids[i : i + chunk]) for i in range(0, len(ids), chunk)]
        return seconds_of(lambda: [engine.step([feed]) for feed in feeds])
