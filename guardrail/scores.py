"""Logits to verdicts."""

import numpy as np
from numpy.typing import NDArray

from guardrail.engines.base import FloatArray
from guardrail.taxonomy import LabelSet
from guardrail.verdict import Verdict


def verdicts_of(labels: LabelSet, risk: FloatArray, category: FloatArray) -> list[Verdict]:
    """Return the verdict at each position of logits, float32 [position, risk] and [position, category].

    Probabilities are rounded to float32: records keep them so, and hold exactly what was decided on.
    """
    rows = zip(*(softmax(logits).astype(np.float32).tolist() for logits in (risk, category)), strict=True)
    return [Verdict(labels, tuple(r), tuple(c)) for r, c in rows]


def softmax(logits: FloatArray) -> NDArray[np.float64]:
    """Return probabilities along the last axis, computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
