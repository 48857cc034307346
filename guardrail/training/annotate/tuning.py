"""Weights of the risk levels, tuned on people's labels: how much more a vote for one level is than one for another."""

import numpy as np
from numpy.typing import NDArray

from guardrail.training.annotate.aggregates import N_LEVELS, Floats
from guardrail.training.annotate.measuring import macro_f1_of

STEPS = np.linspace(-3, 3, 25)
"""Logarithms of the weights that are tried for Controversial and Unsafe, beside Safe's 0: factors from 1/20 to 20, each
1.28 times the last. Ours."""

RESAMPLES = 100
"""Draws of people's labels over which the best weights are averaged: those of one set of a few hundred labels fit its
chance. Ours."""

_SEED = 7


def choose(shares: NDArray[np.float32], weights: Floats) -> NDArray[np.int8]:
    """Return int8 [row]: the level whose weighed share is largest; of equal ones the more severe.

    Args:
        shares: float32 [row, risk].
        weights: float64 [risk], logarithms.
    """
    weighed = shares * np.exp(weights)
    close = weighed >= weighed.max(axis=1, keepdims=True) * (1 - 1e-6)  # equal but for the rounding of sums
    return np.asarray(N_LEVELS - 1 - close[:, ::-1].argmax(axis=1), np.int8)


def tune_weights(shares: NDArray[np.float32], people: NDArray[np.int8]) -> Floats:
    """Return the logarithms of the levels' weights: the mean of those with the best macro F1 on draws of the labels.

    Of equally good ones, those nearest to 0 count.

    Args:
        shares: float32 [row, risk], one row at the least.
        people: int8 [row], people's labels.
    """
    tried = np.array(sorted(([0.0, a, b] for a in STEPS for b in STEPS), key=lambda one: float(np.abs(one).sum())))
    # rows with the same votes have the same shares: there are few different ones, however many rows
    patterns, place = np.unique(shares, axis=0, return_inverse=True)
    counts = np.bincount(place.ravel() * N_LEVELS + people, minlength=len(patterns) * N_LEVELS)
    drawn = np.random.default_rng(_SEED).multinomial(len(people), counts / len(people), size=RESAMPLES)
    called = np.stack([np.eye(N_LEVELS, dtype=np.float32)[choose(patterns, weights)] for weights in tried])
    # every draw and every trial: [draw, people, pattern] times [pattern, trial, called]
    given = drawn.reshape(RESAMPLES, len(patterns), N_LEVELS).transpose(0, 2, 1).astype(np.float32)
    confusions = np.tensordot(given, called, axes=(2, 1)).transpose(0, 2, 1, 3)  # [draw, trial, people, called]
    scores = macro_f1_of(confusions.astype(np.float64))
    best = (scores >= scores.max(axis=1, keepdims=True) - 1e-9).argmax(axis=1)
    return np.asarray(tried[best].mean(axis=0))
