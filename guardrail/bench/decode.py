"""One token at a time: how near is it to what the memory bandwidth allows, and how far from torch?

Reading one token takes all weights from memory once, so the limit is their bytes by the bandwidth. The machine's
bandwidth, our tokens and torch's are measured in turns: what other programs take, they take from all three.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from guardrail.bench.machine import Bandwidth
from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject, one_by_one_ms
from guardrail.bench.timing import Spread, Watch

if TYPE_CHECKING:
    from guardrail.bench.reference import Reference


@dataclass(frozen=True, slots=True)
class DecodeAt:
    """Single tokens at one context.

    Attributes:
        context: tokens held before.
        ms: milliseconds a token.
        bytes_per_token: that must be read from memory for one.
        gb_per_s: bandwidth of the machine in the same rounds.
        limit_ms: milliseconds that reading these bytes takes at least.
        share_of_limit: limit by measured, of each round; 1 cannot be beaten.
        torch_ms: milliseconds a token in torch; None without torch.
        ratio_to_torch: torch's milliseconds by ours, of each round.
    """

    context: int
    ms: Spread
    bytes_per_token: int
    gb_per_s: Spread
    limit_ms: float
    share_of_limit: Spread
    torch_ms: Spread | None
    ratio_to_torch: Spread | None


@dataclass(frozen=True, slots=True)
class Decode:
    """Single tokens.

    Attributes:
        share_of_limit: median at the first context.
        ratio_to_torch: median at the first context; None without torch.
        at: by context.
    """

    share_of_limit: float
    ratio_to_torch: float | None
    at: tuple[DecodeAt, ...]


@dataclass(frozen=True, slots=True)
class _Round:
    """One turn: milliseconds of single tokens, and the bandwidth right before."""

    gb_per_s: float
    ours_ms: list[float]
    torch_ms: list[float]


def measure_decode(
    subject: Subject, reference: "Reference | None", bandwidth: Bandwidth, sizes: Sizes, watch: Watch
) -> Decode:
    """Measure at every context that fits."""
    contexts = sorted({subject.fitting(context) for context in sizes.contexts})
    rounds: dict[int, list[_Round]] = {context: [] for context in contexts}
    vocab_size = subject.config.vocab_size
    with ExitStack() as stack:
        ours = {context: stack.enter_context(subject.past.forked(context)) for context in contexts}
        theirs = {context: stack.enter_context(reference.past.forked(context)) for context in contexts if reference}
        for _ in watch(range(sizes.decode_rounds), "one token at a time"):
            for context in contexts:
                rate = bandwidth.gb_per_s()
                taken = one_by_one_ms(subject.engine, ours[context], vocab_size, sizes.decode_tokens)
                other = []
                if reference:
                    other = one_by_one_ms(reference.engine, theirs[context], vocab_size, sizes.torch_tokens)
                rounds[context].append(_Round(rate, taken, other))
    at = tuple(_summed_up(context, subject.bytes_per_token(context), found) for context, found in rounds.items())
    ratio = at[0].ratio_to_torch
    return Decode(at[0].share_of_limit.median, ratio.median if ratio else None, at)


def _summed_up(context: int, n_bytes: int, rounds: list[_Round]) -> DecodeAt:
    medians = [float(np.median(one.ours_ms)) for one in rounds]
    limits = [n_bytes / one.gb_per_s / 1e6 for one in rounds]
    torch_ms = [ms for one in rounds for ms in one.torch_ms]
    ratios = [float(np.median(one.torch_ms)) / ours for one, ours in zip(rounds, medians, strict=True) if one.torch_ms]
    return DecodeAt(
        context=context,
        ms=Spread.of([ms for one in rounds for ms in one.ours_ms]),
        bytes_per_token=n_bytes,
        gb_per_s=Spread.of([one.gb_per_s for one in rounds]),
        limit_ms=float(np.median(limits)),
        share_of_limit=Spread.of([limit / ours for limit, ours in zip(limits, medians, strict=True)]),
        torch_ms=Spread.of(torch_ms) if torch_ms else None,
        ratio_to_torch=Spread.of(ratios) if ratios else None,
    )
