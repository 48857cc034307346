"""Win rates of battles: as they are, and with style held equal (Bradley and Terry, by logistic regression)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guardrail.abilities.arena import Battle
from guardrail.abilities.scores import Score
from guardrail.evaluation.metrics import Drawn, FloatArray, Resamples

STYLE = ("length", "headers", "lists", "bold")
"""What style is: as published, but the length is in characters, since tokens would hang on a tokenizer."""

RIDGE = 0.01
"""Pulls coefficients towards 0, as if of 0.01 battles: keeps them finite where one side always won. Ours."""

_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADER = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LIST = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_STEPS = 50
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Controlled:
    """Win rates with style held equal.

    Attributes:
        rates: by model.
        coefficients: of style, by its name, on the scale of the logit, of one standard deviation.
    """

    rates: Mapping[str, Drawn]
    coefficients: Mapping[str, float]


def win_rate(name: str, battles: Sequence[Battle]) -> Score:
    """Return the win rate of one model: the mean of its games, strong verdicts counting several times.

    Battles without a verdict are left out and counted; ties are half a win.
    """
    judged = [one for one in battles if one.games]
    weights = [float(sum(weight for _, weight in one.games)) for one in judged]
    won = [sum(share * weight for share, weight in one.games) for one in judged]
    failures = {why: sum(one.failure == why for one in battles) for why in ("no_answer", "no_verdict", "refused")}
    shares = tuple(part / whole for part, whole in zip(won, weights, strict=True))
    return Score(name, tuple(one.id for one in judged), shares, 1, failures, weights=tuple(weights))


def controlled(battles: Mapping[str, Sequence[Battle]]) -> Controlled:
    """Return the win rates that models would have if their answers had the style of the baseline's.

    All models share the coefficients of style, which are scaled but not centred: a difference of 0 is none. Questions
    are drawn again with all games of all models.

    Args:
        battles: of one category, by model.
    """
    names = list(battles)
    rows = [(i, one, *game) for i, name in enumerate(names) for one in battles[name] for game in one.games]
    if not rows:
        return Controlled({name: Drawn(None, np.full(1, np.nan), 0) for name in names}, dict.fromkeys(STYLE, 0.0))
    styles = np.array([style_difference(one.answer, one.baseline) for _, one, _, _ in rows], np.float64)
    spread = styles.std(axis=0)
    styles = np.divide(styles, spread, out=np.zeros_like(styles), where=spread > 0)
    models = np.array([i for i, *_ in rows])
    x = np.hstack([np.eye(len(names))[models], styles])
    y, weight = (np.array([row[i] for row in rows], np.float64) for i in (2, 3))
    _, questions = np.unique([one.id for _, one, _, _ in rows], return_inverse=True)
    found = fit(x, y, weight)
    draws = np.vstack([
        [fit(x, y, weight * counts, found) for counts in block]
        for _, block in Resamples(questions.astype(np.int64)).weights(np.arange(len(rows)))
    ])  # fmt: skip
    rates = {}
    for i, name in enumerate(names):
        n = len({one.id for one in battles[name] if one.games})
        rates[name] = Drawn(_logistic(found[i : i + 1])[0], _logistic(draws[:, i]), n)
    return Controlled(rates, dict(zip(STYLE, map(float, found[len(names) :]), strict=True)))


def fit(x: FloatArray, y: FloatArray, weight: FloatArray, start: FloatArray | None = None) -> FloatArray:
    """Return the coefficients of a weighted logistic regression, by Newton's method.

    Args:
        x: float64 [game, feature].
        y: float64 [game], 1 won, 0.5 tied, 0 lost.
        weight: float64 [game], how many times it counts.
        start: float64 [feature], where to begin; 0 without one.
    """
    b = np.zeros(x.shape[1]) if start is None else start.copy()
    ridge = RIDGE * np.eye(x.shape[1])
    for _ in range(_STEPS):
        p = _logistic(x @ b)
        slope = x.T @ (weight * (y - p)) - RIDGE * b
        curve = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(curve, slope)
        b += np.clip(step, -2, 2)  # a whole step may overshoot where the curve is flat
        if np.abs(step).max() < _CLOSE:
            break
    return b


def style_difference(answer: str, baseline: str) -> tuple[float, ...]:
    """Return in how far an answer's style differs from the baseline's, by `STYLE`, in [-1, 1]; 0 is no difference."""
    (n, *marks), (m, *others) = _style(answer), _style(baseline)
    densities = [(a / max(n, 1), b / max(m, 1)) for a, b in zip(marks, others, strict=True)]
    return ((n - m) / max(n + m, 1), *((a - b) / (a + b + 1) for a, b in densities))


def _style(text: str) -> tuple[int, ...]:
    plain = _CODE.sub("", text)
    return len(text), *(len(pattern.findall(plain)) for pattern in (_HEADER, _LIST, _BOLD))


def _logistic(x: NDArray[np.float64]) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))), np.float64)
