"""A linear teacher for answers: n-grams, TF-IDF, logistic regression, whose probabilities soften the labels.

Ours, not in the technical report: a small network trained from scratch learns the labels by heart, noise included,
while a linear model of words carries over to other sources. Each labelled answer is taught by a teacher that has not
seen its family (two folds); answers without a label are taught by the mean of both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from guardrail.decision import Direction
from guardrail.evaluation.baseline import FloatArray, LabelledText, TfidfClassifier, TfidfSettings
from guardrail.evaluation.judges import RISKS
from guardrail.taxonomy import RESPONSE_LABELS, RiskLevel

SETTINGS = TfidfSettings(balanced=False)

Row = Mapping[str, Any]


def teach(rows: Sequence[Row]) -> list[tuple[float, ...] | None]:
    """Return for each row the teacher's probabilities, in the order of the response labels.

    None for prompts, and for answers that turn risky at a known character: there the label says more.
    """
    places = [i for i, row in enumerate(rows) if row["target"] == "response" and row["unsafe_start_char"] is None]
    folds = np.array([_fold(rows[i]) for i in places])
    texts = [rows[i]["messages"][-1]["content"] for i in places]
    by_fold = np.stack([_fit(rows, places, folds != fold).probabilities(texts) for fold in (0, 1)])
    is_labelled = np.array([rows[i]["risk"] is not None for i in places])
    taught = np.where(is_labelled[:, None], by_fold[folds, np.arange(len(places))], by_fold.mean(0))
    order = [RISKS.index(level) for level in RESPONSE_LABELS.risks]
    found = dict(zip(places, _as_tuples(taught[:, order]), strict=True))
    return [found.get(i) for i in range(len(rows))]


def _fit(rows: Sequence[Row], places: Sequence[int], chosen: "np.ndarray[Any, np.dtype[np.bool_]]") -> TfidfClassifier:
    learned = [rows[i] for i, use in zip(places, chosen, strict=True) if use and rows[i]["risk"] is not None]
    texts = [
        LabelledText(Direction.RESPONSE, row["messages"][-1]["content"], RiskLevel(row["risk"].capitalize()))
        for row in learned
    ]
    return TfidfClassifier.fit(texts, SETTINGS)


def _fold(row: Row) -> int:
    """Return 0 or 1; rows that share their first message share the fold."""
    return hashlib.blake2b(row["messages"][0]["content"][:60].encode(errors="replace"), digest_size=1).digest()[0] % 2


def _as_tuples(probabilities: FloatArray) -> list[tuple[float, ...]]:
    return [tuple(map(float, row)) for row in probabilities]
