"""The teachers: logistic regression over n-grams, and over a sentence encoder's vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from guardrail.decision import Direction
from guardrail.evaluation.baseline import LabelledText, TfidfClassifier, TfidfSettings
from guardrail.evaluation.judges import RISKS

Floats = NDArray[np.float32]
Places = NDArray[np.intp]

_WORDS = TfidfSettings(balanced=False)
_LENGTH = 8.0
_MOST_ITERATIONS = 300
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rows of one direction.

    Attributes:
        texts: judged texts.
        levels: int64 [row], index into `RISKS`; -1 without a label.
        weights: float32 [row], how much a row counts.
        vectors: float32 [row, size], the encoder's; None without one.
    """

    texts: Sequence[str]
    levels: NDArray[np.int64]
    weights: Floats
    vectors: Floats | None = None


def by_words(lesson: Lesson, learned: Places, asked: Places) -> Floats:
    """Return float32 [asked, risk], the logits of a linear teacher of n-grams that learns from `learned`."""
    scale = lesson.weights[learned].mean()
    texts = [
        LabelledText(Direction.RESPONSE, lesson.texts[i], RISKS[lesson.levels[i]], lesson.weights[i] / scale)
        for i in learned
    ]
    found = TfidfClassifier.fit(texts, _WORDS).probabilities([lesson.texts[i] for i in asked])
    return np.asarray(np.log(np.maximum(found, _LEAST)), np.float32)


def by_vectors(lesson: Lesson, learned: Places, asked: Places, strength: float) -> Floats:
    """Return float32 [asked, risk], the logits of a linear teacher of vectors that learns from `learned`.

    A linear one on purpose: networks over the vectors learn to tell the sources apart, and carry over worse.

    Args:
        lesson: rows with vectors.
        learned: places to learn from.
        asked: places to answer for.
        strength: inverse strength of the L2 penalty, for vectors whose components have a mean square of 1 / 6.
    """
    if lesson.vectors is None:
        raise ValueError("a lesson without vectors")
    centred = lesson.vectors - lesson.vectors[learned].mean(0)
    inputs = _LENGTH * centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), _LEAST)
    model = LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS)
    weights = lesson.weights[learned] / lesson.weights[learned].mean()
    model.fit(inputs[learned], lesson.levels[learned], sample_weight=weights)
    logits = np.full((len(asked), len(RISKS)), np.log(_LEAST), np.float32)
    logits[:, model.classes_] = np.log(np.maximum(model.predict_proba(inputs[asked]), _LEAST))
    return logits
