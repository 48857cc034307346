"""Reading the whole answer again for every token, as the published streaming code does, against reading it once.

The published code runs the whole sequence through the model for each new token, without a KV cache. That takes hours
for one answer, so a dozen lengths are sampled. The seconds of one run are fitted by a polynomial of the second degree
in the length, those of one of our tokens by one of the first, and both are summed over the answer.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from guardrail.bench.sizes import Sizes
from guardrail.bench.subject import Subject, one_by_one_ms, random_ids
from guardrail.bench.timing import Watch, seconds_of
from guardrail.engines.base import Engine, Feed

if TYPE_CHECKING:
    from guardrail.bench.reference import Reference

FloatArray = NDArray[np.float64]

N_TOKENS = 2048
"""Of the answer whose costs are compared."""


@dataclass(frozen=True, slots=True)
class Fit:
    """Seconds by length n: c0 + c1 n + c2 n^2 + ...

    Attributes:
        coefficients: lowest power first.
        worst: largest distance of a sample from the fit, as a share of the sample.
        total_s: sum over all lengths from 1 to that of the answer.
    """

    coefficients: tuple[float, ...]
    worst: float
    total_s: float

    @classmethod
    def of(cls, lengths: Sequence[int], seconds: Sequence[float], degree: int, n_tokens: int) -> "Fit":
        """Fit by least squares of relative distances, so that short answers count as much as long ones.

        No coefficient is negative, since no part of the work gives time back: of all choices of powers that fulfil
        this by themselves, the one that fits best.
        """
        n, s = np.asarray(lengths, float), np.asarray(seconds)
        best = np.array([s.min()])
        for powers in chain.from_iterable(combinations(range(degree + 1), k) for k in range(1, degree + 2)):
            found = np.zeros(degree + 1)
            found[list(powers)] = np.linalg.lstsq(np.stack([n**p / s for p in powers], 1), np.ones(len(s)))[0]
            if (found >= 0).all() and _distance(found, n, s) < _distance(best, n, s):
                best = found
        worst = float(np.max(np.abs(np.polynomial.polynomial.polyval(n, best) / s - 1)))
        total_s = float(np.polynomial.polynomial.polyval(np.arange(1, n_tokens + 1), best).sum())
        return cls(tuple(best.tolist()), worst, total_s)


def _distance(coefficients: FloatArray, n: FloatArray, seconds: FloatArray) -> float:
    return float(np.sum((np.polynomial.polynomial.polyval(n, coefficients) / seconds - 1) ** 2))


@dataclass(frozen=True, slots=True)
class Reread:
    """Costs of moderating one answer token by token.

    Attributes:
        ratio_at_2048: seconds of reading all of it again for each of 2,048 tokens, by those of reading it once.
        reread_by: what read whole answers: "torch fp32", or ours where torch is not there.
        lengths: sampled.
        reread_s: seconds of one run over that many tokens.
        ours_s: seconds of one of our tokens behind as many.
        reread: fit of the former.
        ours: fit of the latter.
    """

    ratio_at_2048: float
    reread_by: str
    lengths: tuple[int, ...]
    reread_s: tuple[float, ...]
    ours_s: tuple[float, ...]
    reread: Fit
    ours: Fit


def measure_reread(subject: Subject, reference: "Reference | None", sizes: Sizes, watch: Watch) -> Reread:
    """Sample both at every length that fits, in turns."""
    info, vocab_size = subject.engine.info, subject.config.vocab_size
    engine = reference.engine if reference else subject.inner
    lengths = sorted({subject.fitting(n) for n in sizes.reread})
    whole, single = [], []
    _whole_s(engine, random_ids(vocab_size, lengths[0]))
    for n in watch(lengths, "reading whole answers again"):
        whole.append(_whole_s(engine, random_ids(vocab_size, n)))
        with subject.past.forked(n) as session:
            taken = one_by_one_ms(subject.engine, session, vocab_size, sizes.reread_tokens)
        single.append(float(np.median(taken)) / 1000)
    reread, ours = Fit.of(lengths, whole, 2, N_TOKENS), Fit.of(lengths, single, 1, N_TOKENS)
    name = "torch fp32" if reference else f"{info.engine} {info.precision}"
    return Reread(reread.total_s / ours.total_s, name, tuple(lengths), tuple(whole), tuple(single), reread, ours)


def _whole_s(engine: Engine, ids: list[int]) -> float:
    with closing(engine.open()) as session:
        return seconds_of(lambda: engine.step([Feed(session, ids)]))
