"""Two judges, or two policies, on the same rows: how far apart they are, and whether that can be chance.

Differences are those of the second less those of the first, with a paired bootstrap (of false positives: Newcombe's
interval): both are measured on the same resamples, so what makes rows hard for both cancels out. McNemar's test looks
only at the rows that one of them gets right and the other wrong, and takes rows as independent.
"""

from dataclasses import dataclass
from math import comb, erfc, sqrt

import numpy as np

from guardrail.audit.intervals import Pairs, difference, effective
from guardrail.evaluation.judged import Judged
from guardrail.evaluation.metrics import (
    BoolArray,
    Drawn,
    Estimate,
    FloatArray,
    IntArray,
    Resamples,
    draw_f1,
    nothing,
    share,
)
from guardrail.evaluation.ranking import draw_ranking

EXACT_UP_TO = 1000
"""Rows on which just one is right up to which McNemar's test is exact; beyond, the normal distribution is as good."""


@dataclass(frozen=True, slots=True)
class McNemar:
    """Whether two judges are right equally often, by the rows on which just one of them is.

    Attributes:
        n_first: rows that only the first gets right.
        n_second: rows that only the second gets right.
        p_value: chance of a difference at least this large between equals, two-sided.
        test: "exact" (binomial), or "normal" with a continuity correction.
    """

    n_first: int
    n_second: int
    p_value: float
    test: str


@dataclass(frozen=True, slots=True)
class Pairing:
    """The second judge less the first on the same rows.

    Attributes:
        first: name of the one.
        second: name of the other.
        n: rows.
        f1_strict: difference of the F1 read strictly, in [-1, 1].
        f1_loose: the same, read loosely.
        auc: difference of the AUC.
        false_positives: difference of the share of Safe rows that are flagged or stopped.
        mcnemar: on which rows just one is right, read strictly.
        agreement: share of rows to which both give the same level.
        same_action: share of rows with which both policies do the same.
        same_call: share of rows that both call harmful or both call harmless, read strictly.
        differing: sources and ids of the rows on which level or action differ.
    """

    first: str
    second: str
    n: int
    f1_strict: Estimate
    f1_loose: Estimate
    auc: Estimate
    false_positives: Estimate
    mcnemar: McNemar
    agreement: Estimate
    same_action: Estimate
    same_call: Estimate
    differing: tuple[tuple[str, str], ...]


def pair(first: Judged, second: Judged, names: tuple[str, str]) -> Pairing:
    """Compare two judges on the same rows, in the same order."""
    resamples, safe = Resamples(first.clusters), ~first.is_harmful
    before, after = first.calls_harmful, second.calls_harmful
    is_right = before == first.is_harmful, after == second.is_harmful
    pairs = zip(first.judgements, second.judgements, strict=True)
    same_action = np.array([one.action is other.action for one, other in pairs], np.bool_)
    same_level = first.level == second.level
    return Pairing(
        *names,
        n=len(first.rows),
        f1_strict=_less(draw_f1(first.is_harmful, after, resamples), draw_f1(first.is_harmful, before, resamples)),
        f1_loose=_less(
            draw_f1(first.is_unsafe, second.calls_unsafe, resamples),
            draw_f1(first.is_unsafe, first.calls_unsafe, resamples),
        ),
        auc=_less(
            draw_ranking(first.is_harmful, second.score, resamples).auc,
            draw_ranking(first.is_harmful, first.score, resamples).auc,
        ),
        false_positives=_rate_difference(first.is_hit[safe], second.is_hit[safe], first.clusters[safe]),
        mcnemar=mcnemar(int((is_right[0] & ~is_right[1]).sum()), int((is_right[1] & ~is_right[0]).sum())),
        agreement=share(same_level, first.clusters),
        same_action=share(same_action, first.clusters),
        same_call=share(before == after, first.clusters),
        differing=tuple(
            (row.source, row.id)
            for row, is_same in zip(first.rows, same_level & same_action, strict=True)
            if not is_same
        ),
    )


def _rate_difference(before: BoolArray, after: BoolArray, clusters: IntArray) -> Estimate:
    """Return share after less share before, with Newcombe's interval: a bootstrap of no hits would know no doubt."""
    n = len(before)
    if not n:
        return nothing()
    changes = after.astype(np.float64) - before
    _, cluster = np.unique(clusters, return_inverse=True)
    n_effective = effective(np.bincount(cluster, changes), np.bincount(cluster), n_nonzero=float((changes != 0).sum()))
    both, gone, new = int((before & after).sum()), int((before & ~after).sum()), int((after & ~before).sum())
    found = difference(Pairs(both, gone, new, n - both - gone - new), n_effective=n_effective)
    return Estimate(found.value, found.low, found.high, n)


def mcnemar(n_first: int, n_second: int) -> McNemar:
    """Return McNemar's test of the rows that only one gets right."""
    n, most = n_first + n_second, max(n_first, n_second)
    if n > EXACT_UP_TO:
        p = erfc(max(0, abs(n_first - n_second) - 1) / sqrt(n) / sqrt(2))
        return McNemar(n_first, n_second, p, "normal")
    tail = sum(comb(n, k) for k in range(most, n + 1))
    return McNemar(n_first, n_second, min(1.0, 2 * tail / 2**n), "exact")


def _less(second: Drawn, first: Drawn) -> Estimate:
    """Return the difference of two figures on the same rows and resamples."""
    if second.value is None or first.value is None:
        return Drawn(None, first.draws, first.n).estimate()
    draws: FloatArray = second.draws - first.draws
    return Drawn(second.value - first.value, draws, first.n).estimate()
