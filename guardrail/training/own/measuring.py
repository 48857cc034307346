"""How good a model is on rows that it was not trained on: by direction, and which category it calls which."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from guardrail.actions import Action
from guardrail.decision import Direction
from guardrail.evaluation.metrics import Estimate, rate, scores
from guardrail.evaluation.ranking import auc
from guardrail.evaluation.rows import TARGETS
from guardrail.evaluation.runner import Run
from guardrail.taxonomy import RiskLevel

NOTHING = "not flagged"
OTHER = "another"


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of one direction, with 95 % intervals. Harmful is whatever is not Safe; found is what is flagged or
    stopped.

    Attributes:
        direction: what was judged.
        n_safe: harmless rows.
        n_harmful: the others.
        auc: probability that a harmful row scores above a harmless one.
        f1: of harmful rows against flagged ones.
        recall: share of the harmful rows that is flagged.
        unsafe_recall: share of the Unsafe rows that is flagged.
        false_positives: share of the harmless rows that is flagged.
        named_right: share of the flagged harmful rows with a category that is called by it.
        confusion: (category of the label, category that was named) to rows, of harmful rows with a category.
    """

    direction: Direction
    n_safe: int
    n_harmful: int
    auc: Estimate
    f1: Estimate
    recall: Estimate
    unsafe_recall: Estimate
    false_positives: Estimate
    named_right: Estimate
    confusion: dict[tuple[str, str], int]

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        confusion = [{"is": a, "named": b, "rows": n} for (a, b), n in sorted(self.confusion.items())]
        return {**asdict(self), "direction": self.direction.value, "confusion": confusion}


def measured(run: Run, names: dict[Direction, tuple[str, ...]]) -> list[Measured]:
    """Return the figures of each direction that the run has rows of.

    Args:
        run: rows judged under the policy that is measured.
        names: the rows' categories by direction; others that the model names are counted as one.
    """
    found = (_measured(run, target, names.get(target, ())) for target in TARGETS)
    return [one for one in found if one]


def _measured(run: Run, target: Direction, names: Sequence[str]) -> Measured | None:
    pairs = [(row, judged) for row, judged in zip(run.rows, run.judgements, strict=True) if row.target is target]
    if not pairs:
        return None
    gold = np.array([row.risk is not RiskLevel.SAFE for row, _ in pairs])
    unsafe = np.array([row.risk is RiskLevel.UNSAFE for row, _ in pairs])
    flagged = np.array([judged.action is not Action.ALLOW for _, judged in pairs])
    score = np.array([judged.score for _, judged in pairs])
    told = scores(gold, flagged)
    confusion = Counter(_named(pairs, names))
    n_called = sum(n for (_, called), n in confusion.items() if called != NOTHING)
    n_right = sum(n for (true, called), n in confusion.items() if true == called)
    return Measured(
        target, int((~gold).sum()), int(gold.sum()), auc(gold, score), told.f1, told.recall,
        rate(int((unsafe & flagged).sum()), int(unsafe.sum())), rate(int((~gold & flagged).sum()), int((~gold).sum())),
        rate(n_right, n_called), dict(confusion),
    )  # fmt: skip


def _named(pairs: Sequence[tuple[Any, Any]], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield for each harmful row with a category what it is and what it was called; any of its own names is right."""
    for row, judged in pairs:
        if row.risk is RiskLevel.SAFE or not row.categories:
            continue
        called = judged.category if judged.action is not Action.ALLOW else NOTHING
        true = called if called in row.categories else row.categories[0]
        yield true, called if called in (*names, NOTHING) else OTHER
