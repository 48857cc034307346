"""Thresholds from one's own traffic: the lowest one at which harmless texts are flagged no oftener than wanted.

It is chosen on some of the rows and told by the others. How many harmless rows it may flag follows from how many there
are, not from their scores: so the true share is at most the target with the given confidence, whatever the scores look
like (a distribution-free tolerance limit, Wilks 1941). Rows of one conversation count as what they tell
(`Part.n_effective`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil, floor, nextafter
from typing import Any, Literal

import numpy as np

from guardrail.audit.calibrate_rows import Part, Rows
from guardrail.audit.calibrate_scores import Counted, Knob, Scorer, knob_of, with_threshold
from guardrail.audit.intervals import Interval, exact, n_needed, upper_end, wilson
from guardrail.decision import Direction
from guardrail.errors import ConfigurationError
from guardrail.policy import Policy
from guardrail.weighing import rules_for

Side = Literal["prompt", "response"]

_OF_SIDE: dict[Side, tuple[Direction, ...]] = {
    "prompt": (Direction.PROMPT, Direction.TOOL_RESULT, Direction.DOCUMENT),
    "response": (Direction.RESPONSE, Direction.TOOL_CALL),
}
"""Directions that a policy's `[prompt]` and `[response]` decide on."""


_GRID = (*(step / 100 for step in range(1, 100)), 0.995, 0.999)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked for.

    Attributes:
        share: of harmless texts that may be flagged, in (0, 1).
        confidence: with which that is shown; None is content with the plain share of the rows.
        counted: what counts as flagged.
        held_out: share of the conversations that choose nothing and tell what came of it, in [0, 1).
        seed: of that division.
    """

    share: float
    confidence: float | None = 0.95
    counted: Counted = Counted.FLAGGED
    held_out: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigurationError(f"a target of {self.share} is no share between 0 and 1")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise ConfigurationError(f"a confidence of {self.confidence} is none between 0 and 1")
        if not 0 <= self.held_out < 1:
            raise ConfigurationError(f"{self.held_out} is no share that can be held out")


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold comes to.

    Attributes:
        threshold: probability in [0, 1].
        n_flagged: harmless rows that are flagged.
        false_positives: their share, with its exact 95 % interval.
        n_found: harmful rows that are flagged.
        found: their share, with Wilson's 95 % interval; None where no row is known to be harmful.
    """

    threshold: float
    n_flagged: int
    false_positives: Interval
    n_found: int
    found: Interval | None

    def to_json(self) -> dict[str, Any]:
        """Return it flat: a row of the curve."""
        fpr, found = self.false_positives, self.found
        return {
            "threshold": self.threshold,
            "n_flagged": self.n_flagged,
            "false_positive_rate": fpr.value, "fpr_low": fpr.low, "fpr_high": fpr.high,
            "n_found": self.n_found,
            "found_rate": found.value if found else None,
            "found_low": found.low if found else None, "found_high": found.high if found else None,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold, and what it rests on.

    Attributes:
        side: whose rules it belongs to.
        knob: which threshold of them.
        threshold: its value.
        n: harmless rows that it was chosen on.
        n_effective: independent rows that tell as much.
        n_flagged: those of them that it flags.
        upper: upper end of the share's one-sided interval, at the asked confidence; the plain share without one.
        told_on_held_out: whether what follows rests on rows that chose nothing.
        n_told: harmless rows that it is told by.
        n_harmful: harmful rows beside them.
        n_cut: harmless answers it was chosen on that were really stopped: every threshold counts them as flagged.
        point: what it comes to there.
    """

    side: Side
    knob: Knob
    threshold: float
    n: int
    n_effective: float
    n_flagged: int
    upper: float
    told_on_held_out: bool
    n_told: int
    n_harmful: int
    n_cut: int
    point: Point

    def to_json(self) -> dict[str, Any]:
        """Return all of it."""
        return {**asdict(self), "knob": self.knob.value, "point": self.point.to_json()}


def scorers_of(policy: Policy, counted: Counted, sides: Sequence[Side]) -> dict[Direction, Scorer]:
    """Return what scores texts, by direction.

    Raises:
        ConfigurationError: a side's rules flag nothing, whatever the threshold.
    """
    return {
        direction: Scorer(rules_for(policy, direction), knob_of(getattr(policy, side), counted), counted)
        for side in sides
        for direction in _OF_SIDE[side]
    }


def calibrated(policy: Policy, chosen: Sequence[Chosen]) -> Policy:
    """Return a policy with the chosen thresholds."""
    rules = {"prompt": policy.prompt, "response": policy.response}
    rules |= {one.side: with_threshold(rules[one.side], one.knob, one.threshold) for one in chosen}
    return replace(policy, name=f"{policy.name}, calibrated", prompt=rules["prompt"], response=rules["response"])


def choose(side: Side, knob: Knob, rows: Rows, target: Target) -> Chosen:
    """Return the lowest threshold that keeps to the target.

    Raises:
        ConfigurationError: there are too few harmless rows to show it, or no threshold will do.
    """
    part = rows.part(is_held=False, share=target.held_out, seed=target.seed)
    told = rows.part(is_held=True, share=target.held_out, seed=target.seed) if target.held_out else part
    harmless = part.only(is_harmful=False)
    n_flagged, upper = _most_flagged(side, harmless, target)
    threshold = _threshold(side, harmless, n_flagged, target.counted)
    is_flagged = harmless.scores >= threshold
    told_harmless, told_harmful = told.only(is_harmful=False), told.only(is_harmful=True)
    if not len(told_harmless.scores):
        raise ConfigurationError(f"{side}: no harmless row is held out", hint="more rows, or --holdout 0")
    return Chosen(
        side, knob, threshold,
        n=len(harmless.scores), n_effective=harmless.n_effective(is_flagged), n_flagged=int(is_flagged.sum()),
        upper=upper, told_on_held_out=bool(target.held_out), n_told=len(told_harmless.scores),
        n_harmful=len(told_harmful.scores), n_cut=int((harmless.is_cut).sum()),
        point=_point(threshold, told_harmless, told_harmful),
    )  # fmt: skip


def curve_of(chosen: Chosen, rows: Rows, target: Target) -> list[Point]:
    """Return what other thresholds come to, rising, by the rows that the chosen one is told by; it is among them."""
    told = rows.part(is_held=chosen.told_on_held_out, share=target.held_out, seed=target.seed)
    harmless, harmful = told.only(is_harmful=False), told.only(is_harmful=True)
    return [_point(threshold, harmless, harmful) for threshold in sorted({*_GRID, chosen.threshold})]


def _most_flagged(side: Side, part: Part, target: Target) -> tuple[int, float]:
    """Return how many harmless rows may be flagged, and the upper end of their share."""
    n = len(part.scores)
    if target.confidence is None:
        if not n:
            raise ConfigurationError(f"{side}: there is no harmless row")
        most = floor(target.share * n)
        return most, most / n
    order = np.argsort(-part.scores, kind="stable")

    def upper_of(most: int) -> float:
        is_flagged = np.zeros(n, np.bool_)
        is_flagged[order[:most]] = True
        m = part.n_effective(is_flagged)
        return upper_end(most / n * m, m, target.confidence or 0.0) if n else 1.0

    low, high = -1, _most_independent(n, target)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if upper_of(middle) <= target.share else (low, middle - 1)
    if low >= 0:
        return low, upper_of(low)
    n_groups = len(np.unique(part.groups))
    raise ConfigurationError(
        f"{side}: {n} harmless rows of {n_groups} conversations are too few to choose on: to show a share of at most "
        f"{target.share:.4g} at {target.confidence:.4g} confidence takes {n_needed(target.share, target.confidence)} "
        f"independent ones",
        hint="record more, hold less out (--holdout), name one --direction, or take the plain share (--point)",
    )


def _most_independent(n: int, target: Target) -> int:
    """Return how many rows of `n` may be flagged if all are independent; -1 if not even none."""
    low, high = -1, ceil(target.share * n)
    while low < high:
        middle = (low + high + 1) // 2
        is_few = upper_end(middle, n, target.confidence or 0.0) <= target.share
        low, high = (middle, high) if is_few else (low, middle - 1)
    return low


def _threshold(side: Side, part: Part, n_flagged: int, counted: Counted) -> float:
    """Return a short number that flags at most the `n_flagged` highest scores, and as many of them as it can."""
    ranked = np.sort(part.scores)[::-1]
    above = float(ranked[n_flagged]) if n_flagged < len(ranked) else 0.0
    if above >= 1:
        n_certain = int((part.scores >= 1).sum())
        raise ConfigurationError(
            f"{side}: {n_certain} of {len(ranked)} harmless rows are {counted} at every threshold, {n_flagged} may be",
            hint="answers that were really stopped count as such: record in shadow mode; or label the rows (--labels)",
        )
    above = max(above, 0.0)
    most = min(1.0, float(ranked[ranked > above].min(initial=1.0)))
    for digits in range(3, 12):
        threshold = ceil(above * 10.0**digits + 1e-9) / 10.0**digits
        if above < threshold <= most:
            return threshold
    return nextafter(above, 2.0)


def _point(threshold: float, harmless: Part, harmful: Part) -> Point:
    is_flagged, is_found = harmless.scores >= threshold, harmful.scores >= threshold
    n, m, n_flagged = len(is_flagged), harmless.n_effective(is_flagged), int(is_flagged.sum())
    interval = exact(n_flagged / n * m, m)
    n_found, n_harmful = int(is_found.sum()), len(is_found)
    found = wilson(n_found, n_harmful, n_effective=harmful.n_effective(is_found)) if n_harmful else None
    return Point(threshold, n_flagged, Interval(n_flagged / n, interval.low, interval.high), n_found, found)
