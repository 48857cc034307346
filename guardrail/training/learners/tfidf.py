"""The learner that runs anywhere: hashed n-grams, TF-IDF and logistic regression, those of the baseline.

Texts are counted batch by batch and once for all classifiers; what is held is the sparse matrix of the drawn rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guardrail.errors import ConfigurationError, MissingExtra
from guardrail.evaluation.baseline import (
    TfidfSettings,
    count_ngrams,
    inverse_document_frequency,
    n_documents,
    weigh,
)
from guardrail.training.learners.learning import FloatArray, Lesson, Levels, Variant
from guardrail.training.learners.settings import LearnerSettings
from guardrail.training.recipe.parts import cut
from guardrail.training.recipe.rows import RecipeRow

try:
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits
except ModuleNotFoundError as error:
    raise MissingExtra("scikit-learn", "train") from error

IntArray = NDArray[np.int64]

_BATCH = 512
"""Texts counted at once. Our choice."""

_TOLERANCE = 1e-5
"""Of the solver: ten times finer than scikit-learn's, since two classifiers are compared row by row. Our choice."""

_LEAST_TEXTS = 2
"""Texts that a feature must occur in: one that is met but once says nothing of other texts, and most are. Ours."""

_SETTINGS = TfidfSettings(balanced=False)


class TfidfLearner:
    """Implements `Learner`; keeps nothing on the disk, since it is quick to make again."""

    def __init__(self, settings: LearnerSettings) -> None:
        self._max_chars = settings.max_chars

    def learn(self, name: str, lessons: Iterable[Lesson], levels: Levels, variants: Sequence[Variant]) -> "TfidfPanel":
        """See `Learner`.

        Raises:
            ConfigurationError: no n-gram occurs in two of the texts.
        """
        drawn = _Drawn(lessons, levels, variants, self._max_chars)
        idf = inverse_document_frequency(drawn.documents, len(drawn.gold))
        columns = np.flatnonzero(drawn.documents >= _LEAST_TEXTS)
        if not len(columns):
            raise ConfigurationError(
                f"{name}: no word occurs in two of the {len(drawn.gold)} texts that the classifier learns from",
                hint="raise learner.max_rows, or leave these rows out of the stage's targets",
            )
        features = sparse.vstack([batch[:, columns] for batch in drawn.weighed(idf)], format="csr")
        weights, bias = [], []
        for variant, seen in zip(variants, drawn.seen.T, strict=True):
            # One variant that leaves rows out needs a matrix of its own; the others share the whole one.
            shown = features if seen.all() else features[seen]
            row_weights = np.array([variant.weights[level] for level in levels])[drawn.gold[seen]]
            fitted = _fit(shown, drawn.gold[seen], row_weights)
            weights.append(fitted[0])
            bias.append(fitted[1])
        return TfidfPanel(idf, columns, np.concatenate(weights), np.concatenate(bias), levels, self._max_chars)


class TfidfPanel:
    """Implements `Panel`: linear classifiers that share the counting of a text. Read-only; safe for many threads."""

    def __init__(
        self, idf: FloatArray, columns: IntArray, weights: FloatArray, bias: FloatArray, levels: Levels, max_chars: int
    ) -> None:
        """Take the learned arrays.

        Args:
            idf: float32 [feature].
            columns: int64 [column], the features that were learned from.
            weights: float32 [variant * level, column].
            bias: float32 [variant * level].
            levels: that were taught.
            max_chars: of a text that are read.
        """
        self._idf, self._columns = idf, columns
        self._weights, self._bias = np.ascontiguousarray(weights.T), bias
        self._levels, self._max_chars = levels, max_chars

    def probabilities(self, rows: Sequence[RecipeRow]) -> FloatArray:
        """See `Panel`."""
        counts = count_ngrams([_text(row, self._max_chars) for row in rows], _SETTINGS)
        logits = weigh(counts, self._idf, _SETTINGS)[:, self._columns] @ self._weights + self._bias
        logits = logits.reshape(len(rows), -1, len(self._levels)).transpose(1, 0, 2)
        shifted = np.exp(logits - logits.max(axis=2, keepdims=True))
        return np.asarray(shifted / shifted.sum(axis=2, keepdims=True), np.float32)


class _Drawn:
    """The counted lessons.

    Attributes:
        gold: int [lesson], index into the levels.
        seen: bool [lesson, variant].
        documents: int64 [feature], in how many lessons each occurs.
    """

    def __init__(self, lessons: Iterable[Lesson], levels: Levels, variants: Sequence[Variant], max_chars: int) -> None:
        gold: list[int] = []
        seen: list[list[bool]] = []
        self._counts: list[Any] = []
        self.documents = np.zeros(2 ** (_SETTINGS.bits + 1), np.int64)
        for batch in cut(lessons, _BATCH):
            counts = count_ngrams([_text(lesson.row, max_chars) for lesson in batch], _SETTINGS)
            self.documents += n_documents(counts)
            self._counts.append(counts)
            gold.extend(levels.index(lesson.level) for lesson in batch)
            seen.extend([variant.sees(lesson) for variant in variants] for lesson in batch)
        self.gold, self.seen = np.array(gold), np.array(seen)

    def weighed(self, idf: FloatArray) -> Iterator[Any]:
        """Yield the batches as features, forgetting the counts."""
        while self._counts:
            yield weigh(self._counts.pop(0), idf, _SETTINGS)


def _fit(features: Any, gold: Any, weights: Any) -> tuple[FloatArray, FloatArray]:
    """Return float32 [level, feature] and [level]."""
    model = LogisticRegression(C=_SETTINGS.c, max_iter=_SETTINGS.max_iterations, tol=_TOLERANCE)
    # The solver's vectors are short: many threads spend their time waiting for each other, and sum in another order.
    with threadpool_limits(1, "blas"):
        model.fit(features, gold, sample_weight=weights)
    if len(model.classes_) > 2:
        return model.coef_.astype(np.float32), model.intercept_.astype(np.float32)
    # With two classes scikit-learn keeps one row, the log-odds of the second.
    rows = np.vstack([0 * model.coef_, model.coef_]), np.array([0.0, float(model.intercept_[0])])
    return rows[0].astype(np.float32), rows[1].astype(np.float32)


def _text(row: RecipeRow, max_chars: int) -> str:
    """Return the judged text; the middle of a longer one is left out."""
    text = row.judged_text
    half = max_chars // 2
    return text if len(text) <= max_chars else f"{text[:half]} {text[-half:]}"
