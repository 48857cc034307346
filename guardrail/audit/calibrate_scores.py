"""For each recorded text, the threshold up to which a policy would flag or stop it: all of its rules at once, debounce,
categories and all, so that a rate at any threshold is a count.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from guardrail.actions import Action
from guardrail.audit.replay_filter import probabilities
from guardrail.errors import ConfigurationError
from guardrail.policy import DebounceRule, Rules
from guardrail.records.positions import Positions
from guardrail.taxonomy import RiskLevel

FloatArray = NDArray[np.float64]

NEVER, ALWAYS = -np.inf, np.inf
"""Scores of texts that no threshold flags, and of those that every one does."""


class Counted(StrEnum):
    """What is counted against the target: whatever is flagged, asked about or stopped, or stops alone."""

    FLAGGED = "flagged"
    STOPPED = "stopped"

    @property
    def least(self) -> Action:
        """The mildest action that counts."""
        return Action.FLAG if self is Counted.FLAGGED else Action.STOP


class Knob(StrEnum):
    """The threshold that is chosen: that of harm of any kind, or where Controversial does not count, of Unsafe."""

    NON_SAFE = "non_safe_threshold"
    UNSAFE = "unsafe_threshold"


def knob_of(rules: Rules, counted: Counted) -> Knob:
    """Return which threshold decides on what is counted.

    Raises:
        ConfigurationError: none does: these rules ask for nothing that counts.
    """
    if rules.controversial.rank >= counted.least.rank:
        return Knob.NON_SAFE
    if rules.unsafe.rank >= counted.least.rank:
        return Knob.UNSAFE
    raise ConfigurationError(
        f"by this policy nothing is {counted}, whatever the threshold", hint="take another --policy, or --count"
    )


def with_threshold(rules: Rules, knob: Knob, threshold: float) -> Rules:
    """Return rules with one threshold set, and the other one so that nothing is Unsafe that is not harmful at all."""
    if knob is Knob.NON_SAFE:
        return replace(rules, non_safe_threshold=threshold, unsafe_threshold=max(threshold, rules.from_unsafe))
    return replace(rules, non_safe_threshold=min(threshold, rules.from_non_safe), unsafe_threshold=threshold)


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores texts under the rules of a direction. A text is flagged at a threshold if its score is at least that.

    Under `same_level`, whose runs can break when a threshold rises, only the way round holds: what is flagged has that
    score at least. Rates are then told too high, never too low.

    Attributes:
        rules: of the direction; those of tool calls differ from those of answers.
        knob: the threshold that varies.
        counted: what counts as flagged.
    """

    rules: Rules
    knob: Knob
    counted: Counted

    def score(self, positions: Positions) -> float:
        """Return the score of a text: a prompt by its worst reading, an answer by its best run of tokens."""
        unsafe, controversial, raw = self._by_level(positions)
        either, is_whole = np.maximum(unsafe, controversial), positions.is_whole
        alone = float(either[is_whole].max(initial=NEVER))
        n = self.rules.debounce
        if len(either) < n:
            return alone
        if n == 1 or self.rules.debounce_rule is DebounceRule.NON_SAFE:
            return max(alone, float(_runs(either, n).max(initial=NEVER)))
        return max(alone, self._of_same_level(_runs(unsafe, n), _runs(controversial, n), -_runs(-raw, n)))

    def _by_level(self, positions: Positions) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return up to which threshold each position counts as Unsafe, and as Controversial, if it is not Unsafe; and
        its probability of Unsafe. All float64 [position].
        """
        raw, non_safe = probabilities(positions)
        unsafe, controversial = raw.copy(), non_safe.copy()
        if self.knob is Knob.NON_SAFE:
            unsafe[raw < self.rules.from_unsafe] = NEVER
        else:
            controversial[non_safe >= self.rules.from_non_safe] = ALWAYS
        likeliest, least = positions.category.argmax(axis=1), self.counted.least.rank
        for index, name in enumerate(positions.labels.categories):
            threshold, here = self.rules.rule(name).threshold, likeliest == index
            if self.rules.asked(name, RiskLevel.UNSAFE).rank < least:
                unsafe[here] = NEVER
            if self.rules.asked(name, RiskLevel.CONTROVERSIAL).rank < least:
                controversial[here] = NEVER
            if threshold is not None:
                is_below = here & (non_safe < threshold)
                unsafe[is_below] = controversial[is_below] = NEVER
        return unsafe, controversial, raw

    def _of_same_level(self, unsafe: FloatArray, controversial: FloatArray, highest: FloatArray) -> float:
        """Return the highest threshold at which all tokens of some run have one level; float64 [run] each."""
        from_unsafe = self.rules.from_unsafe if self.knob is Knob.NON_SAFE else NEVER
        is_possible = highest < np.maximum(controversial, from_unsafe)
        return float(np.maximum(unsafe, np.where(is_possible, controversial, NEVER)).max(initial=NEVER))


def _runs(values: FloatArray, n: int) -> FloatArray:
    """Return the least value of every n consecutive ones, float64 [position - n + 1]."""
    least: FloatArray = sliding_window_view(values, n).min(axis=1)
    return least
