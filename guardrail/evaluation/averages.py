"""Means over data sets, each counting the same, whatever its size: macro. Pooled figures (micro) are in `report.py`."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from guardrail.evaluation.metrics import Drawn, Estimate, mean_of


@dataclass(frozen=True, slots=True)
class SourceDraws:
    """What one data set gives to the means, drawn independently of the others.

    Attributes:
        f1_strict: Controversial counts as unsafe.
        f1_loose: Controversial counts as safe.
        auc: of the probability of harm.
        false_positives: share of Safe rows that are flagged or stopped.
    """

    f1_strict: Drawn
    f1_loose: Drawn
    auc: Drawn
    false_positives: Drawn

    def best(self) -> Drawn:
        """Return the better F1 of the two modes; on each resample, that of the better one there."""
        if self.f1_strict.value is None or self.f1_loose.value is None:
            return self.f1_strict if self.f1_loose.value is None else self.f1_loose
        value = max(self.f1_strict.value, self.f1_loose.value)
        return Drawn(value, np.fmax(self.f1_strict.draws, self.f1_loose.draws), self.f1_strict.n)


@dataclass(frozen=True, slots=True)
class Macro:
    """Means over the data sets for which a figure exists.

    Attributes:
        f1_strict: Controversial counts as unsafe, everywhere.
        f1_loose: Controversial counts as safe, everywhere.
        f1_best_mode_oracle: the better mode for each data set, as the published report averages it. The mode is chosen
            on the test labels, so no system that must choose beforehand reaches it: never compare with a single mode.
        auc: over the sets with both classes.
        false_positives: over the sets with Safe rows.
        n_f1_sources: sets with harmful rows.
        n_auc_sources: sets with both classes.
        n_false_positive_sources: sets with Safe rows.
    """

    f1_strict: Estimate
    f1_loose: Estimate
    f1_best_mode_oracle: Estimate
    auc: Estimate
    false_positives: Estimate
    n_f1_sources: int
    n_auc_sources: int
    n_false_positive_sources: int


def macro(sources: Iterable[SourceDraws]) -> Macro:
    """Return the means over data sets."""
    known = list(sources)
    return Macro(
        _mean(one.f1_strict for one in known),
        _mean(one.f1_loose for one in known),
        _mean(one.best() for one in known),
        _mean(one.auc for one in known),
        _mean(one.false_positives for one in known),
        n_f1_sources=sum(one.best().value is not None for one in known),
        n_auc_sources=sum(one.auc.value is not None for one in known),
        n_false_positive_sources=sum(one.false_positives.value is not None for one in known),
    )


def _mean(figures: Iterable[Drawn]) -> Estimate:
    return mean_of(list(figures)).estimate()
